"""Small images, layers of polygons given in pixels, for tests of ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import rasterio
import shapely
from affine import Affine

from orthomask.engine.images import regions

UTM = "EPSG:32645"
PIXELS = Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)


def box(x: float, y: float, size: float) -> shapely.Polygon:
    return shapely.box(x, y, x + size, y + size)


def write_image(path: Path, height: int, width: int, crs: str | None = UTM, data: np.ndarray | None = None) -> Path:
    """One band of ones; 0, which is nodata, where `data` `(H, W)` is false."""
    pixels = np.ones((height, width), np.uint8) if data is None else data.astype(np.uint8)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": height, "width": width, "nodata": 0}
    with rasterio.open(path, "w", **profile, crs=crs, transform=PIXELS) as dataset:
        dataset.write(pixels, 1)
    return path


def write_layer(path: Path, geometries: Sequence[Any], layer: str = "labels", **columns: Sequence[Any]) -> Path:
    """A layer of polygons that are given in pixels."""
    placed = regions.transformed(np.array(geometries, object), PIXELS)
    pyogrio.raw.write(
        path, shapely.to_wkb(placed), [np.array(column) for column in columns.values()], list(columns), layer=layer,
        driver="GPKG", geometry_type="Polygon", crs=UTM, append=path.exists(),
    )  # fmt: skip
    return path


def read_layer(path: Path, layer: str) -> tuple[list[shapely.Geometry], dict[str, list[Any]]]:
    """Geometries in pixels, and attributes."""
    meta, _, wkb, data = pyogrio.raw.read(path, layer=layer)
    drawn = regions.transformed(shapely.from_wkb(wkb), ~PIXELS)
    return list(drawn), {name: values.tolist() for name, values in zip(meta["fields"], data)}
