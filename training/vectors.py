"""Polygons of any vector file, brought onto the pixels of a grid: mended, counted, nothing lost silently."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyogrio
import pyogrio.raw
import pyproj
import shapely
from affine import Affine
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from ..engine import regions
from ..engine.georeference import full_turn
from ..engine.layers import layer_info, list_layers, read_layer
from ..protocol import ErrorCode, OrthomaskError
from ..protocol.words import tr

CLASS_TABLE = "orthomask_classes"
"""The table of a GeoPackage that makes it a label project."""
BATCH = 50_000
"""Features that are in memory in the file's own form at the same time."""
MANY = 500_000
"""Layers with more features are read only around the image, so that a whole country's file is no burden."""


class Grid(NamedTuple):
    """The pixels that ground truth is burned onto.

    Attributes:
        crs: as WKT.
        transform: pixel to CRS coordinates; may be rotated.
    """

    crs: str
    transform: Affine
    width_px: int
    height_px: int

    @property
    def box(self) -> shapely.Polygon:
        """Its outline, in pixels."""
        return shapely.box(0, 0, self.width_px, self.height_px)


@dataclass
class Tally:
    """What became of the features of a layer."""

    name: str
    features: int = 0
    without_geometry: int = 0
    not_polygons: int = 0
    mended: int = 0
    kept: int = 0

    @property
    def outside(self) -> int:
        """Features that do not touch the grid."""
        return self.features - self.without_geometry - self.not_polygons - self.kept

    def warnings(self) -> tuple[str, ...]:
        """One sentence for each thing that was mended or left out."""
        told = (
            (self.mended, tr("{} of {} features of “{}” were not valid and have been mended.")),
            (self.without_geometry, tr("{} of {} features of “{}” have no geometry and were left out.")),
            (self.not_polygons, tr("{} of {} features of “{}” are points or lines and were left out.")),
            (self.outside, tr("{} of {} features of “{}” lie outside the image.")),
        )
        return tuple(words.format(count, self.features, self.name) for count, words in told if count)


class Polygons(NamedTuple):
    """Polygons of a layer that touch a grid.

    Attributes:
        geometries: `(N,)` valid polygons and multipolygons, in pixels of the grid.
        columns: for each attribute its `(N,)` values as text, as `plain` writes them.
    """

    geometries: np.ndarray
    columns: dict[str, np.ndarray]
    tally: Tally


def plain(value: Any) -> str:
    """An attribute as text: 1.0 is `1`, nothing is empty."""
    if value is None or value != value:  # noqa: PLR0124 (NaN stands for null in columns of numbers)
        return ""
    text = str(value).strip()
    number = re.fullmatch(r"([+-]?\d+)\.0*", text)
    return number.group(1) if number else text


def layers_of(path: str) -> dict[str, str | None]:
    """The layers and tables of a vector file, with their types of geometry.

    Raises:
        OrthomaskError: it is no vector file.
    """
    try:
        return list_layers(path)
    except DataSourceError as error:
        raise unreadable(path, error) from error


def is_vector(path: str) -> bool:
    """Whether the file has layers of features."""
    try:
        return bool(layers_of(path))
    except OrthomaskError:
        return False


def choose_layer(path: str, wanted: str, usual: str) -> str:
    """The layer `wanted`, else the one with the `usual` name, else the first one with geometry.

    Raises:
        OrthomaskError: there is no such layer.
    """
    layers = layers_of(path)
    if wanted in layers:
        return wanted
    spatial = [name for name, kind in layers.items() if kind is not None]
    if wanted or not spatial:
        sentence = tr("“{}” has no layer “{}”.") if wanted else tr("“{}” has no layer with geometry.")
        raise OrthomaskError(
            ErrorCode.LABELS_UNREADABLE,
            sentence.format(os.path.basename(path), wanted),
            tr("Choose one of: {}.").format(", ".join(spatial)) if spatial else tr("Choose a file with polygons."),
        )
    return usual if usual in spatial else spatial[0]


def fields_of(path: str, layer: str) -> list[str]:
    """Names of the attributes of a layer."""
    return [str(name) for name in _info(path, layer)["fields"]]


def crs_of(path: str, layer: str) -> str:
    """The CRS of a layer as WKT.

    Raises:
        OrthomaskError: it has none.
    """
    return str(_known_crs(_info(path, layer)["crs"], layer).to_wkt())


def read_column(path: str, layer: str, field: str) -> np.ndarray:
    """All values of an attribute as text, in the order of the features.

    Raises:
        OrthomaskError: the layer has no such attribute.
    """
    require_field(path, layer, field)
    _, _, _, data = pyogrio.raw.read(path, layer=layer, columns=[field], read_geometry=False)
    return np.array([plain(value) for value in data[0]], object)


def require_field(path: str, layer: str, field: str) -> None:
    """Raise unless the layer has that attribute."""
    fields = fields_of(path, layer)
    if field not in fields:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("The layer “{}” has no attribute “{}”.").format(layer, field),
            tr("Choose one of: {}.").format(", ".join(fields)) if fields else tr("Give it one class for everything."),
        )


def read_polygons(path: str, layer: str, columns: Sequence[str], crs: str, grid: Grid) -> Polygons:
    """The polygons of a layer that touch a grid, vertex by vertex in its pixels, with some attributes.

    Args:
        crs: to assume where the layer has none.

    Raises:
        OrthomaskError: the layer cannot be read, has no CRS, or holds points and lines only.
    """
    info = _info(path, layer)
    if info["geometry_type"] is None:
        raise _no_polygons(layer)
    source = _known_crs(info["crs"] or crs, layer)
    tally = Tally(layer, int(info["features"]))
    box = _footprint(grid, source, info["total_bounds"]) if tally.features > MANY else None
    read = [_on_grid(wkb, data, source, grid, tally) for wkb, data in _batches(path, layer, columns, box)]
    if tally.features and tally.not_polygons == tally.features - tally.without_geometry:
        raise _no_polygons(layer)
    geometries = np.concatenate([part[0] for part in read]) if read else np.empty(0, object)
    texts = [np.concatenate([part[1][i] for part in read] or [np.empty(0, object)]) for i in range(len(columns))]
    return Polygons(geometries, dict(zip(columns, texts)), tally)


def to_pixels(geometries: np.ndarray, transform: Affine) -> np.ndarray:
    """Geometries in the pixels of a grid, by the very arithmetic of GDAL.

    A vertex that lies on a pixel's centre but for rounding then falls on the same side as with GDAL's own tools
    (`GDALInvGeoTransform`, `GDALGenImgProjTransform`).
    """
    a, b, c, d, e, f = transform[:6]
    if b == d == 0:
        inverse = (1 / a, 0.0, -c / a, 0.0, 1 / e, -f / e)
    else:
        scale = 1 / (a * e - b * d)
        inverse = (
            e * scale, -b * scale, (b * f - c * e) * scale,
            -d * scale, a * scale, (-a * f + c * d) * scale,
        )  # fmt: skip
    xx, xy, x0, yx, yy, y0 = inverse

    def move(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        return np.column_stack([x0 + x * xx + y * xy, y0 + x * yx + y * yy])

    return np.asarray(shapely.transform(geometries, move))


def unreadable(path: str, error: Exception) -> OrthomaskError:
    """The error for labels that cannot be opened."""
    missing = not os.path.exists(path) and not path.startswith("/vsi") and ":" not in path[2:]
    sentence = tr("“{}” does not exist.") if missing else tr("“{}” cannot be read.")
    return OrthomaskError(
        ErrorCode.LABELS_UNREADABLE,
        sentence.format(os.path.basename(path) or path),
        tr("Check the path.") if missing else tr("Choose a vector file such as a GeoPackage, or a raster of classes."),
        str(error),
    )


def _batches(
    path: str, layer: str, columns: Sequence[str], box: tuple[float, ...] | None
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Geometries as WKB and attributes, some thousand features at a time."""
    start = 0
    while True:
        try:
            meta, wkb, data = read_layer(
                path, layer, columns=list(columns), bbox=box, skip_features=start, max_features=BATCH
            )
        except (DataSourceError, DataLayerError, FeatureError) as error:
            raise unreadable(path, error) from error
        if wkb is None or len(wkb) == 0:
            return
        by_name = dict(zip(meta["fields"], data))
        yield wkb, [by_name[name] for name in columns]
        start += BATCH


def _on_grid(
    wkb: np.ndarray, data: Sequence[np.ndarray], source: pyproj.CRS, grid: Grid, tally: Tally
) -> tuple[np.ndarray, list[np.ndarray]]:
    """What touches the grid of a batch, in its pixels; `tally` counts the rest."""
    drawn = shapely.force_2d(shapely.from_wkb(wkb, on_invalid="fix"))
    empty = shapely.is_missing(drawn) | shapely.is_empty(drawn)
    flat = ~empty & (shapely.get_dimensions(drawn) < 2)
    tally.without_geometry += int(empty.sum())
    tally.not_polygons += int(flat.sum())
    chosen = np.flatnonzero(~empty & ~flat)
    target = pyproj.CRS.from_user_input(grid.crs)
    same = source.equals(target, ignore_axis_order=True)
    outline = regions.transformed(grid.box, grid.transform)
    placed = drawn[chosen]
    if not same or target.is_geographic:
        placed = regions.cut_around(placed, source, outline.bounds, target)
        placed = regions.reprojected(placed, source, target, outline.centroid.x)
    pixels = to_pixels(placed, grid.transform)
    left, top, right, bottom = shapely.bounds(pixels).T
    near = (right >= 0) & (bottom >= 0) & (left <= grid.width_px) & (top <= grid.height_px)
    near &= np.isfinite(left + top + right + bottom)  # not where a cut left nothing
    pixels, chosen = pixels[near], chosen[near]
    invalid = ~shapely.is_valid(pixels)
    odd = invalid | (shapely.get_type_id(pixels) == shapely.GeometryType.GEOMETRYCOLLECTION)
    pixels[odd] = [regions.polygonal(geometry) for geometry in shapely.make_valid(pixels[odd])]
    tally.mended += int(invalid.sum())
    touching = shapely.intersects(pixels, grid.box)
    tally.kept += int(touching.sum())
    return pixels[touching], [np.array([plain(v) for v in column[chosen[touching]]], object) for column in data]


def _footprint(grid: Grid, crs: pyproj.CRS, extent: Sequence[float] | None) -> tuple[float, ...] | None:
    """Bounds of a grid in another CRS, a little wider; None where they cannot be told.

    Args:
        extent: of the layer; its longitudes may be counted otherwise.
    """
    if crs.is_geographic and (extent is None or max(map(abs, extent)) > full_turn(crs) / 2):
        return None
    corners = regions.transformed(grid.box, grid.transform)
    transformer = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True)
    left, bottom, right, top = transformer.transform_bounds(*corners.bounds)
    margin = max(right - left, top - bottom) / 100
    bounds = (left - margin, bottom - margin, right + margin, top + margin)
    return bounds if np.isfinite(bounds).all() and left < right else None


def _info(path: str, layer: str) -> dict[str, Any]:
    try:
        return layer_info(path, layer, force_feature_count=True)
    except (DataSourceError, DataLayerError) as error:
        raise unreadable(path, error) from error


def _known_crs(text: str, layer: str) -> pyproj.CRS:
    try:
        crs = pyproj.CRS.from_user_input(text)
        if not (crs.is_projected or crs.is_geographic):
            raise pyproj.exceptions.CRSError(f"not tied to the Earth: {crs.name}")
        return crs
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.LABELS_CRS,
            tr("The layer “{}” has no coordinate reference system that is known here.").format(layer),
            tr("Set the CRS of the layer, or name it."),
            str(error),
        ) from error


def _no_polygons(layer: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.LABELS_EMPTY,
        tr("The layer “{}” holds no polygons.").format(layer),
        tr("Choose a layer of polygons; buffer points and lines first."),
    )
