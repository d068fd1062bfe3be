import hashlib
import threading

import pytest
from osgeo import ogr, osr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsExpressionContextUtils,
    QgsFeature,
    QgsField,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorLayerJoinInfo,
)
from scene import CRS, LEFT, TOP, Watcher

from orthomask.protocol import Cancelled, ErrorCode, OrthomaskError
from orthomask.ui.layers.vector_snapshot import SnapshotClient, VectorSnapshot, flat_polygons, temporary_folder, text_of


def square(x, side=5.0):
    return QgsGeometry.fromRect(QgsRectangle(LEFT + x, TOP - 10 - side, LEFT + x + side, TOP - 10))


def add(layer, *rows):
    features = []
    for x, *values in rows:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(square(x))
        feature.setAttributes(values)
        features.append(feature)
    assert layer.dataProvider().addFeatures(features)[0]


@pytest.fixture
def parcels(qgis_new_project):
    """Three squares in memory: forest, field, and one without a use."""
    layer = QgsVectorLayer(f"Polygon?crs={CRS}&field=use:string&field=number:integer&field=size:double", "p", "memory")
    add(layer, (0, "forest", 1, 2.5), (10, "field", 2, 4.0), (20, None, 3, None))
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.fixture
def on_disk(parcels, tmp_path):
    """The same in a GeoPackage."""
    path = tmp_path / "parcels.gpkg"
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    table = dataset.CreateLayer("parcels", reference, ogr.wkbPolygon)
    table.CreateField(ogr.FieldDefn("use", ogr.OFTString))
    for feature in parcels.getFeatures():
        copy = ogr.Feature(table.GetLayerDefn())
        copy["use"] = text_of(feature["use"]) or None
        copy.SetGeometry(ogr.CreateGeometryFromWkt(feature.geometry().asWkt()))
        table.CreateFeature(copy)
    del copy, table, dataset
    layer = QgsVectorLayer(f"{path}|layername=parcels", "parcels", "ogr")
    QgsProject.instance().addMapLayer(layer)
    return layer, path


def written(snapshot, tmp_path, feedback=None):
    """What the file holds: attributes and bounding boxes, and the CRS's number."""
    failures, paths = [], []

    def write():
        try:
            paths.append(snapshot.write(tmp_path, feedback))
        except OrthomaskError as error:
            failures.append(error)

    thread = threading.Thread(target=write)  # as in a task
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    dataset = ogr.Open(str(paths[0]))
    layer = dataset.GetLayer(0)
    names = [definition.name for definition in layer.schema]
    rows = [
        (*(feature[name] for name in names), round(feature.geometry().GetEnvelope()[0] - LEFT)) for feature in layer
    ]
    reference = layer.GetSpatialRef()
    return rows, reference.GetAuthorityCode(None) if reference else None


def test_the_progress_counts_what_is_copied(parcels, tmp_path, monkeypatch):
    monkeypatch.setattr("orthomask.ui.layers.vector_snapshot.FEATURES_BETWEEN_LOOKS", 2)
    watcher = Watcher()
    VectorSnapshot.of(parcels, {}).write(tmp_path, watcher)
    assert watcher.texts == ["Reading p: 2 polygons", "Reading p: 3 polygons"]


def test_all_features_in_order_with_the_layers_crs(parcels, tmp_path):
    rows, crs = written(VectorSnapshot.of(parcels, {"class": "use"}), tmp_path)
    assert rows == [("forest", 0), ("field", 10), ("", 20)]
    assert crs == "32645"


def test_numbers_become_text_unless_wanted_as_numbers(parcels, tmp_path):
    rows, _ = written(VectorSnapshot.of(parcels, {"class": "number"}, numbers={"weight": "size"}), tmp_path)
    assert rows == [("1", 2.5, 0), ("2", 4.0, 10), ("3", None, 20)]


def test_only_the_selected(parcels, tmp_path):
    parcels.selectByExpression("\"use\" = 'field'")
    rows, _ = written(VectorSnapshot.of(parcels, {"class": "use"}, only_selected=True), tmp_path)
    assert rows == [("field", 10)]
    assert parcels.selectedFeatureCount() == 1


def test_only_around_some_places_each_feature_once(parcels, tmp_path):
    places = [square(4), square(18, 6), square(21)]  # the first parcel, and the last one twice
    snapshot = VectorSnapshot.of(parcels, {"class": "number"})
    rows, _ = written(snapshot.inside(places, parcels.crs()), tmp_path)
    assert rows == [("1", 0), ("3", 20)]
    parcels.selectByIds([1])
    chosen = VectorSnapshot.of(parcels, {"class": "number"}, only_selected=True)
    assert written(chosen.inside(places, parcels.crs()), tmp_path)[0] == [("1", 0)]
    beyond = QgsGeometry.fromRect(QgsRectangle(-1e9, -1e9, 1e9, 1e9))
    with pytest.raises(OrthomaskError, match="outside the CRS of the layer p"):
        VectorSnapshot.of(parcels, {}).inside([beyond], QgsCoordinateReferenceSystem("EPSG:3035"))


def test_a_filter(on_disk, tmp_path):
    layer, _ = on_disk
    layer.setSubsetString("use = 'forest'")
    rows, _ = written(VectorSnapshot.of(layer, {"class": "use"}), tmp_path)
    assert rows == [("forest", 0)]


def test_a_virtual_field(parcels, tmp_path):
    ten = QgsField(parcels.fields().field("number"))
    ten.setName("ten")
    parcels.addExpressionField('"number" * 10', ten)
    rows, _ = written(VectorSnapshot.of(parcels, {"class": "ten"}), tmp_path)
    assert [row[0] for row in rows] == ["10", "20", "30"]


def test_a_joined_field(parcels, tmp_path):
    table = QgsVectorLayer("NoGeometry?field=key:integer&field=kind:string", "kinds", "memory")
    for key, kind in ((1, "tree"), (2, "crop")):
        feature = QgsFeature(table.fields())
        feature.setAttributes([key, kind])
        table.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(table)
    join = QgsVectorLayerJoinInfo()
    join.setJoinLayer(table)
    join.setJoinFieldName("key")
    join.setTargetFieldName("number")
    join.setUsingMemoryCache(True)
    assert parcels.addJoin(join)
    rows, _ = written(VectorSnapshot.of(parcels, {"class": "kinds_kind"}), tmp_path)
    assert [row[0] for row in rows] == ["tree", "crop", ""]


def test_unsaved_edits_count_and_stay_unsaved(on_disk, tmp_path):
    layer, path = on_disk
    layer.startEditing()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    first, second, _ = (feature.id() for feature in layer.getFeatures())
    layer.changeAttributeValue(first, layer.fields().lookupField("use"), "meadow")
    layer.deleteFeature(second)
    new = QgsFeature(layer.fields())
    new.setGeometry(square(30))
    new["use"] = "pond"
    layer.addFeature(new)
    rows, _ = written(VectorSnapshot.of(layer, {"class": "use"}), tmp_path)
    assert sorted(rows) == [("", 20), ("meadow", 0), ("pond", 30)]
    assert layer.isModified()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    layer.rollBack()


def test_edits_after_the_snapshot_do_not_count(parcels, tmp_path):
    parcels.startEditing()
    snapshot = VectorSnapshot.of(parcels, {"class": "use"})
    parcels.deleteFeature(1)
    assert len(written(snapshot, tmp_path)[0]) == 3
    parcels.rollBack()


def test_the_layer_stays_as_it_is(on_disk, tmp_path):
    layer, path = on_disk
    layer.selectByIds([1])

    def state():
        return (
            layer.source(), layer.crs().toWkt(), layer.selectedFeatureIds(), layer.isEditable(), layer.subsetString(),
            hashlib.sha256(path.read_bytes()).hexdigest(), QgsExpressionContextUtils.layerScope(layer).variableNames(),
        )  # fmt: skip

    before = state()
    written(VectorSnapshot.of(layer, {"class": "use"}), tmp_path)
    assert state() == before


def test_no_crs_stays_no_crs(qgis_new_project, tmp_path):
    layer = QgsVectorLayer("Polygon?field=use:string", "nowhere", "memory")
    layer.setCrs(QgsCoordinateReferenceSystem())
    add(layer, (0, "forest"))
    rows, crs = written(VectorSnapshot.of(layer, {"class": "use"}), tmp_path)
    assert rows == [("forest", 0)]
    assert crs is None


def test_holes_parts_curves_heights_and_collections():
    holes = "MULTIPOLYGON (((0 0, 9 0, 9 9, 0 9, 0 0), (1 1, 2 1, 2 2, 1 1)), ((20 0, 21 0, 21 1, 20 0)))"
    assert flat_polygons(QgsGeometry.fromWkt(holes)).equals(QgsGeometry.fromWkt(holes))
    high = flat_polygons(QgsGeometry.fromWkt("POLYGON ZM ((0 0 5 1, 9 0 5 1, 9 9 5 1, 0 0 5 1))"))
    assert high.asWkt() == "MultiPolygon (((0 0, 9 0, 9 9, 0 0)))"
    circle = flat_polygons(QgsGeometry.fromWkt("CURVEPOLYGON (CIRCULARSTRING (0 0, 5 5, 10 0, 5 -5, 0 0))"))
    assert circle.area() == pytest.approx(78.54, rel=1e-3)
    mixed = "GEOMETRYCOLLECTION (POINT (1 1), POLYGON ((0 0, 1 0, 1 1, 0 0)))"
    assert flat_polygons(QgsGeometry.fromWkt(mixed)).area() == pytest.approx(0.5)
    assert flat_polygons(QgsGeometry.fromWkt("POINT (1 1)")) is None
    assert flat_polygons(QgsGeometry()) is None


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (3, "3"), (3.0, "3"), (2.5, "2.5"), (True, "true"), ("a b", "a b")]
)
def test_text_of(value, text):
    assert text_of(value) == text


def test_what_cannot_be_used_is_refused_in_words(parcels):
    points = QgsVectorLayer("Point", "wells", "memory")
    broken = QgsVectorLayer("/nowhere.gpkg", "gone", "ogr")
    for layer, columns, selected, words in (
        (points, {}, False, "wells contains no polygons"),
        (broken, {}, False, "gone cannot be read"),
        (parcels, {"class": "kind"}, False, "no attribute “kind”"),
        (parcels, {}, True, "Nothing is selected"),
    ):
        with pytest.raises(OrthomaskError, match=words):
            VectorSnapshot.of(layer, columns, only_selected=selected)


def test_files_have_the_layers_names(parcels, tmp_path):
    parcels.setName("gpkg/Felder: 2024")
    first, second = (VectorSnapshot.of(parcels, {}).write(tmp_path) for _ in range(2))
    assert (first.name, second.name) == ("_gpkg_Felder_ 2024.gpkg", "_gpkg_Felder_ 2024 2.gpkg")
    dataset = ogr.Open(str(first))
    assert dataset.GetLayer(0).GetName() == "_gpkg_Felder_ 2024"


def test_cancel(parcels, tmp_path):
    watcher = Watcher()
    watcher.cancel()
    with pytest.raises(Cancelled):
        written(VectorSnapshot.of(parcels, {}), tmp_path, watcher)


def test_a_folder_that_is_not_there_is_an_error(parcels, tmp_path):
    with pytest.raises(OrthomaskError) as caught:
        VectorSnapshot.of(parcels, {}).write(tmp_path / "nowhere")
    assert caught.value.code is ErrorCode.OUTPUT_UNWRITABLE


def test_the_folder_goes_away_with_the_call(parcels):
    seen = []

    class Client:
        def call(self, request, feedback):
            seen.append((request, request.exists()))
            raise OrthomaskError(ErrorCode.INTERNAL, "No.", "No.")

    def prepare(folder, feedback):
        return VectorSnapshot.of(parcels, {}).write(folder, feedback)

    with pytest.raises(OrthomaskError):
        SnapshotClient(Client()).call(prepare)
    assert seen[0][1]
    assert not seen[0][0].parent.exists()


def test_temporary_folder_goes_away():
    with temporary_folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_a_crs_of_ones_own_in_feet_stays_one(parcels, tmp_path):
    """GDAL would write the UTM zone in metres."""
    crs = QgsCoordinateReferenceSystem.fromProj("+proj=utm +zone=32 +datum=WGS84 +units=us-ft +no_defs")
    parcels.setCrs(crs)
    path = VectorSnapshot.of(parcels, {"class": "use"}).write(tmp_path)
    dataset = ogr.Open(str(path))
    reference = dataset.GetLayer(0).GetSpatialRef()
    assert reference.GetLinearUnits() == pytest.approx(1200 / 3937)
    assert reference.GetProjParm(osr.SRS_PP_FALSE_EASTING) == pytest.approx(500_000 * 3937 / 1200)
