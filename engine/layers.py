"""Layers and tables of GeoPackages that every QGIS from 3.22 on opens."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyogrio.raw
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from .outputs import output_error


def write_layer(
    target: Path,
    layer: str,
    columns: dict[str, np.ndarray],
    geometry: np.ndarray | None = None,
    geometry_type: str | None = None,
    crs: str | None = None,
) -> None:
    """Append features to a layer of a GeoPackage, all or none; file and layer are made where they are missing.

    Args:
        columns: values `(N,)` of each attribute.
        geometry: `(N,)` as WKB; None for a table without geometry.
        crs: as WKT or `EPSG:n`.

    Raises:
        OrthomaskError: there is no space, the file may not be written, or another program is writing it.
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
            crs=crs,
            dataset_options={"VERSION": "1.2"},  # what the GDAL of QGIS 3.22 knows
        )
    except (DataSourceError, DataLayerError, FeatureError) as error:
        raise output_error(target, OSError(errno.EIO, str(error))) from error
