"""Names of the polygons in a run's folder: its own, and those made later at other thresholds."""

from __future__ import annotations

import re
from pathlib import Path

POLYGONS = "polygons.gpkg"
"""The run's own."""
LATER = re.compile(r"polygons-(\d+)\.gpkg")


def later(folder: Path) -> list[Path]:
    """The GeoPackages made later, oldest first."""
    found = [(match, path) for path in folder.glob("polygons-*.gpkg") if (match := LATER.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda pair: int(pair[0][1]))]


def newest(folder: Path) -> Path:
    """The GeoPackage with the polygons as they are now."""
    return [folder / POLYGONS, *later(folder)][-1]
