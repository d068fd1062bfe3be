"""Raster files: which files of a folder count, and whether they have changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

CLUTTER = ("thumbs.db", "ehthumbs.db", "desktop.ini")
"""Files that Windows leaves behind."""
BESIDE = (".msk", ".aux.xml")
"""Suffixes of the sidecar files that say how to interpret a raster."""
STATISTICS = re.compile(
    r"<Histograms>.*?</Histograms>|<GDALRasterAttributeTable.*?</GDALRasterAttributeTable>"
    r'|<MDI key="STATISTICS_[^"]*">.*?</MDI>',
    re.DOTALL,
)
"""Statistics in GDAL's sidecar files, which change no pixel: QGIS has them written when it shows a layer."""
EMPTY = re.compile(r"<(Metadata|PAMRasterBand|PAMDataset)\b[^>]*>\s*</\1>")
"""An empty element of such a file."""


def listed(folder: Path) -> list[Path]:
    """The files of a folder by name, without those that operating systems leave: `._x`, `.DS_Store`, `Thumbs.db`."""
    return sorted(path for path in folder.iterdir() if is_meant(path))


def is_meant(path: Path) -> bool:
    """Whether a user put the file there; macOS writes a `._photo.tif` next to each `photo.tif`."""
    return not path.name.startswith(".") and path.name.lower() not in CLUTTER


def stamp(names: Iterable[str]) -> str:
    """Twelve hexadecimal digits that change with any file of a raster, including the sidecars that matter.

    Sidecars with georeference, no data, colours, names or masks matter. Statistics and overviews do not: they are
    never read for results.

    Args:
        names: as GDAL lists them; also virtual rasters as XML.
    """
    seen: list[tuple[str | int, ...]] = []
    for name in sorted(set(_with_neighbours(names))):
        if name.endswith(".aux.xml"):
            content = _without_statistics(Path(name))
            seen += [(name, content)] if content else []
        elif not name.endswith(".ovr"):
            status = os.stat(name)
            seen.append((name, status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(seen).encode(errors="surrogateescape")).hexdigest()[:12]


def _with_neighbours(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name.startswith("<VRTDataset"):
            yield from _with_neighbours(re.findall(r"<SourceFilename[^>]*>([^<]+)", name))
        elif os.path.isfile(name):
            yield name
            yield from (name + end for end in BESIDE if os.path.isfile(name + end))


def _without_statistics(path: Path) -> str:
    """A GDAL sidecar without its statistics, as text; empty if nothing is left."""
    text = STATISTICS.sub("", path.read_text(encoding="utf-8", errors="replace"))
    for _ in range(3):  # the innermost first
        text = EMPTY.sub("", text)
    return " ".join(text.split())
