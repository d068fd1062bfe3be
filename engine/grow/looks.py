"""What a run, its image and its model say of the pixels around a place; kept for the next place nearby."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window as Block

from ...protocol import ClassInfo, OrthomaskError, Outline, PredictRequest, from_json
from ..compute import devices, networks
from ..images.grid import Window
from ..images.raster import open_image, open_reader
from ..models import bundle as bundles
from ..models.unet import Ensemble, UNet
from ..runs.finished import no_run
from ..runs.runs import NODATA, SCALE
from ..shapes.layers import read_layer
from .growth import Look

SIDE = 192
"""Side of a look, in cells."""
STEP = 32
"""Looks lie on a lattice of this step, in cells, so that a place has the same one however it was come upon."""
USUAL_PX = 700
"""Pixels of a usual object where the run found none."""
ROOM = 3
"""A look is at least this many times as wide as a usual object, as far as `COARSEST` allows."""
COARSEST = 2
"""Pixels along the side of a cell, at most: larger windows would not be ready while the pointer moves."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        crs: of its polygons.
        gsd_m: of its rasters.
        usual_px: pixels of a usual object.
        cell_px: pixels along the side of a cell.
    """

    folder: Path
    request: PredictRequest
    classes: tuple[ClassInfo, ...]
    crs: pyproj.CRS
    near_x: float | None
    gsd_m: float
    raster_crs: str
    transform: Affine
    size: tuple[int, int]
    usual_px: float

    @property
    def cell_px(self) -> int:
        """Pixels along the side of a cell."""
        wanted = ROOM * math.sqrt(self.usual_px) / SIDE
        return 1 if wanted <= 1 else COARSEST

    @property
    def probabilities(self) -> Path:
        """The raster."""
        return self.folder / "probabilities.tif"


class Place(NamedTuple):
    """The corner of a look, in pixels of the run's rasters, and how many of them a cell is wide."""

    x: int
    y: int
    cell_px: int

    @property
    def transform(self) -> Affine:
        """From cells to pixels of the run's rasters."""
        return Affine.translation(self.x, self.y) @ Affine.scale(self.cell_px)


def open_run(folder: str) -> Run:
    """The finished run in a folder. Cached until it changes.

    Raises:
        OrthomaskError: there is none.
    """
    record = Path(folder) / "run.json"
    try:
        return _open_run(record, record.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, OrthomaskError, rasterio.errors.RasterioError) as error:
        raise no_run(Path(folder), error) from error


@functools.lru_cache(maxsize=4)
def _open_run(path: Path, _changed: int) -> Run:
    record = json.loads(path.read_text(encoding="utf-8"))
    folder, gsd_m = path.parent, float(record["model"]["gsd_m"])
    with rasterio.open(folder / "probabilities.tif") as dataset:
        raster_crs, transform, size = dataset.crs.to_wkt(), dataset.transform, (dataset.width, dataset.height)
    source, classes = record["source"], tuple(from_json(ClassInfo, info) for info in record["model"]["classes"])
    are_fields = any(info.outline is Outline.SHARED for info in classes)
    return Run(
        folder, from_json(PredictRequest, record["request"]), classes,
        pyproj.CRS.from_user_input(source["crs"]), source["center"][0] if "center" in source else None,
        gsd_m, raster_crs, transform, size, _usual_px(folder, gsd_m, are_fields),
    )  # fmt: skip


def _usual_px(folder: Path, gsd_m: float, are_fields: bool) -> float:
    """How large the run's objects usually are, in pixels: the median.

    Specks between large fields would mislead: of fields it is half-way to the one of the median square metre.
    """
    try:
        _, _, (areas,) = read_layer(str(folder / "polygons.gpkg"), "polygons", columns=["area_m2"], read_geometry=False)
    except (RuntimeError, ValueError):  # gone, locked, or edited beyond recognition: then any size is usual
        return USUAL_PX
    if not len(areas) or not areas.min() > 0:  # NaN, too
        return USUAL_PX
    ordered = np.sort(areas)
    median, half = np.median(areas), ordered[np.searchsorted(ordered.cumsum(), ordered.sum() / 2)]
    return float(np.sqrt(median * half) if are_fields else median) / gsd_m**2


def look_at(run: Run, column: int, row: int, device: str) -> tuple[Place, Look]:
    """The look with a pixel near its middle, and where it is. Cached.

    Raises:
        OrthomaskError: the run's rasters cannot be read.
    """
    cell = run.cell_px
    x, y = ((math.floor(place / cell / STEP + 0.5) * STEP - SIDE // 2) * cell for place in (column, row))
    place = Place(x, y, cell)
    return place, _look_at(run, place, device)


@functools.lru_cache(maxsize=12)
def _look_at(run: Run, place: Place, device: str) -> Look:
    probability, valid = _probability(run, place)
    pixels = _pixels(run, place, device)
    step = (..., slice(None, None, place.cell_px), slice(None, None, place.cell_px))
    colours, features = pixels or 2 * (np.zeros((0, *valid.shape), np.float32),)
    return Look(colours[step], features[step], probability[step], valid[step])


def _probability(run: Run, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(K, H, W)`, 0 to 1, and where the run has data `(H, W)`."""
    side = SIDE * place.cell_px
    with rasterio.open(run.probabilities) as dataset:
        window = Block(place.x, place.y, side, side)
        found = dataset.read(window=window, boundless=True, fill_value=NODATA)
    valid = found[0] != NODATA
    return np.where(valid, found.astype(np.float32) / SCALE, 0).astype(np.float32), valid


def _pixels(run: Run, place: Place, device: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Normalised colours and features of unit length, `(C, H, W)` each; None if image or model are gone.

    A temporary picture, rendered for the run, is gone with the session that made it. An image at another place than
    the run's is not the run's.
    """
    try:
        bundle = bundles.load(run.request.model)
        with open_image(run.request.image) as source:
            lattice = source.lattice(run.gsd_m, 0, 0)
            corner = np.array(~lattice.transform @ (run.transform.c, run.transform.f))
            same = lattice.crs == run.raster_crs or pyproj.CRS(lattice.crs) == pyproj.CRS(run.raster_crs)
            if not same or np.abs(corner - corner.round()).max() > 0.1:
                return None
            x, y = (int(place) for place in corner.round())
            numbers = source.bands([band.name for band in bundle.card.bands])
            network = networks.opened(bundle, devices.choose(device).torch)
            side = math.ceil(SIDE * place.cell_px / network.divisor) * network.divisor
            with open_reader(source, lattice, numbers) as reader:
                pixels = bundle.normalise(*reader.read(Window(x + place.x, y + place.y, side, side)))
    except OrthomaskError:
        return None
    core = (..., slice(SIDE * place.cell_px), slice(SIDE * place.cell_px))
    return pixels[core], _features(network, pixels)[core]


@torch.inference_mode()
def _features(network: UNet | Ensemble, pixels: np.ndarray) -> np.ndarray:
    """What the decoder makes of each pixel before it decides, `(F, H, W)`, of unit length."""
    image = torch.from_numpy(pixels)[None].to(next(network.parameters()).device)
    found = network.details(image)[0].float()
    return np.asarray((found / (found.norm(dim=0) + 1e-3)).cpu().numpy())
