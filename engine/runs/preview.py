"""A small picture of what an unfinished run has found so far, for those who watch it: QGIS shows it on the map."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import MemoryFile

from ...protocol import ClassInfo, OrthomaskError
from ..images.grid import Lattice, Selection
from ..outputs import write_atomically
from .cogs import Frame
from .runs import NODATA, SCALE, RunFolder, Strip

PREVIEW = "preview.tif"
"""Its file, in the run's hidden folder."""
PREVIEW_PX = 2048
"""Its larger side: enough for a screen, little to write and to draw."""
REST = 100
"""After it was written, the run goes on at least this many times as long as that took: it costs one percent."""
FAINTEST, STRONGEST = 90, 220
"""Alpha of a pixel that just reaches the threshold, and of one that the model is sure of."""


def writing(folder: RunFolder, lattice: Lattice, selection: Selection) -> Callable[[Strip], None]:
    """A function that stores a strip and adds it to the run's preview, which has the earlier ones already."""
    extent = selection.extent
    transform = lattice.transform @ lattice.transform.translation(extent.x, extent.y)
    frame = Frame(extent.width, extent.height, lattice.crs, transform)
    preview = Preview(folder.work / PREVIEW, frame, folder.classes, folder.threshold)
    for part in folder.strips(selection):
        with rasterio.open(folder.part(part.name, "probabilities")) as dataset:
            probabilities = dataset.read()
        with rasterio.open(folder.part(part.name, "classes")) as dataset:
            beyond = dataset.read(1) == NODATA
        preview.add(part.window.y - extent.y, probabilities, beyond)

    def write(strip: Strip) -> None:
        folder.write(strip)
        preview.add(strip.top - extent.y, strip.probabilities, strip.beyond)
        preview.write()

    return write


class Preview:
    """Objects in the colour of their class, the stronger the more probable; the rest is transparent.

    Args:
        path: of the GeoTIFF: red, green, blue, alpha.
        frame: of the whole run.
        threshold: probability (0 to 1) from which a pixel is shown.
    """

    def __init__(self, path: Path, frame: Frame, classes: Sequence[ClassInfo], threshold: float) -> None:
        self._path, self._frame, self._threshold = path, frame, threshold
        self._step = ceil(max(frame.width, frame.height) / PREVIEW_PX)
        self._picture = np.zeros((4, ceil(frame.height / self._step), ceil(frame.width / self._step)), np.uint8)
        self._colors = np.zeros((NODATA + 1, 3), np.uint8)
        for info in classes:
            self._colors[info.value] = list(bytes.fromhex(info.color[1:]))
        self._due = 0.0

    def add(self, top: int, probabilities: np.ndarray, beyond: np.ndarray | None) -> None:
        """Add finished rows `(K, rows, width)` of the frame, sampled at the middle of each pixel of the picture."""
        half = self._step // 2
        first = ceil((top - half) / self._step)
        sampled = np.s_[first * self._step + half - top :: self._step, half :: self._step]
        strip = Strip(0, top, probabilities[(slice(None), *sampled)], None if beyond is None else beyond[sampled])
        classes = strip.classes(self._threshold)
        shown = (classes > 0) & (classes != NODATA)
        sure = (strip.probabilities.max(axis=0) / SCALE - self._threshold) / max(1 - self._threshold, 1 / SCALE)
        alpha = np.where(shown, FAINTEST + (STRONGEST - FAINTEST) * np.clip(sure, 0, 1), 0)
        rows, columns = np.s_[first : first + len(shown)], np.s_[: shown.shape[1]]
        self._picture[:3, rows, columns] = np.moveaxis(self._colors[classes], 2, 0)
        self._picture[3, rows, columns] = alpha.astype(np.uint8)

    def write(self) -> None:
        """Write the picture, if it is time; a run does not fail because nobody can watch it."""
        started = time.monotonic()
        if started < self._due:
            return
        with suppress(OrthomaskError):
            write_atomically(self._path, self._encoded())
        ended = time.monotonic()
        self._due = ended + REST * (ended - started)

    def _encoded(self) -> bytes:
        _, height, width = self._picture.shape
        profile = {
            "driver": "GTiff", "dtype": "uint8", "count": 4, "height": height, "width": width, "crs": self._frame.crs,
            "transform": self._frame.transform @ self._frame.transform.scale(self._step), "photometric": "rgb",
            "alpha": "yes", "tiled": True, "compress": "deflate", "zlevel": 1,
        }  # fmt: skip
        with MemoryFile() as memory:
            with memory.open(**profile) as dataset:
                dataset.write(self._picture)
            return bytes(memory.getbuffer())
