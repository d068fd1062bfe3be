import os

import pytest
from osgeo import gdal, osr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from scene import CRS, GSD, LEFT, SIZE, TOP, write_raster

from orthomask.protocol import ErrorCode, OrthomaskError
from orthomask.ui.layers import sources

UTM = QgsCoordinateReferenceSystem(CRS)


def square(x, y, side):
    return QgsGeometry.fromRect(QgsRectangle(x, y, x + side, y + side))


def polygon_layer(*geometries, crs=CRS):
    layer = QgsVectorLayer(f"Polygon?crs={crs}", "areas", "memory")
    features = []
    for geometry in geometries:
        feature = QgsFeature()
        feature.setGeometry(geometry)
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


def code_of(call, *arguments):
    with pytest.raises(OrthomaskError) as caught:
        call(*arguments)
    return caught.value.code


def test_a_file_is_its_path_and_needs_no_crs(layer, photo):
    image = sources.image_of(layer)
    assert image.path == photo
    assert image.crs == ""


def test_a_relative_path_becomes_absolute(photo, monkeypatch):
    monkeypatch.chdir(os.path.dirname(photo))
    assert sources.image_of(QgsRasterLayer("photo.tif", "photo")).path == photo


def test_open_options_are_no_part_of_the_path(photo):
    assert sources.image_of(QgsRasterLayer(f"{photo}|option:NUM_THREADS=2", "photo")).path == photo


def test_a_crs_that_only_qgis_knows_is_sent_along(tmp_path):
    layer = QgsRasterLayer(write_raster(tmp_path / "bare.tif", [1, 2, 3], crs=None), "bare")
    layer.setCrs(UTM)
    assert sources.image_of(layer).crs == CRS


def test_a_crs_of_qgiss_own_is_sent_as_wkt():
    crs = QgsCoordinateReferenceSystem.fromProj("+proj=tmerc +lat_0=1 +lon_0=85 +datum=WGS84 +units=m")
    assert sources.crs_name(crs).startswith(("PROJCRS", "BOUNDCRS"))


def test_a_map_service_is_refused_with_a_remedy():
    layer = QgsRasterLayer("type=xyz&url=http://localhost/{z}/{x}/{y}.png", "tiles", "wms")
    with pytest.raises(OrthomaskError) as caught:
        sources.image_of(layer)
    assert caught.value.code is ErrorCode.IMAGE_UNREADABLE
    assert "GeoTIFF" in caught.value.remedy


def test_no_layer_and_a_broken_layer_are_refused(tmp_path):
    assert code_of(sources.image_of, None) is ErrorCode.BAD_REQUEST
    assert code_of(sources.image_of, QgsRasterLayer(str(tmp_path / "gone.tif"), "gone")) is ErrorCode.IMAGE_UNREADABLE


def test_selected_polygons_keep_their_layers_crs():
    layer = polygon_layer(square(85.5, 27.6, 0.01), square(86, 28, 0.01), crs="EPSG:4326")
    layer.selectByIds([1])
    region = sources.selected_region(layer)
    assert region.request().crs == "EPSG:4326"
    assert region.geometry.equals(square(85.5, 27.6, 0.01))
    assert 1.0e6 < region.area_m2 < 1.2e6  # 1.1 km by 0.98 km


def test_selected_polygons_are_joined_and_the_layer_is_as_it_was():
    layer = polygon_layer(square(0, 0, 10), square(5, 5, 10))
    layer.selectAll()
    assert sources.selected_region(layer).geometry.area() == pytest.approx(175)
    assert layer.selectedFeatureCount() == 2
    assert not layer.isEditable()


def test_nothing_selected_is_refused():
    assert code_of(sources.selected_region, None) is ErrorCode.REGION_EMPTY
    assert code_of(sources.selected_region, polygon_layer(square(0, 0, 1))) is ErrorCode.REGION_EMPTY


def test_a_region_without_crs_or_inside_is_refused():
    nowhere = QgsCoordinateReferenceSystem()
    assert code_of(sources.region_of, [square(0, 0, 1)], nowhere) is ErrorCode.REGION_CRS
    line = QgsGeometry.fromPolygonXY([[QgsPointXY(0, 0), QgsPointXY(1, 1), QgsPointXY(2, 2)]])
    assert code_of(sources.region_of, [line], UTM) is ErrorCode.REGION_EMPTY
    assert code_of(sources.region_of, [QgsGeometry()], UTM) is ErrorCode.REGION_EMPTY


def test_a_region_that_crosses_itself_keeps_both_halves():
    points = [(0, 0), (10, 10), (10, 0), (0, 10)]
    bow_tie = QgsGeometry.fromPolygonXY([[QgsPointXY(x, y) for x, y in points]])
    region = sources.region_of([bow_tie], UTM)
    assert region.geometry.isGeosValid()
    assert region.geometry.area() == pytest.approx(50)


def test_curves_and_heights_become_plain_polygons():
    circle = QgsGeometry.fromWkt("CurvePolygonZ (CircularStringZ (0 0 5, 1 1 5, 2 0 5, 1 -1 5, 0 0 5))")
    region = sources.region_of([circle], UTM)
    assert region.request().wkt.lower().startswith(("polygon (", "multipolygon ("))
    assert region.geometry.area() == pytest.approx(3.14, abs=0.01)


def test_the_whole_extent(layer):
    region = sources.extent_region(layer.extent(), layer.crs())
    side = SIZE * GSD
    assert region.geometry.boundingBox() == QgsRectangle(LEFT, TOP - side, LEFT + side, TOP)
    assert QgsProject.instance().mapLayers() == {layer.id(): layer}


def test_a_raster_that_only_control_points_place_is_sent_to_the_engine(tmp_path):
    path = str(tmp_path / "points.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, 60, 40, 3)
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    corners = [(0, 0), (60, 0), (0, 40), (60, 40)]
    points = [gdal.GCP(LEFT + GSD * x, TOP - GSD * y, 0, x, y) for x, y in corners]
    dataset.SetGCPs(points, reference.ExportToWkt())
    dataset = None
    image = sources.image_of(QgsRasterLayer(path, "points", "gdal"))
    assert (image.path, image.crs) == (path, "")


def test_a_region_in_a_crs_without_a_code_is_not_measured_in_degrees():
    crs = QgsCoordinateReferenceSystem("PROJ:+proj=tmerc +lat_0=52 +lon_0=5 +k=1 +x_0=0 +y_0=0 +ellps=bessel")
    region = sources.PickedRegion(square(0, 0, 1000), crs)
    assert region.area_m2 == pytest.approx(1e6, rel=1e-3)
