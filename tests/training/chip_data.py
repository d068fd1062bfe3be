"""Small georeferenced images with labels and areas on disk."""

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
from orthomask.engine.progress import Progress
from orthomask.protocol import Areas, ChipSet, ChipsRequest, ChipsResult, ClassInfo, Image, LabelledImage, Labels
from orthomask.training.chips import chips
from orthomask.training.chips.manifest import Manifest, load_manifest
from orthomask.training.chips.pictures import Tile, read_chips

UTM = "EPSG:32645"
PIXELS = Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)
ONE = (ClassInfo(1, "building", "#ff0000"),)


def write_image(path: Path, pixels: np.ndarray, transform: Affine = PIXELS, **profile: Any) -> Path:
    bands, height, width = pixels.shape
    profile = {"crs": UTM, "photometric": "rgb" if bands == 3 else "minisblack", **profile}
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=pixels.dtype, transform=transform,
        **profile,
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
    return path


def noise(width: int = 320, height: int = 256, bands: int = 3, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 250, (bands, height, width)).astype(dtype)


def write_layer(path: Path, pixels: Sequence[Any], transform: Affine = PIXELS, **columns: Sequence[Any]) -> Path:
    """A layer of geometries that are given in pixels."""
    placed = regions.transformed(np.array(pixels, object), transform)
    pyogrio.raw.write(
        path, shapely.to_wkb(placed), [np.array(column) for column in columns.values()], list(columns),
        driver="GPKG", geometry_type="Unknown", crs=UTM,
    )  # fmt: skip
    return path


def labelled(
    folder: Path,
    image: np.ndarray | None = None,
    labels: Sequence[Any] = (shapely.box(10, 10, 40, 30), shapely.box(150, 100, 220, 180)),
    areas: Sequence[tuple[str, Any]] | None = None,
    transform: Affine = PIXELS,
    **profile: Any,
) -> LabelledImage:
    """An image, its labels of one class, and areas as pairs of split and polygon, all in pixels."""
    folder.mkdir(exist_ok=True, parents=True)
    path = write_image(folder / "image.tif", noise() if image is None else image, transform, **profile)
    drawn = write_layer(folder / "labels.gpkg", labels, transform)
    bounds = None
    if areas is not None:
        splits, polygons = zip(*areas)
        bounds = Areas(str(write_layer(folder / "areas.gpkg", polygons, transform, split=splits)))
    return LabelledImage(Image(str(path)), (Labels(str(drawn)),), bounds)


def export(
    folder: Path, *data: LabelledImage, progress: Progress | None = None, **options: Any
) -> tuple[ChipsResult, Manifest, dict[str, Tile]]:
    """Export chips of 64 px, and read them back."""
    options = {"chip_px": 64, "stride_px": 64, "classes": ONE, **options}
    result = chips.run(ChipsRequest(data, str(folder), **options), progress or Progress())
    tiles = {tile.name: tile for tile in read_chips(ChipSet(str(folder)), "")}
    return result, load_manifest(folder), tiles
