"""The polygons of a run corrected with QGIS's own editing commands."""

import shutil

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsDistanceArea,
    QgsEditFormConfig,
    QgsFeature,
    QgsGeometry,
    QgsLineString,
    QgsPoint,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsRenderContext,
    QgsUnitTypes,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)
from qgis.gui import QgsAttributeForm
from qgis.PyQt.QtWidgets import QComboBox, QLabel
from scene import CRS, LEFT, TOP, square

from orthomask.protocol import ClassInfo
from orthomask.ui.layers.editing import start_editing
from orthomask.ui.runs import correcting, results

RUN = "0123456789ab"


@pytest.fixture
def copy(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


@pytest.fixture(autouse=True)
def _still(qgis_iface):
    """Nothing is drawn: in QGIS 3.22 a connection that is opened for it while editing starts finds nothing later."""
    canvas = qgis_iface.mapCanvas()
    canvas.freeze()
    canvas.waitWhileRendering()
    yield
    canvas.freeze(False)


@pytest.fixture
def polygons(qgis_new_project, copy):
    """The polygons of a run, being edited in a project that measures in acres on the plane."""
    project = QgsProject.instance()
    project.setEllipsoid("NONE")
    project.setAreaUnits(QgsUnitTypes.AreaUnit.AreaAcres)
    project.setDistanceUnits(QgsUnitTypes.DistanceUnit.DistanceMiles)
    layer = results.polygon_layer(results.read_run(copy))
    project.addMapLayer(layer)
    assert start_editing(layer)
    return layer


def measured(geometry, crs):
    """Area and outer perimeter on the ellipsoid, by QGIS's own calculator."""
    measure = QgsDistanceArea()
    measure.setSourceCrs(crs, QgsCoordinateTransformContext())
    measure.setEllipsoid(crs.ellipsoidAcronym())
    ring = QgsGeometry(geometry.constGet().exteriorRing().clone())
    return measure.measureArea(geometry), measure.measureLength(ring)


def assert_measured(feature, crs):
    area, perimeter = measured(feature.geometry(), crs)
    assert feature["area_m2"] == pytest.approx(area, abs=0.006, rel=1e-5)
    assert feature["perimeter_m"] == pytest.approx(perimeter, abs=0.006, rel=1e-5)


def add(layer, wkt, attributes=None):
    """Add a polygon as QGIS's *Add polygon* tool does: with the defaults of its fields."""
    context = layer.createExpressionContext()
    feature = QgsVectorLayerUtils.createFeature(layer, QgsGeometry.fromWkt(wkt), attributes or {}, context)
    assert layer.addFeature(feature)
    return feature


def category_of(layer, feature):
    renderer, context = layer.renderer().clone(), QgsRenderContext()
    renderer.startRender(context, layer.fields())
    symbol = renderer.symbolForFeature(feature, context)
    found = symbol and symbol.clone()
    renderer.stopRender(context)
    return found


def by_number(layer):
    return {feature["id"]: feature for feature in layer.getFeatures()}


def test_an_added_polygon_is_complete_and_visible(polygons):
    added = [add(polygons, square(x)) for x in (40, 50)]
    assert polygons.commitChanges(), polygons.commitErrors()
    found = by_number(polygons)
    assert sorted(found) == [1, 2, 3, 4]
    assert len({feature.id() for feature in found.values()}) == 4
    for feature in (found[3], found[4]):
        values = {name: feature[name] for name in ("class", "class_value", "outline", "run")}
        assert values == {"class": "field", "class_value": 1, "outline": "added", "run": RUN}
        assert not feature["confidence"]
        assert_measured(feature, polygons.crs())
    symbol = category_of(polygons, added[0])
    assert symbol.symbolLayer(0).strokeColor().name() == "#4daf4a"


def test_a_polygon_without_class_is_shown_as_such(polygons):
    bare = QgsFeature(polygons.fields())
    bare.setGeometry(QgsGeometry.fromWkt(square(40)))
    assert category_of(polygons, bare) is not None
    assert polygons.renderer().categories()[-1].label() == "no class"


def test_another_class_takes_its_value_along(polygons):
    polygons.changeAttributeValue(1, polygons.fields().indexOf("class"), "orchard")
    feature = polygons.getFeature(1)
    assert (feature["class_value"], feature["outline"]) == (2, "corrected")


def test_a_moved_vertex_measures_anew(polygons):
    before = polygons.getFeature(1)["area_m2"]
    polygons.beginEditCommand("Moved vertex")
    polygons.moveVertex(LEFT + 10, TOP - 20, 1, 0)
    polygons.endEditCommand()
    feature = polygons.getFeature(1)
    assert feature["area_m2"] > before + 10
    assert (feature["outline"], feature["run"], feature["id"], feature["confidence"]) == ("corrected", RUN, 1, 0.9)
    assert_measured(feature, polygons.crs())
    polygons.undoStack().undo()
    assert (polygons.getFeature(1)["area_m2"], polygons.getFeature(1)["outline"]) == (before, "squared")


def test_a_reshaped_polygon_measures_anew(polygons):
    geometry = polygons.getFeature(1).geometry()
    bump = [QgsPoint(LEFT + 14, TOP - 7), QgsPoint(LEFT + 19, TOP - 7), QgsPoint(LEFT + 19, TOP - 9)]
    geometry.reshapeGeometry(QgsLineString([*bump, QgsPoint(LEFT + 14, TOP - 9)]))
    polygons.changeGeometry(1, geometry)
    assert polygons.getFeature(1)["area_m2"] == pytest.approx(33, abs=0.1)
    assert_measured(polygons.getFeature(1), polygons.crs())


def test_a_ring_cut_out_counts_in_the_area_alone(polygons):
    corners = ((11, -9), (12, -9), (12, -8), (11, -8), (11, -9))
    assert not int(polygons.addRing([QgsPointXY(LEFT + x, TOP + y) for x, y in corners])[0])
    feature = polygons.getFeature(1)
    assert feature["area_m2"] == pytest.approx(24, abs=0.1)
    assert_measured(feature, polygons.crs())


def test_both_parts_of_a_split_polygon_measure_anew_and_have_numbers_of_their_own(polygons):
    polygons.selectByIds([1])
    polygons.splitFeatures([QgsPointXY(LEFT + 12, TOP), QgsPointXY(LEFT + 12, TOP - 20)])
    found = by_number(polygons)
    assert sorted(found) == [1, 2, 3]
    assert sorted(round(found[number]["area_m2"]) for number in (1, 3)) == [10, 15]
    for number in (1, 3):
        assert (found[number]["outline"], found[number]["class"], found[number]["run"]) == ("corrected", "field", RUN)
        assert_measured(found[number], polygons.crs())
    assert polygons.commitChanges(), polygons.commitErrors()


def test_a_merged_polygon_measures_anew_though_the_tool_sets_old_attributes(polygons):
    """What *Merge selected features* does: delete one, give the other the union, then the attributes chosen."""
    one, other = polygons.getFeature(1), polygons.getFeature(2)
    bridge = QgsGeometry.fromRect(QgsRectangle(LEFT + 14, TOP - 9, LEFT + 21, TOP - 6))
    union = one.geometry().combine(other.geometry()).combine(bridge)
    polygons.beginEditCommand("Merged features")
    polygons.deleteFeature(2)
    polygons.changeGeometry(1, union)
    polygons.changeAttributeValues(1, {i: value for i, value in enumerate(one.attributes()) if i})
    polygons.endEditCommand()
    feature = polygons.getFeature(1)
    assert feature["area_m2"] == pytest.approx(65, abs=0.2)
    assert feature["outline"] == "corrected"
    assert_measured(feature, polygons.crs())


def test_pasted_polygons_are_numbered_anew(polygons):
    data = [QgsVectorLayerUtils.QgsFeatureData(QgsGeometry.fromWkt(square(x)), {1: 1, 2: "orchard"}) for x in (40, 50)]
    polygons.addFeatures(QgsVectorLayerUtils.createFeatures(polygons, data, polygons.createExpressionContext()))
    found = by_number(polygons)
    assert sorted(found) == [1, 2, 3, 4]
    assert [found[number]["class_value"] for number in (3, 4)] == [2, 2]


def test_all_this_outlives_the_project_file(polygons, tmp_path):
    polygons.rollBack()
    QgsProject.instance().write(str(tmp_path / "project.qgz"))
    QgsProject.instance().clear()
    QgsProject.instance().read(str(tmp_path / "project.qgz"))
    (layer,) = QgsProject.instance().mapLayers().values()
    assert start_editing(layer)
    feature = add(layer, square(40))
    assert (feature["class_value"], feature["run"], feature["outline"]) == (1, RUN, "added")
    layer.moveVertex(LEFT + 10, TOP - 20, 1, 0)
    for changed in (feature, layer.getFeature(1)):
        assert_measured(changed, layer.crs())
    layer.rollBack()


def test_the_form_asks_for_the_class_and_shows_what_is_measured(polygons):
    form = QgsAttributeForm(polygons, add(polygons, square(40)))
    form.show()
    shown = [label.text() for label in form.findChildren(QLabel) if label.isVisible() and label.text()]
    assert shown == ["Class", "Confidence", "Area (m²)", "Perimeter (m)", "Outline"]
    (chooser,) = [box for box in form.findChildren(QComboBox) if box.isVisible()]
    assert [chooser.itemText(index) for index in range(chooser.count())] == ["field", "orchard"]
    assert chooser.isEnabled()
    form.deleteLater()


def test_one_class_needs_no_form(qgis_new_project, copy):
    layer = results.polygon_layer(results.read_run(copy))
    correcting.prepare(layer, [ClassInfo(1, "field", "#ffffff")], RUN)
    assert layer.editFormConfig().suppress() == QgsEditFormConfig.SuppressOn


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [
        ("EPSG:4326", 85.3, 27.7), ("EPSG:4326", 179.99, -16.5), ("EPSG:3857", 9e6, 6e6), ("EPSG:2263", 980_000, 2e5),
        ("EPSG:31370", 150_000, 170_000), ("EPSG:5514", -740_000, -1_043_000), ("EPSG:27572", 600_000, 2_400_000),
        ("EPSG:3035", 3_000_000, 2_000_000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side_m", [20, 1000])
def test_measures_are_those_of_the_ellipsoid_in_any_crs(qgis_new_project, crs, x, y, side_m):
    fields = "field=class:string&field=area_m2:double&field=perimeter_m:double"
    layer = QgsVectorLayer(f"Polygon?{fields}", "any", "memory")
    layer.setCrs(QgsCoordinateReferenceSystem(crs))
    side = side_m / (111_320 if layer.crs().isGeographic() else 0.3048 if crs == "EPSG:2263" else 1)
    around = QgsFeature(layer.fields())
    around.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, y, x + side, y + side)))
    layer.dataProvider().addFeatures([around])
    layer.updateExtents()
    correcting.set_defaults(layer, [ClassInfo(1, "field", "#ffffff")], RUN)
    corners = ((0, 0), (1, 0.2), (0.7, 1), (0, 0.8), (0, 0)), ((0.2, 0.3), (0.3, 0.3), (0.3, 0.4), (0.2, 0.3))
    rings = (", ".join(f"{x + dx * side} {y + dy * side}" for dx, dy in ring) for ring in corners)
    assert start_editing(layer)
    assert_measured(add(layer, f"POLYGON (({'), ('.join(rings)}))"), layer.crs())


def test_a_crs_without_a_number_is_measured_by_the_scale_in_its_middle(qgis_new_project):
    layer = QgsVectorLayer("Polygon?field=class:string&field=area_m2:double", "any", "memory")
    own = "PROJ:+proj=tmerc +lat_0=52 +lon_0=5 +k=0.9 +x_0=0 +y_0=0 +ellps=WGS84 +units=us-ft"
    layer.setCrs(QgsCoordinateReferenceSystem(own))
    correcting.set_defaults(layer, [ClassInfo(1, "field", "#ffffff")], RUN)
    assert start_editing(layer)
    wkt = "POLYGON ((0 0, 100 0, 100 100, 0 100, 0 0))"
    assert not add(layer, wkt)["area_m2"]  # nothing rather than a guess
    layer.commitChanges()
    correcting.set_defaults(layer, [ClassInfo(1, "field", "#ffffff")], RUN)
    assert start_editing(layer)
    assert add(layer, wkt)["area_m2"] == pytest.approx((100 * 0.3048006 / 0.9) ** 2, rel=1e-4)
    assert layer.crs().authid() == "" != CRS
