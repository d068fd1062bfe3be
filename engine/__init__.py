"""Sliding-window inference and polygons, without QGIS."""

import os

# Torch's OpenMP threads otherwise spin while they wait: a little faster on an idle computer, far slower on a busy one,
# and slowing down QGIS (docs/performance.md). OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# GDAL reads a PNG that is wanted whole in one go, and then takes a damaged one for an image (seen with 3.10).
os.environ.setdefault("GDAL_PNG_WHOLE_IMAGE_OPTIM", "NO")
