"""Ground whose scores can be counted by hand: dark land, bright squares, and a model that finds what is bright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio
import shapely
import torch
from affine import Affine
from torch import Tensor, nn

from orthomask.engine.compute import devices
from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.protocol import Areas, ClassInfo, Image, LabelledImage, Labels

CRS = "EPSG:32645"
GSD = 0.5
TRANSFORM = Affine(GSD, 0, 500_000, 0, -GSD, 3_000_000)
MODEL = "bright.safetensors"
CLASSES = (ClassInfo(1, "square", "#ff0000"), ClassInfo(2, "bar", "#00ff00"))


class Bright(nn.Module):
    """Class k where band k is bright, sure of it."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits: 0 for the background, far from it for the classes."""
        classes = 8.0 * image.float()[:, : self.classes]
        return torch.cat([torch.zeros_like(classes[:, :1]), classes], dim=1)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes


def predictor(opened: bundle.Bundle, device: devices.Device, precision: str = "fp32") -> devices.Predictor:
    """Stands for `devices.prepare`."""
    return devices.Predictor(Bright(len(opened.card.classes)), device, "fp32")


def write_model(folder: Path, classes: int = 1, bands: int = 3, gsd_m: float = GSD) -> Path:
    """A bundle of random weights; `predictor` makes it find what is bright."""
    torch.manual_seed(1)
    arguments = UNetArguments(bands, classes + 1, widths=(8, 8), blocks=1, detail=8)
    names = ("red", "green", "blue", "nir", "swir")[:bands]
    card = bundle.Card(
        name="bright", title="Bright & <sure>", architecture=arguments,
        bands=tuple(bundle.BandStatistics(name, 128.0, 64.0, 0.0, 255.0) for name in names),
        dtype="uint8", gsd_m=gsd_m, classes=CLASSES[:classes], threshold=0.5, licence="CC0", attribution="nobody",
    )  # fmt: skip
    path = folder / MODEL
    network = UNet(arguments)
    torch.nn.init.normal_(network.head.weight, std=2.0)
    bundle.save(path, network, card)
    return path


def paint(shape: tuple[int, int], *boxes: tuple[int, int, int, int], band: int = 0) -> np.ndarray:
    """Pixels `(3, H, W)` that are bright in one band within boxes `(left, top, right, bottom)`."""
    pixels = np.full((3, *shape), 30, np.uint8)
    for left, top, right, bottom in boxes:
        pixels[band, top:bottom, left:right] = 230
    return pixels


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """A GeoTIFF on the grid of the tests."""
    bands, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=CRS, transform=TRANSFORM, photometric="MINISBLACK", **profile) as dataset:
        dataset.write(pixels)
    return path


def write_boxes(path: Path, layer: str, boxes: list[tuple[int, int, int, int]], **fields: list[str]) -> Path:
    """Pixel boxes as polygons of a GeoPackage, with attributes."""
    polygons = shapely.transform(
        np.array([shapely.box(*box) for box in boxes], object), lambda xy: xy * [GSD, -GSD] + TRANSFORM @ (0, 0)
    )
    columns = [np.array(values, object) for values in fields.values()]
    pyogrio.raw.write(
        path, shapely.to_wkb(polygons), columns, list(fields), layer=layer, driver="GPKG", geometry_type="Polygon",
        crs=CRS, append=path.exists(),
    )  # fmt: skip
    return path


def labelled(
    folder: Path, found: list[tuple[int, int, int, int]], true: list[tuple[int, int, int, int]],
    areas: dict[str, tuple[int, int, int, int]] | None = None, shape: tuple[int, int] = (120, 160), split: str = "test",
) -> LabelledImage:  # fmt: skip
    """An image in which `found` is bright and `true` is labelled."""
    image = write_image(folder / "land.tif", paint(shape, *found))
    labels = write_boxes(folder / "labels.gpkg", "squares", true, name=[""] * len(true))
    bounds = None
    if areas is not None:
        splits = [split] * len(areas)
        path = write_boxes(folder / "areas.gpkg", "areas", list(areas.values()), name=list(areas), split=splits)
        bounds = Areas(str(path), "areas")
    return LabelledImage(Image(str(image)), (Labels(str(labels), "squares"),), bounds)
