"""GeoPackage layers and tables that QGIS 3.22 and later can open."""

from __future__ import annotations

import errno
import functools
import json
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import pyproj
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError

from ..outputs import output_error

AUTHORITY = "ORTHOMASK"
"""GDAL writes a CRS without authority under this; see `_with_authority`."""


def write_layer(
    target: Path,
    layer: str,
    columns: dict[str, np.ndarray],
    geometry: np.ndarray | None = None,
    geometry_type: str | None = None,
    crs: str | None = None,
) -> None:
    """Append features to a layer of a GeoPackage, all or none; create file and layer if missing.

    Args:
        columns: values `(N,)` of each attribute.
        geometry: `(N,)` as WKB; None for a table without geometry.
        crs: as WKT or `EPSG:n`.

    Raises:
        OrthomaskError: there is no space, the file cannot be written, or another program is writing it.
    """
    try:
        pyogrio.raw.write(
            target,
            geometry,
            list(columns.values()),
            list(columns),
            layer=layer,
            driver="GPKG",
            append=target.exists(),
            geometry_type=geometry_type,
            crs=crs and _with_authority(pyproj.CRS.from_user_input(crs)),
            dataset_options={"VERSION": "1.2"},  # what the GDAL of QGIS 3.22 knows
        )
        if crs:
            _drop_authority(target)
    except sqlite3.OperationalError as error:
        raise output_error(target, OSError(errno.EIO, str(error))) from error
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise output_error(target, OSError(errno.EIO, str(error))) from error


def _with_authority(crs: pyproj.CRS) -> str:
    """A CRS as WKT that GDAL writes unchanged.

    For one without authority GDAL guesses a code, and mistakes a UTM zone in feet for the one in metres.
    """
    known = crs.to_json_dict()
    named = known
    while named["type"] == "BoundCRS" or "components" in named:
        named = named["source_crs"] if named["type"] == "BoundCRS" else named["components"][0]
    own = named.get("id")
    if own and pyproj.CRS.from_authority(own["authority"], own["code"]).equals(
        pyproj.CRS.from_json_dict(named), ignore_axis_order=True
    ):
        return crs.to_wkt()
    number = zlib.crc32(json.dumps(named, sort_keys=True).encode()) % 900_000
    named["id"] = {"authority": AUTHORITY, "code": 100_000 + number}
    return pyproj.CRS.from_json_dict(known).to_wkt()


def _drop_authority(target: Path) -> None:
    """Remove the authority that `_with_authority` added, which QGIS does not know; keep the definition."""
    with closing(sqlite3.connect(target)) as file, file:
        query = "SELECT srs_id FROM gpkg_spatial_ref_sys WHERE organization = ?"
        for (number,) in file.execute(query, (AUTHORITY,)).fetchall():
            file.execute(
                "UPDATE gpkg_spatial_ref_sys SET organization = 'NONE', definition = replace(definition, ?, '') "
                "WHERE srs_id = ?",
                (f',AUTHORITY["{AUTHORITY}","{number}"]', number),
            )


def read_layer(path: str, layer: str, **options: Any) -> tuple[dict[str, Any], np.ndarray, Sequence[np.ndarray]]:
    """A layer's metadata, geometries as WKB and attributes; see `pyogrio.raw.read` for the options.

    The metadata's `fids` are the ids of the features, if asked for by `return_fids`.
    """
    try:
        meta, fids, wkb, data = pyogrio.raw.read(path, layer=layer, **options)
    except GeometryError:
        meta, fids, wkb, data = pyogrio.raw.read(_of_any_type(path, layer), layer=layer, **options)
    return {**meta, "crs": _stated(path, layer, meta["crs"]), "fids": fids}, wkb, data


def layer_info(path: str, layer: str, **options: Any) -> dict[str, Any]:
    """A layer's metadata; see `pyogrio.read_info` for the options."""
    try:
        info = pyogrio.read_info(path, layer=layer, **options)
    except GeometryError:
        info = pyogrio.read_info(_of_any_type(path, layer), layer=layer, **options)
    return {**info, "crs": _stated(path, layer, info["crs"])}


def _of_any_type(path: str, layer: str) -> str:
    """A layer as a virtual one, for geometry types that pyogrio does not know: any type with measures."""
    return (
        f"<OGRVRTDataSource><OGRVRTLayer name='{escape(layer)}'><SrcDataSource>{escape(path)}</SrcDataSource>"
        f"<SrcLayer>{escape(layer)}</SrcLayer><GeometryType>wkbUnknown</GeometryType></OGRVRTLayer></OGRVRTDataSource>"
    )


def list_layers(path: str) -> dict[str, str | None]:
    """The layers and tables of a vector file, with their geometry types; None for tables."""
    try:
        return {str(name): kind for name, kind in pyogrio.list_layers(path)}
    except GeometryError:
        if Path(path).suffix.lower() != ".gpkg":
            return {Path(path).stem: "Unknown"}
        names, kinds, _, _ = _contents(path)
        return dict(zip(map(str, names), (str(kind) if kind else None for kind in kinds)))


def _contents(path: str) -> Sequence[np.ndarray]:
    """Names, geometry types, authorities and CRSs of the layers of a GeoPackage."""
    query = (
        "SELECT c.table_name, geometry_type_name, organization, definition FROM gpkg_contents c "
        "LEFT JOIN gpkg_geometry_columns g ON g.table_name = c.table_name "
        "LEFT JOIN gpkg_spatial_ref_sys s ON s.srs_id = g.srs_id "
        "WHERE c.data_type IN ('features', 'attributes') ORDER BY c.rowid"
    )
    columns: Sequence[np.ndarray] = pyogrio.raw.read(path, sql=query, read_geometry=False)[3]
    return columns


def _stated(path: str, layer: str, found: str | None) -> str:
    """The CRS that a file itself states, if pyogrio's guess at a code differs."""
    kind, projection = Path(path).suffix.lower(), Path(path).with_suffix(".prj")
    text = ""
    try:
        if kind == ".gpkg":
            names, _, authorities, definitions = _contents(path)
            own = (names == layer) & (authorities != "EPSG") & (authorities != None)  # noqa: E711 (of each)
            text = str(definitions[own][0]) if own.any() else ""
        elif kind == ".shp" and projection.exists():
            text = projection.read_text(encoding="utf-8")
        crs = pyproj.CRS.from_user_input(text) if text else None
    except (DataSourceError, DataLayerError, OSError, ValueError, pyproj.exceptions.CRSError):
        return found or ""
    if crs is None or not (crs.is_projected or crs.is_geographic):
        return found or ""
    return found if found and _are_one(text, found) else str(crs.to_wkt())


@functools.lru_cache(maxsize=64)
def _are_one(text: str, found: str) -> bool:
    """Whether a text and a code name one CRS. PROJ searches for a third of a second if it knows none like it."""
    return bool(pyproj.CRS(text).to_authority(min_confidence=90) == pyproj.CRS(found).to_authority())
