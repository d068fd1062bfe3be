"""Raster files: which files of a folder count, and whether they have changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

CLUTTER = ("thumbs.db", "ehthumbs.db", "desktop.ini")
"""Files that Windows leaves behind."""
BESIDE = (".msk", ".aux.xml")
"""Suffixes of the sidecar files that say how to interpret a raster."""
STATISTICS = ("Histograms", "GDALRasterAttributeTable")
"""Statistics in GDAL's sidecar files, which change no pixel: QGIS has them written when it shows a layer."""


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
    """A GDAL sidecar without its statistics, as text; empty if nothing is left, its bytes if it is not XML."""
    content = path.read_bytes()
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 (GDAL reads it, too; entities of others are not followed)
    except ElementTree.ParseError:
        return content.hex()
    for parent in list(root.iter()):
        for child in list(parent):
            key = child.get("key", "")
            if child.tag in STATISTICS or (child.tag == "MDI" and key.startswith("STATISTICS_")):
                parent.remove(child)
    for parent in reversed(list(root.iter())):
        for child in list(parent):
            is_empty = not len(child) and not (child.text or "").strip()
            if is_empty and child.tag in ("Metadata", "PAMRasterBand"):
                parent.remove(child)
    return ElementTree.canonicalize(ElementTree.tostring(root), strip_text=True) if len(root) else ""
