"""How much of a region holds data, and whether a blank margin is read as data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyproj
import rasterio
import shapely
from rasterio.windows import Window as Block
from scipy import ndimage

from ...protocol import Region
from .georeference import degrees, ellipsoid
from .grid import Lattice, Selection, Window
from .raster import SERVERS, Source
from .regions import mended, reprojected, transformed
from .unreadable import damaged

POINTS, FEW_POINTS = 256, 64
"""Points sampled along the longer side; fewer if that would decode much of a large file."""
DECODED_PX = 4096**2
"""As many pixels may be decoded for `POINTS`."""
WHOLE = 0.999
"""A region of which this share is on the image is on it: edges bend when they are reprojected."""
STEPS = 32
"""An edge is cut this many times before it is reprojected."""


class Coverage(NamedTuple):
    """What part of a region holds data.

    Attributes:
        share: part of the region on the image that holds data.
        on_image: part of the region that is on the image.
        margin: part of the region on the image that is plain black or white up to the edge, and not marked as missing.
        value: of that margin.
        places: pixels of the lattice `(N, 2)` that hold data.
    """

    share: float
    on_image: float
    margin: float
    value: float
    places: np.ndarray


class _Grid(NamedTuple):
    """Pixels of a raster, evenly spaced: values `(bands, H, W)`, validity `(H, W)`, and columns and rows."""

    pixels: np.ndarray
    valid: np.ndarray
    columns: np.ndarray
    rows: np.ndarray


def measure(source: Source, lattice: Lattice, selection: Selection, region: Region | None) -> Coverage:
    """Measure it at evenly spaced pixels of the image, never beyond its edge or outside the region.

    Args:
        region: as it was drawn; None for the whole image.

    Raises:
        OrthomaskError: the image is damaged.
    """
    frame = _footprint(source, lattice)
    wanted = frame if selection.geometry is None else frame.intersection(selection.geometry)
    grid = _read(source, _around(wanted, source, lattice))
    x, y = _on_lattice(source, lattice, grid)
    inside = shapely.contains_xy(wanted, x, y)
    inside = inside if inside.any() else np.ones_like(inside)  # thinner than a pixel
    found = [(int((margin & inside).sum()), value) for value, margin in _margins(source, grid)]
    margin, value = max(found)
    valid = grid.valid & inside
    count = inside.sum()
    drawn = _on_image(wanted, lattice, region) if region else 1.0
    places = np.stack([x[valid], y[valid]], axis=1).astype(int)
    return Coverage(float(valid.sum() / count), drawn, float(margin / count), float(value), places)


def _footprint(source: Source, lattice: Lattice) -> shapely.Geometry:
    """The image's own outline in lattice pixels; a rotated image does not fill the lattice."""
    width, height = source.dataset.width, source.dataset.height
    outline = shapely.segmentize(shapely.box(0, 0, width, height), max(width, height) / STEPS)
    return _moved(outline, source, lattice)


def _moved(geometry: shapely.Geometry, source: Source, lattice: Lattice) -> shapely.Geometry:
    """Convert a geometry from image pixels to lattice pixels."""
    if lattice.transform == source.transform:
        return geometry
    drawn = reprojected(transformed(geometry, source.transform), source.crs, lattice.crs)
    return transformed(drawn, ~lattice.transform)


def _around(wanted: shapely.Geometry, source: Source, lattice: Lattice) -> Window:
    """The pixels of the image under a geometry on the lattice."""
    width, height = source.dataset.width, source.dataset.height
    found = wanted
    if lattice.transform != source.transform:
        left, top, right, bottom = wanted.bounds
        dense = shapely.segmentize(wanted, max(right - left, bottom - top, 1) / STEPS)
        drawn = reprojected(transformed(dense, lattice.transform), lattice.crs, source.crs)
        found = transformed(drawn, ~source.transform)
    left, top, right, bottom = found.bounds if not found.is_empty else (0, 0, width, height)
    x, y = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    stop_x, stop_y = int(np.clip(np.ceil(right), x + 1, width)), int(np.clip(np.ceil(bottom), y + 1, height))
    return Window(x, y, stop_x - x, stop_y - y)


def _read(source: Source, window: Window) -> _Grid:
    """Evenly spaced pixels of a window of the image, from its overviews if it has any."""
    dataset = source.dataset
    quick = bool(dataset.overviews(1)) or window.width * window.height <= DECODED_PX
    step = max(1.0, max(window.width, window.height) / (POINTS if quick else FEW_POINTS))
    shape = max(1, round(window.height / step)), max(1, round(window.width / step))
    bands = [band.number for band in source.named_bands if not band.is_mask] or list(dataset.indexes)
    bands = [number for number in bands if dataset.dtypes[number - 1] == dataset.dtypes[bands[0] - 1]]
    block = Block(*window)
    try:
        with rasterio.Env(**{**SERVERS, **source.image.access}):
            pixels = dataset.read(bands, window=block, out_shape=(len(bands), *shape))
            valid = dataset.dataset_mask(window=block, out_shape=shape) > 0
    except rasterio.errors.RasterioError as error:
        raise damaged(source.name, window.y, error) from error
    if pixels.dtype.kind == "f":
        valid &= np.isfinite(pixels).all(axis=0)
    rows = window.y + (np.arange(shape[0]) + 0.5) * window.height / shape[0]
    columns = window.x + (np.arange(shape[1]) + 0.5) * window.width / shape[1]
    return _Grid(pixels, valid, columns, rows)


def _on_lattice(source: Source, lattice: Lattice, grid: _Grid) -> tuple[np.ndarray, np.ndarray]:
    """Lattice columns and rows of the pixels read, each `(H, W)`."""
    columns, rows = np.meshgrid(grid.columns, grid.rows)
    points = _moved(shapely.multipoints(np.stack([columns.ravel(), rows.ravel()], axis=1)), source, lattice)
    x, y = shapely.get_coordinates(points).T
    return x.reshape(columns.shape), y.reshape(columns.shape)


def _margins(source: Source, grid: _Grid) -> list[tuple[float, np.ndarray]]:
    """For black and for white, which pixels have this value in all bands and are connected to the edge."""
    kind = grid.pixels.dtype
    blanks = {value: _is_blank(grid, value) for value in ((0.0,) if kind.kind == "f" else (0.0, np.iinfo(kind).max))}
    if not any(blank.any() for blank in blanks.values()):
        return list(blanks.items())
    whole = _read(source, Window(0, 0, source.dataset.width, source.dataset.height))
    rows = np.searchsorted(whole.rows, grid.rows).clip(0, len(whole.rows) - 1)
    columns = np.searchsorted(whole.columns, grid.columns).clip(0, len(whole.columns) - 1)
    return [
        (value, blank & _at_edge(_is_blank(whole, value))[np.ix_(rows, columns)]) for value, blank in blanks.items()
    ]


def _at_edge(blank: np.ndarray) -> np.ndarray:
    """Pixels connected to an edge, and one more around them, since others lie between the samples."""
    parts, _ = ndimage.label(blank)
    edges = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return np.asarray(ndimage.binary_dilation(np.isin(parts, edges[edges > 0]), np.ones((3, 3))))


def _is_blank(grid: _Grid, value: float) -> np.ndarray:
    return np.asarray((grid.pixels == value).all(axis=0) & grid.valid)


def _on_image(wanted: shapely.Geometry, lattice: Lattice, region: Region) -> float:
    """The share of a region that is on the image."""
    found = _ground_m2(transformed(wanted, lattice.transform), pyproj.CRS(lattice.crs))
    drawn = _ground_m2(mended(shapely.from_wkt(region.wkt)), pyproj.CRS.from_user_input(region.crs))
    return found / drawn if found < WHOLE * drawn else 1.0


def _ground_m2(geometry: shapely.Geometry, crs: pyproj.CRS) -> float:
    """Area on the ellipsoid, up to the whole globe: by an equal-area cylindrical projection (Snyder 1987, eq. 3-12)."""
    _, geod = ellipsoid(crs)
    left, bottom, right, top = geometry.bounds
    dense = shapely.segmentize(geometry, max(right - left, top - bottom) / STEPS)

    def flat(places: np.ndarray) -> np.ndarray:
        longitude, latitude = np.radians(degrees(places, crs))
        if crs.is_projected:  # in one piece across 180 degrees
            longitude = longitude[0] + np.remainder(longitude - longitude[0] + np.pi, 2 * np.pi) - np.pi
        sine, e = np.sin(latitude), max(geod.es, 1e-12) ** 0.5
        q = (1 - e**2) * (sine / (1 - e**2 * sine**2) + np.arctanh(e * sine) / e)
        return np.column_stack([geod.a * longitude, geod.a * q / 2])

    return float(shapely.area(shapely.transform(dense, flat)))
