"""Trainings of seconds: a tiny network, synthetic squares, on pictures or on a georeferenced image with areas."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio
import shapely
from affine import Affine
from images import squares, write_tile

from orthomask.engine.models import bundle
from orthomask.engine.models.bundle import BandStatistics, Card
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.protocol import (
    Areas,
    Augmentation,
    ClassInfo,
    Image,
    LabelledData,
    LabelledImage,
    Labels,
    Network,
    Pictures,
    Schedule,
    Split,
    TrainRequest,
)

NETWORK = Network(widths=(16, 16), blocks=1, detail=16)
SCHEDULE = Schedule(
    epochs=3, steps=4, batch=2, chip_px=32, learning_rate=0.01, warmup_steps=2, averaging=0.5, precision="32-true",
    workers=0, seed=3,
)  # fmt: skip
ORIGIN = (500_000.0, 5_000_000.0)


def write_pictures(folder: Path) -> LabelledData:
    """Six pictures to train on and two for validation."""
    for seed in range(6):
        write_tile(folder / "train", f"town_{seed}", *squares(seed, size=64, count=2))
    for seed in (100, 101):
        write_tile(folder / "validation", f"{'ab'[seed % 2]}ville1_{seed}", *squares(seed, size=60, count=2))
    return LabelledData(
        pictures=(
            Pictures("train/images", "train/masks", 0.3, place="Nowhere"),
            Pictures("validation/images", "validation/masks", 0.3, split=Split.VALIDATION),
        ),
        root=str(folder),
    )


def training(data: LabelledData, out: Path, **changes) -> TrainRequest:
    """A training of a dozen steps; `changes` of the schedule, or of the request where it has such a field."""
    fields = {name: value for name, value in changes.items() if name in TrainRequest.__dataclass_fields__}
    schedule = replace(SCHEDULE, **{name: value for name, value in changes.items() if name not in fields})
    light = Augmentation(scale=(0.9, 1.1), blank=0.0)
    return replace(TrainRequest(data, str(out), network=NETWORK, schedule=schedule, augmentation=light), **fields)


def write_raster(path: Path, pixels: np.ndarray, gsd_m: float, descriptions=(), **profile) -> Path:
    """A GeoTIFF in UTM zone 32."""
    bands, height, width = pixels.shape
    transform = Affine(gsd_m, 0, ORIGIN[0], 0, -gsd_m, ORIGIN[1])
    with rasterio.open(
        path, "w", driver="GTiff", dtype=pixels.dtype, count=bands, height=height, width=width, crs="EPSG:32632",
        transform=transform, **profile,
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
        for number, text in enumerate(descriptions, 1):
            dataset.set_band_description(number, text)
    return path


def write_polygons(path: Path, layer: str, boxes, gsd_m: float, **columns) -> Path:
    """Boxes (left, top, right, bottom) in pixels of such a raster, as a layer of a GeoPackage."""
    placed = [
        shapely.box(ORIGIN[0] + a * gsd_m, ORIGIN[1] - d * gsd_m, ORIGIN[0] + c * gsd_m, ORIGIN[1] - b * gsd_m)
        for a, b, c, d in boxes
    ]
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(placed, object)), [np.array(values, object) for values in columns.values()],
        list(columns), layer=layer, geometry_type="Polygon", crs="EPSG:32632", driver="GPKG", append=path.exists(),
    )  # fmt: skip
    return path


HOUSES = (
    (10, 10, 40, 30),
    (60, 20, 90, 50),
    (20, 70, 50, 100),
    (120, 20, 150, 50),
    (130, 80, 150, 110),
    (70, 80, 100, 110),
)


def write_project(folder: Path, areas=(), splits=(), dtype="uint8", bands=3, gsd_m=0.5) -> LabelledImage:
    """An image of 160 x 120 px with bright houses, labelled; areas are boxes in pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    pixels = random.integers(40, 80, (bands, 120, 160))
    for left, top, right, bottom in HOUSES:
        pixels[:, top:bottom, left:right] += 100
    scale = {"uint8": 1, "uint16": 40, "float32": 0.005}[dtype]
    image = write_raster(folder / f"{dtype}.tif", (pixels * scale).astype(dtype), gsd_m)
    labels = write_polygons(folder / "labels.gpkg", "houses", HOUSES, gsd_m, kind=["house"] * len(HOUSES))
    if areas:
        write_polygons(labels, "areas", areas, gsd_m, split=list(splits))
    return LabelledImage(
        Image(str(image)), (Labels(str(labels), "houses", "kind"),), Areas(str(labels)) if areas else None, place="Town"
    )


def parent_of(folder, bands=("red", "green", "blue"), classes=("house",), shape=None):
    infos = tuple(ClassInfo(n, name, "#123456") for n, name in enumerate(classes, 1))
    statistics = tuple(BandStatistics(name, 80, 40, 10, 200) for name in bands)
    shape = shape or UNetArguments(len(bands), len(classes) + 1, widths=(16, 16), blocks=1)
    path = folder / "parent.safetensors"
    bundle.save(path, UNet(shape), Card("parent", "P", shape, statistics, "uint8", 0.4, infos, 0.4, "", ""))
    return bundle.load(str(path))
