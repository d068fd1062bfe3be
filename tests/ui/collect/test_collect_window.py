import json
import zipfile
from pathlib import Path

import pytest
from qgis.core import QgsFeature, QgsGeometry, QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QLabel, QMessageBox
from scene import CRS, square, wait_until
from test_dock import press

from orthomask.protocol import OrthomaskError
from orthomask.ui.collect.addresses import address_of
from orthomask.ui.collect.imagery_box import ImagesFrom
from orthomask.ui.collect.labels_box import OWN, From
from orthomask.ui.collect.where_box import METRES, Where
from orthomask.ui.toolkit.settings import ASK_FROM, CONTACT, FOLDER, OVERPASS_SERVER, UNFINISHED_COLLECTION

LAYER = "type=xyz&url=https://tiles.example/{z}/{x}/{y}.jpg?key%3DSECRET&zmin=0&zmax=20"

NO = {"code": "network", "sentence": "No.", "remedy": "", "details": ""}
"""An answer for tests of what is asked."""


@pytest.fixture
def window(dock, tmp_path):
    """The window, opened as an analyst opens it."""
    FOLDER.set(str(tmp_path / "results"))
    dock.tabs.setCurrentWidget(dock.label)
    press(dock.label.project.collect_button)
    assert dock.collection.isVisible()
    return dock.collection


@pytest.fixture
def tiles(unseen, window):
    """Tiles with a key, whose layer names its rights."""
    layer = QgsRasterLayer(LAYER, "tiles", "wms")
    metadata = layer.metadata()
    metadata.setLicenses(["CC BY 4.0"])
    metadata.setRights(["© Town of Banepa"])
    layer.setMetadata(metadata)
    QgsProject.instance().addMapLayer(layer)
    window.imagery.layer.setLayer(layer)
    return layer


def parcels(*rows, name="parcels"):
    """Squares in memory with a use each."""
    layer = QgsVectorLayer(f"Polygon?crs={CRS}&field=use:string", name, "memory")
    for x, use in rows:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(square(x)))
        feature.setAttributes([use])
        layer.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(layer)
    return layer


def seen(engine):
    """The attributes of the layers that the engine was last given to collect from."""
    return next(message["seen"] for message in reversed(engine.requests) if message["method"] == "collect")


def choose(chooser, data):
    chooser.setCurrentIndex(chooser.findData(data))


def collect(window):
    window.look()
    press(window.run_bar.run_button)
    wait_until(lambda: not window.busy)


def test_buildings_and_tiles_of_the_visible_map(window, tiles, engine, bar, dock):
    assert window.imagery.licence.text() == "CC BY 4.0"
    assert window.imagery.attribution.text() == "© Town of Banepa"
    window.look()
    assert "Confirm that the licence" in window.words.text()
    assert not window.run_bar.run_button.isEnabled()
    window.imagery.zooms.setText("20, 19")
    QTest.mouseClick(window.imagery.agreed, Qt.MouseButton.LeftButton, pos=window.imagery.agreed.rect().center())
    window.imagery.agreed.setChecked(True)
    window.look()
    assert "Server requests for images" in window.words.text()
    collect(window)
    asked = engine.asked("collect")[-1]
    assert asked["imagery"]["url"] == "https://tiles.example/{z}/{x}/{y}.jpg?key={key}"
    assert asked["imagery"]["access"] == {"key": "SECRET"}
    assert asked["imagery"]["zooms"] == [19, 20]
    assert asked["osm"]["rules"] == [{"tags": "building", "class_name": "building"}]
    assert seen(engine) == {"visible map": [[]]}
    project = dock.label.project.project
    assert project.path == asked["output_dir"] + "/labels.gpkg"
    assert project.labels.metadata().rights() == ["© OpenStreetMap contributors"]
    assert project.labels.metadata().licenses() == ["ODbL 1.0"]
    assert "data of 2026-11-29" in project.labels.metadata().history()[0]
    group = QgsProject.instance().layerTreeRoot().children()[0]
    assert group.name() == project.name == Path(asked["output_dir"]).name
    assert [node.name() for node in group.children()] == ["areas", "labels", "Images"]
    mosaics = [layer for layer in QgsProject.instance().mapLayers().values() if layer.source().endswith(".vrt")]
    assert sorted(layer.name() for layer in mosaics) == ["zoom 19", "zoom 20"]
    assert all(layer.isValid() and layer.metadata().rights() == ["© Town of Banepa"] for layer in mosaics)
    assert [chooser.currentLayer().name() for chooser in (dock.label.layer_chooser, dock.train.data.image)] == [
        "zoom 20"
    ] * 2
    assert "3 labels; areas: 2, images: 2" in window.run_bar.status.text()
    assert "SECRET" not in json.dumps(QgsProject.instance().readEntry("orthomask", "licences")[0])


def test_a_licence_is_confirmed_once(window, tiles, engine, tmp_path):
    engine.script(collect={"error": NO})
    window.imagery.agreed.setChecked(True)
    window.imagery.licence.setText("CC0")
    collect(window)
    assert "Confirmed on" in window.imagery.agreed_words.text()
    path = str(tmp_path / "map.qgz")
    assert QgsProject.instance().write(path)
    assert "CC0" in zipfile.ZipFile(path).read("map.qgs").decode()
    window.imagery.layer.setLayer(None)
    window.look()
    assert "No layer of imagery" in window.words.text()
    window.imagery.layer.setLayer(tiles)
    assert window.imagery.agreed.isChecked()
    assert window.imagery.licence.text() == "CC0"


def test_random_squares_weighted_by_a_raster(window, tiles, layer, photo, engine):
    engine.script(collect={"error": NO})
    choose(window.where.way, Where.SAMPLED)
    window.where.layer.setLayer(parcels((0, "wood"), (20, "rye"), name="country"))
    window.where.count.setValue(7)
    window.where.side.setValue(128)
    window.where.distance_m.setValue(300)
    window.where.weights.setLayer(layer)
    window.imagery.agreed.setChecked(True)
    CONTACT.set("me@example.org")
    OVERPASS_SERVER.set("https://overpass.example/api/interpreter")
    collect(window)
    asked = engine.asked("collect")[-1]
    assert {name: asked["sample"][name] for name in ("count", "size_px", "size_m", "min_distance_m", "weights")} == {
        "count": 7, "size_px": 128, "size_m": 0.0, "min_distance_m": 300.0, "weights": photo,
    }  # fmt: skip
    assert asked["areas"] is None
    assert asked["sample"]["within_layer"] == "country"
    assert asked["contact"] == "me@example.org"
    assert asked["osm"]["server"] == "https://overpass.example/api/interpreter"


def test_labels_of_a_layer_are_read_around_the_places_only(window, layer, engine):
    cadastre = parcels((0, "wood"), (15, "rye"), (4000, "far"), name="cadastre")
    choose(window.where.way, Where.SAMPLED)
    window.where.layer.setLayer(parcels((0, "")))
    choose(window.where.unit, METRES)
    choose(window.labels.source, From.LAYER)
    window.labels.layer.setLayer(cadastre)
    choose(window.labels.class_field, "use")
    choose(window.imagery.source, ImagesFrom.NOTHING)
    collect(window)
    assert window.problem.words.text() == ""
    places, asked = engine.asked("collect")[-2:]
    assert places["sample"]["size_m"] == 256
    assert places["vectors"] == []
    assert asked["sample"] is None
    assert asked["areas"]["path"] == places["output_dir"] + "/labels.gpkg"
    assert asked["vectors"][0]["class_field"] == "class"
    assert asked["vectors"][0]["name"] == "cadastre"
    assert seen(engine)["cadastre"] == [["wood"], ["rye"]]


def test_a_cancelled_collection_goes_on_in_its_folder(window, tiles, engine):
    engine.script(collect={"steps": 500, "step_seconds": 0.02})
    window.imagery.agreed.setChecked(True)
    window.look()
    press(window.run_bar.run_button)
    wait_until(lambda: window.run_bar.progress.value() > 0)
    assert not window.labels.isEnabled()
    press(window.run_bar.cancel_button)
    wait_until(lambda: not window.busy)
    assert window.run_bar.status.text() == "Cancelled. Press Collect to go on where it stopped."
    begun = engine.asked("collect")[-1]
    Path(begun["output_dir"]).mkdir(parents=True)
    engine.script()
    collect(window)
    resumed = engine.asked("collect")[-1]
    assert resumed["output_dir"] == begun["output_dir"]
    assert resumed["existing"] == "resume"
    assert UNFINISHED_COLLECTION.get() == ""


def test_an_error_is_told_in_the_window_or_in_the_bar_if_it_is_closed(window, tiles, engine, bar):
    sentence = "The Overpass server is busy."
    error = {"code": "server", "sentence": sentence, "remedy": "Try again in a minute.", "details": "429"}
    engine.script(collect={"error": error})
    window.imagery.agreed.setChecked(True)
    window.imagery.zooms.setText("19")
    collect(window)
    assert window.problem.words.text() == f"{sentence} Try again in a minute."
    assert window.imagery.zooms.text() == "19"
    window.look()
    press(window.run_bar.run_button)
    QTest.keyClick(window, Qt.Key.Key_Escape)
    assert not window.isVisible()
    wait_until(lambda: not window.busy)
    assert sentence in " ".join(label.text() for label in bar.currentItem().findChildren(QLabel))
    assert UNFINISHED_COLLECTION.get()


def test_a_collection_of_other_places_is_not_gone_on_with(window, engine):
    choose(window.imagery.source, ImagesFrom.NOTHING)
    other = {"code": "output_exists", "sentence": "Other places.", "remedy": "Choose another folder.", "details": ""}
    engine.script(collect={"error": other})
    collect(window)
    assert window.problem.words.text() == "Other places. Choose another folder."
    assert UNFINISHED_COLLECTION.get() == ""


def test_imagery_that_cannot_be_had_is_refused_at_once(window):
    choose(window.imagery.source, ImagesFrom.ADDRESS)
    window.imagery.licence.setText("CC0")
    for address, zooms, words in (
        ("https://tile.openstreetmap.org/{z}/{x}/{y}.png", "18", "does not allow tiles to be fetched in bulk"),
        ("https://api.mapbox.com/{z}/{x}/{y}.png", "18", "only under a contract"),
        ("https://tiles.example/{z}/{x}/{y}.png", "eighteen", "is not a list of zoom levels"),
        ("https://tiles.example/{z}/{x}/{y}.png", "", "Tiles need a zoom level"),
        ("", "18", "No imagery was given"),
    ):
        window.imagery.address.setText(address)
        window.imagery.zooms.setText(zooms)
        window.imagery.licence.setText("CC0")
        window.look()
        assert words in window.words.text()
        assert not window.run_bar.run_button.isEnabled()


def test_a_key_is_asked_for_and_not_kept(window, engine):
    choose(window.imagery.source, ImagesFrom.ADDRESS)
    assert not window.imagery.secret.isVisible()
    window.imagery.address.setText("https://api.mapbox.com/{z}/{x}/{y}.png?access_token={key}")
    assert window.imagery.secret.isVisible()
    QTest.keyClicks(window.imagery.secret, "SECRET")
    window.imagery.licence.setText("Own contract")
    window.imagery.agreed.setChecked(True)
    engine.script(collect={"error": NO})
    collect(window)
    assert engine.asked("collect")[-1]["imagery"]["access"] == {"key": "SECRET"}
    assert "SECRET" not in UNFINISHED_COLLECTION.get() + QgsProject.instance().readEntry("orthomask", "licences")[0]


def test_tags_of_ones_own(window):
    choose(window.labels.objects, "farmland")
    choose(window.labels.objects, OWN)
    assert [rule.tags for rule in window.labels.osm().rules] == ["landuse=farmland", "landuse=farmyard"]
    press(window.labels.add_button)
    window.labels.tags.item(2, 0).setText("landuse = meadow&")
    window.look()
    assert "is not a tag of OpenStreetMap" in window.words.text()
    window.labels.tags.item(2, 0).setText("landuse=orchard|vineyard")
    window.labels.tags.item(2, 1).setText("orchard")
    assert [rule.class_name for rule in window.labels.osm().rules] == ["field", "", "orchard"]
    window.labels.tags.setCurrentCell(1, 0)
    press(window.labels.remove_button)
    assert [rule.tags for rule in window.labels.osm().rules] == ["landuse=farmland", "landuse=orchard|vineyard"]


def test_many_requests_are_asked_about_first(window, tiles, engine, monkeypatch):
    ASK_FROM.set(1)
    asked = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: asked.append(box.text()))
    window.imagery.agreed.setChecked(True)
    window.imagery.zooms.setText("22")
    collect(window)
    assert "server requests" in asked[0]
    assert engine.asked("collect") == []


def test_addresses_of_services_and_files(window, server, layer, photo):
    wms, wmts = address_of(server.wms()).url, address_of(server.wmts()).url
    assert wms.startswith(f"WMS:{server.url}/wms?SERVICE=WMS")
    assert "LAYERS=photo" in wms
    assert "SRS=EPSG:3857" in wms
    assert wmts == f"WMTS:{server.url}/wmts,layer=photo,tilematrixset=mercator,style=default"
    assert address_of(layer) == (photo, {})
    with pytest.raises(OrthomaskError, match="only QGIS can open"):
        address_of(server.wcs())
