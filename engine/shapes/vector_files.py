"""Vector files of any format: their layers, attributes and CRS, and their features batch by batch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError
from rasterio.errors import RasterioError

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from ..images.georeference import full_turn
from .layers import layer_info, list_layers, read_layer

CLASS_TABLE = "orthomask_classes"
"""The table of a GeoPackage that makes it a label project."""
BATCH = 50_000
"""Most unprocessed features in memory at a time."""
NOT_READ = (DataSourceError, DataLayerError, FeatureError, GeometryError)
TEXT_TABLES = {".csv", ".tsv"}
WKT_COLUMNS = "WKT,wkt,wkt_geom,geometry,geom,the_geom"
"""Columns of a text table that are read as WKT if present."""
TURNS = (2.5, 0.25)
"""Limits of longitude and latitude in a geographic CRS, in turns; longitudes may wrap twice more round the globe."""


def plain(value: Any) -> str:
    """An attribute as text: 1.0 is `1`, null is empty, a boolean is `true` or `false`."""
    if value is None or value != value:  # noqa: PLR0124 (NaN stands for null in columns of numbers)
        return ""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    text = str(value).strip()
    number = re.fullmatch(r"([+-]?\d+)\.0*", text)
    return number.group(1) if number else text


def layers_of(path: str) -> dict[str, str | None]:
    """The layers and tables of a vector file, with their geometry types.

    Raises:
        OrthomaskError: it is not a vector file.
    """
    try:
        layers = list_layers(path)
    except DataSourceError as error:
        raise unreadable(path, error) from error
    if Path(path).suffix.lower() in TEXT_TABLES:  # GDAL needs its options to find the geometry column
        return {name: info_of(path, name)["geometry_type"] for name in layers}
    return layers


def is_vector(path: str, layer: str = "") -> bool:
    """Whether the file has features, in the named layer if any, rather than only rasters."""
    try:
        layers = layers_of(path)
    except OrthomaskError:
        return False
    meant = [layers[layer]] if layer in layers else [] if layer else list(layers.values())
    return any(kind is not None for kind in meant) or not _is_raster_table(path, layer)


def raster_path(path: str, layer: str = "") -> str:
    """The name with which GDAL opens a raster, including one in a GeoPackage."""
    if not path.lower().endswith(".gpkg"):
        return path
    if layer:
        return f"GPKG:{path}:{layer}"
    try:
        with rasterio.open(path) as dataset:
            return str(dataset.subdatasets[0]) if dataset.subdatasets else path
    except RasterioError:
        return path


def _is_raster_table(path: str, layer: str) -> bool:
    """Whether a GeoPackage holds a raster, with the name `layer` if given."""
    if not path.lower().endswith(".gpkg"):
        return False
    try:
        with rasterio.open(raster_path(path, layer)):
            return True
    except RasterioError:
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
    return [str(name) for name in info_of(path, layer)["fields"]]


def read_column(path: str, layer: str, field: str) -> np.ndarray:
    """All values of an attribute as text, in the order of the features.

    Raises:
        OrthomaskError: the layer has no such attribute.
    """
    require_field(path, layer, field)
    _, _, data = read_layer(path, layer, columns=[field], read_geometry=False, **_options(path))
    return np.array([plain(value) for value in data[0]], object)


def require_field(path: str, layer: str, field: str) -> None:
    """Raise unless the layer has the attribute."""
    fields = fields_of(path, layer)
    if field not in fields:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("The layer “{}” has no attribute “{}”.").format(layer, field),
            tr("Choose one of: {}.").format(", ".join(fields)) if fields else tr("Use one class for everything."),
        )


def info_of(path: str, layer: str, **forced: bool) -> dict[str, Any]:
    """What pyogrio reports about a layer.

    Args:
        forced: what it shall report although that may mean to read the whole file; see `pyogrio.read_info`.

    Raises:
        OrthomaskError: it cannot be read.
    """
    try:
        return layer_info(path, layer, **forced, **_options(path))
    except NOT_READ as error:
        raise unreadable(path, error) from error


def crs_of(path: str, layer: str, assumed: str = "") -> pyproj.CRS:
    """The CRS of a layer.

    Args:
        assumed: used if it has none, or one that its coordinates do not fit: GeoJSON without a CRS counts as degrees.

    Raises:
        OrthomaskError: it has none, or the wrong one.
    """
    text = info_of(path, layer)["crs"]
    try:
        crs = pyproj.CRS.from_user_input(text or assumed)
        if not (crs.is_projected or crs.is_geographic):
            raise pyproj.exceptions.CRSError(f"not tied to the Earth: {crs.name}")
        if not text or not crs.is_geographic or _are_angles(path, layer, full_turn(crs)):
            return crs
        if not assumed:
            raise OrthomaskError(
                ErrorCode.LABELS_CRS,
                tr("The coordinates of the layer “{}” are not degrees, as its CRS {} requires.").format(layer, text),
                tr("Specify their CRS, on the command line with --labels-crs."),
            )
        return pyproj.CRS.from_user_input(assumed)
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.LABELS_CRS,
            tr("The layer “{}” has no known coordinate reference system.").format(layer),
            tr("Set the CRS of the layer, or specify it, on the command line with --labels-crs."),
            str(error),
        ) from error


def _are_angles(path: str, layer: str, turn: float) -> bool:
    """Whether any coordinates of a layer can be longitudes and latitudes."""
    bounds = info_of(path, layer, force_total_bounds=True)["total_bounds"]
    if bounds is None:
        return True
    left, bottom, right, top = bounds
    longitude, latitude = turn * TURNS[0], turn * TURNS[1]
    return bool(left <= longitude and right >= -longitude and bottom <= latitude and top >= -latitude)


def batches(
    path: str, layer: str, columns: Sequence[str], box: tuple[float, ...] | None
) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
    """Feature ids, geometries as WKB and attributes, `BATCH` features at a time.

    Raises:
        OrthomaskError: the layer cannot be read.
    """
    wanted: dict[str, Any] = {"columns": list(columns), "bbox": box, "max_features": BATCH, "return_fids": True}
    wanted |= _options(path)
    start = 0
    while True:
        try:
            meta, wkb, data = read_layer(path, layer, skip_features=start, **wanted)
        except NOT_READ as error:
            raise unreadable(path, error) from error
        if wkb is None or len(wkb) == 0:
            return
        by_name = dict(zip(meta["fields"], data))
        yield meta["fids"], wkb, [by_name[name] for name in columns]
        start += BATCH


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


def _options(path: str) -> dict[str, str]:
    """The options with which GDAL opens a file."""
    return {"GEOM_POSSIBLE_NAMES": WKT_COLUMNS} if Path(path).suffix.lower() in TEXT_TABLES else {}
