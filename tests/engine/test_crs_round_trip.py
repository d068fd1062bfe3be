"""What is written with a CRS is read back with the same one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio.raw
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from reference_systems import PLACES, Place

from orthomask.engine.progress import Progress
from orthomask.engine.runs.cogs import Band, Frame, open_cog
from orthomask.engine.shapes.layers import layer_info, write_layer

EPOCH_M = 1e-3
"""Places in one CRS and in what was read back differ by less than this, in metres or its like."""


def xy(place: Place) -> tuple[float, float]:
    crs = pyproj.CRS.from_user_input(place.crs)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(place.longitude, place.latitude)
    return x, y


def require_same(found: str | None, place: Place) -> None:
    """Both name the same place by the same coordinates, and have the same units."""
    written, read = pyproj.CRS.from_user_input(place.crs), pyproj.CRS.from_user_input(found)
    back = pyproj.Transformer.from_crs(read, written, always_xy=True).transform(*xy(place))
    unit = written.axis_info[0].unit_conversion_factor * (6.4e6 if written.is_geographic else 1)
    assert np.abs(np.subtract(back, xy(place))).max() * unit < EPOCH_M
    assert read.axis_info[0].unit_conversion_factor == pytest.approx(written.axis_info[0].unit_conversion_factor)
    if pyproj.CRS(place.crs).to_authority():
        assert read.equals(written, ignore_axis_order=True)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.crs[:40])
def test_a_geopackage(tmp_path: Path, place: Place) -> None:
    path, crs = tmp_path / "layer.gpkg", pyproj.CRS.from_user_input(place.crs)
    wkb = np.array([shapely.to_wkb(shapely.Point(xy(place)).buffer(1))], object)
    for _ in range(2):
        write_layer(path, "polygons", {"id": np.array([1])}, wkb, "Polygon", crs.to_wkt())
    require_same(layer_info(str(path), "polygons")["crs"], place)
    with closing(sqlite3.connect(path)) as file:
        (stated,) = file.execute("SELECT definition FROM gpkg_spatial_ref_sys NATURAL JOIN gpkg_geometry_columns")
    require_same(stated[0], place)
    assert "ORTHOMASK" not in stated[0], "QGIS would take it for no CRS at all"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.crs[:40])
def test_a_raster(tmp_path: Path, place: Place) -> None:
    path, crs = tmp_path / "raster.tif", pyproj.CRS.from_user_input(place.crs)
    frame = Frame(20, 10, crs.to_wkt(), Affine.translation(*xy(place)) @ Affine.scale(1e-5, -1e-5))
    with open_cog(path, frame, Band("uint8", 255, "", "mode"), "{}", Progress()) as dataset:
        dataset.write(np.zeros((1, 10, 20), np.uint8))
    with rasterio.open(path) as dataset:
        require_same(dataset.crs.to_wkt(), place)
        np.testing.assert_allclose(dataset.transform[:6], frame.transform[:6], rtol=1e-12)


@pytest.mark.parametrize("suffix", ["gpkg", "shp"])
def test_labels_in_feet_that_others_wrote(tmp_path: Path, suffix: str) -> None:
    """GDAL takes such a UTM zone for the one in metres."""
    path = tmp_path / f"labels.{suffix}"
    place = Place("+proj=utm +zone=32 +datum=WGS84 +units=us-ft +no_defs", 9.5, 47)
    wkt = pyproj.CRS(place.crs).to_wkt("WKT1_ESRI" if suffix == "shp" else "WKT1_GDAL")
    wkb = np.array([shapely.to_wkb(shapely.Point(xy(place)).buffer(1))], object)
    write_layer(tmp_path / "layer.gpkg", "labels", {"id": np.array([1])}, wkb, "Polygon", wkt)
    if suffix == "gpkg":
        path = tmp_path / "layer.gpkg"
    else:
        driver = "ESRI Shapefile"
        pyogrio.raw.write(path, wkb, [np.array([1])], ["id"], driver=driver, geometry_type="Polygon", crs=UTM)
        path.with_suffix(".prj").write_text(wkt)
    require_same(layer_info(str(path), "labels")["crs"], place)


UTM = "EPSG:32632"
