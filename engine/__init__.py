"""Sliding-window inference and polygons, without QGIS."""

import os

# Torch's OpenMP threads otherwise spin while they wait, which makes inference on a busy computer up to seven times
# slower (docs/performance.md). OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
