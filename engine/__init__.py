"""Sliding-window inference and polygons, without QGIS."""

import os

# Torch's OpenMP threads otherwise spin while they wait: a little faster on an idle computer, far slower on a busy one,
# and slowing down QGIS (docs/performance.md). OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
