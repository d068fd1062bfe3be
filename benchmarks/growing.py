"""How well a click outlines a building that the model has missed, against the probabilities alone.

    .venv/engine/bin/python benchmarks/growing.py --data ../shared/data

The model is the embedded one of version 0.5, which never saw these places. Missed is a labelled building whose IoU with
every object found is below 0.3; it is clicked where it is widest. The simple way is the connected pixels that have at
least half of the clicked pixel's probability.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import rasterio
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage

from orthomask.benchmarks.places import resampled_mask
from orthomask.engine import predict
from orthomask.engine.compute.devices import keep_pages
from orthomask.engine.grow import grow
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.engine.runs.runs import NODATA, SCALE
from orthomask.protocol import SPECK_PX, Existing, GrowRequest, Image, PredictRequest

PLACES = {"banepa_north": 0.1323, "zanzibar": 0.1485, "rotterdam_sn6": 0.5}
"""Metres per pixel."""
MISSED = 0.3
CRS = "EPSG:32737"
ROOF, UNKNOWN = 255, 128
SIZES = (0.5, 0.71, 1.0, 1.41, 2.0)
"""What the wheel reaches within two notches each way."""


class Score(NamedTuple):
    """IoU of a click's outline with the building: as proposed, best after up to two notches, and the simple way's."""

    grown: float
    turned: float
    simple: float


def predicted(image: Path, gsd_m: float, model: str, folder: Path) -> Path:
    """A run over a picture, laid out from a corner in a CRS in metres."""
    path = folder / "image.tif"
    with rasterio.open(image) as dataset:
        pixels = dataset.read([1, 2, 3])
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=pixels.shape[1], width=pixels.shape[2], dtype="uint8", crs=CRS,
        transform=Affine(gsd_m, 0, 500_000, 0, -gsd_m, 9_300_000),
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
    predict.run(PredictRequest(Image(str(path)), model, str(folder), existing=Existing.OVERWRITE), Progress())
    return folder


def scored(run: Path, mask: np.ndarray, threshold: float, often: int) -> Iterator[Score]:
    """The scores of every so many missed buildings of a picture."""
    with rasterio.open(run / "probabilities.tif") as dataset:
        found, transform = dataset.read(1), dataset.transform
    mask = np.pad(mask, ((0, 2), (0, 2)), constant_values=UNKNOWN)[: found.shape[0], : found.shape[1]]
    p = np.where(found == NODATA, 0, found)
    objects, _ = ndimage.label(p >= threshold * SCALE)
    roofs, _ = ndimage.label(mask == ROOF)
    for number, box in enumerate(ndimage.find_objects(roofs), start=1):
        roof = roofs == number
        if roof.sum() < SPECK_PX or _best(objects, roof) >= MISSED or number % often:
            continue
        inner = ndimage.distance_transform_edt(np.pad(roof[box], 1))[1:-1, 1:-1]
        row, column = np.add(np.unravel_index(inner.argmax(), inner.shape), [part.start for part in box])
        simple, _ = ndimage.label(p >= max(1, p[row, column] / 2))
        x, y = transform @ (column + 0.5, row + 0.5)
        known = mask != UNKNOWN
        grown = [_iou(_grown(run, x, y, size, transform, roof.shape) & known, roof) for size in SIZES]
        yield Score(grown[2], max(grown), _iou((simple == simple[row, column]) & known, roof))


def _grown(run: Path, x: float, y: float, size: float, transform: Affine, shape: tuple[int, ...]) -> np.ndarray:
    result = grow.run(GrowRequest(str(run), x, y, size=size, device="cpu"), Progress())
    outline = shapely.from_wkt(result.wkt)
    return np.asarray(rasterio.features.geometry_mask([outline], shape, transform, invert=True))


def _best(objects: np.ndarray, roof: np.ndarray) -> float:
    return max((_iou(objects == number, roof) for number in np.unique(objects[roof]) if number), default=0.0)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The project's data folder.")  # fmt: skip
@click.option("--often", default=1, show_default=True, help="Click only every so many buildings.")
def main(data: Path, often: int) -> None:
    """Print IoU and times of clicks on missed buildings, for each place."""
    keep_pages()
    model = str(data / "models" / "buildings-0.5.safetensors")
    threshold = bundle.load(model).card.threshold
    click.echo(f"{'':14}{'missed':>8}   {'grown: mean, median, > 0.5':28}{'with the wheel':28}{'probabilities':28}")
    for place, gsd_m in PLACES.items():
        scores, started, folder = list[Score](), time.monotonic(), data / "buildings" / "more" / place
        for image in sorted((folder / "images").iterdir()):
            with rasterio.open(folder / "masks" / f"{image.stem}.png") as dataset:
                mask = resampled_mask(dataset.read(1), gsd_m, 0.3)
            if not (mask == ROOF).any():
                continue
            with tempfile.TemporaryDirectory() as work:
                scores += scored(predicted(image, gsd_m, model, Path(work)), mask, threshold, often)
        columns = "".join(
            f"{np.mean(values):6.2f}{np.median(values):6.2f}{np.mean(np.array(values) > 0.5):6.0%}{'':10}"
            for values in zip(*scores)
        )
        seconds = time.monotonic() - started
        click.echo(f"{place:14}{len(scores):8}   {columns}{seconds:6.0f} s")


if __name__ == "__main__":
    main()
