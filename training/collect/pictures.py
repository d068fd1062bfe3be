"""Pictures of areas as GeoTIFF files, each with where it is from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import RasterioError

from ...engine.outputs import writing

TAG = "ORTHOMASK_COLLECTED"
"""The file's own record: `area`, `source`, `batch`, `missing`."""
BLOCK_PX = 256


class Picture(NamedTuple):
    """Pixels `(bands, H, W)`, where there are any `(H, W)`, their place, and how many tiles are missing."""

    pixels: np.ndarray
    valid: np.ndarray
    transform: Affine
    crs: str
    missing: int = 0
    names: tuple[str, ...] = ("red", "green", "blue")

    @classmethod
    def nothing(cls, missing: int = 0) -> Picture:
        """A picture of nothing."""
        return cls(np.zeros((3, 0, 0), np.uint8), np.zeros((0, 0), bool), Affine.identity(), "", missing)

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is known."""
        return not self.valid.any()


def write(path: Path, picture: Picture, record: dict[str, Any], rights: str, date: str) -> None:
    """Write a GeoTIFF, whole or not at all; what is not known is masked.

    Args:
        record: what `recorded` gives back.
        rights: attribution and licence, for the file's copyright.
        date: of the image, ISO 8601; empty if not known.
    """
    partial = path.with_name(f".{path.stem}.partial.tif")
    bands, height, width = picture.pixels.shape
    tiled = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX} if min(height, width) >= BLOCK_PX else {}
    is_rgb = picture.pixels.dtype == np.uint8 and bands == 3
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                partial, "w", driver="GTiff", count=bands, height=height, width=width, dtype=picture.pixels.dtype,
                crs=picture.crs, transform=picture.transform, compress="deflate",
                photometric="rgb" if is_rgb else "minisblack", **tiled,
            ) as dataset,
        ):  # fmt: skip
            dataset.write(picture.pixels)
            if not picture.valid.all():
                dataset.write_mask(picture.valid)
            dataset.descriptions = picture.names
            tags = {TAG: json.dumps(record, ensure_ascii=False, sort_keys=True), "TIFFTAG_COPYRIGHT": rights}
            dataset.update_tags(**tags, **({"TIFFTAG_DATETIME": date} if date else {}))
        os.replace(partial, path)


def recorded(path: Path) -> dict[str, Any]:
    """What `write` recorded; empty if there is no such file."""
    try:
        with rasterio.open(path) as dataset:
            found: dict[str, Any] = json.loads(dataset.tags().get(TAG, "{}"))
            return found
    except (RasterioError, ValueError):
        return {}
