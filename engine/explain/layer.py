"""An explanation as a georeferenced raster, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.io import MemoryFile

from ...protocol import ErrorCode, Existing, OrthomaskError
from ...protocol.words import tr
from ..images.grid import Window
from ..outputs import write_atomically, writing
from .subject import View

NODATA = float("nan")


def refuse_existing(path: Path, existing: Existing) -> None:
    """Raise if the file exists and must not be overwritten."""
    if path.exists() and existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” already exists.").format(path),
            tr("Choose another name, or overwrite it."),
        )


def write(
    path: Path, view: View, around: Window, bands: np.ndarray, names: Sequence[str], record: dict[str, Any]
) -> None:
    """Write bands `(N, H, W)` of a view, cut to the surroundings, as a GeoTIFF of float32; NaN without data.

    Args:
        record: stored in the raster as its tag `ORTHOMASK`.

    Raises:
        OrthomaskError: it cannot be written.
    """
    shown = np.where(view.valid, bands, NODATA).astype(np.float32)[(slice(None), *around.slices)]
    corner = Affine.translation(view.window.x + around.x, view.window.y + around.y)
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": len(shown), "width": around.width, "height": around.height,
        "crs": view.lattice.crs, "transform": view.lattice.transform @ corner, "nodata": NODATA,
        "compress": "deflate", "predictor": 3,
    }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(shown)
            dataset.descriptions = tuple(names)
            dataset.update_tags(ORTHOMASK=json.dumps(record))
        content = bytes(memory.getbuffer())
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
