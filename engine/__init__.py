"""Sliding-window inference and polygons, without QGIS."""

import os

# By default Torch's OpenMP threads spin while they wait: slightly faster on an idle computer, far slower on a busy
# one, and QGIS slows down (docs/performance.md). OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# When GDAL reads a whole PNG in one go, it accepts a damaged one as an image (seen with 3.10).
os.environ.setdefault("GDAL_PNG_WHOLE_IMAGE_OPTIM", "NO")
