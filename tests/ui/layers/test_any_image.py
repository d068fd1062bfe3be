"""What is no file, in the panels and algorithms, with the scripted engine: questions, cancelling, training, masks."""

import json
import shutil
from pathlib import Path

import pytest
from map_servers import around_middle
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtWidgets import QMessageBox
from scene import wait_until

from orthomask.protocol import Image, OrthomaskError, PredictRequest, Rendered
from orthomask.ui.client.stages import Stage, picture_warnings, told
from orthomask.ui.layers import map_view
from orthomask.ui.layers.map_view import MapView, utm_zone
from orthomask.ui.layers.picture_client import PICTURE_DIR, FrozenRun, PictureClient
from orthomask.ui.layers.sources import extent_region
from orthomask.ui.toolkit import settings


@pytest.fixture
def box():
    return around_middle(30)


@pytest.fixture
def segment(dock, server, box, monkeypatch):
    """The panel with tiles and a region chosen."""
    panel = dock.segment
    panel.layer_chooser.setLayer(server.tiles())
    panel.region.pick(extent_region(box, QgsCoordinateReferenceSystem("EPSG:3857")))
    return panel


def runs(panel):
    folder = Path(panel.options.folder())
    return list(folder.iterdir()) if folder.exists() else []


def ended(panel):
    wait_until(lambda: panel._task is None, 30)


def test_the_engine_gets_a_picture_and_its_origin(segment, engine):
    wait_until(lambda: segment.preflight.result is not None, 30)
    assert engine.asked("check")[-1]["windows"] >= 1
    segment.run()
    ended(segment)
    image = engine.asked("predict")[-1]["image"]
    (folder,) = runs(segment)
    assert image["path"] == str(folder / PICTURE_DIR / "tiles.tif")
    assert image["rendered"]["name"] == "tiles"
    assert not (folder / PICTURE_DIR).exists()


def test_many_requests_are_asked_about(segment, engine, server, monkeypatch):
    settings.ASK_FROM.set(3)
    said = []

    def answer(role):
        def run(box):
            said.append(f"{box.text()} {box.informativeText()}")
            box.clickedButton = lambda: next(b for b in box.buttons() if box.buttonRole(b) == role)
            return 0

        monkeypatch.setattr(QMessageBox, "exec", run)

    answer(QMessageBox.ButtonRole.RejectRole)
    segment.run()
    assert segment._task is None
    assert runs(segment) == []
    assert "Rendering “tiles” takes about" in said[0]
    answer(QMessageBox.ButtonRole.AcceptRole)
    segment.run()
    ended(segment)
    assert engine.asked("predict")


def test_a_cancelled_rendering_leaves_nothing(segment, engine, server):
    server.fault = lambda path: "slow"
    segment.run()
    wait_until(lambda: "Rendering" in segment.run_bar.status.text())
    segment.cancel()
    ended(segment)
    assert not engine.asked("predict")
    assert runs(segment) == []
    assert segment.run_bar.run_button.text() == "Run"


def test_the_picture_of_an_unfinished_run_is_used_again(segment, engine, server, tmp_path):
    class Dying:
        """An engine that has begun when it dies."""

        def call(self, request, feedback):
            (Path(request.output_dir) / ".orthomask").mkdir(exist_ok=True)
            self.image = request.image
            raise OrthomaskError.from_json({"code": "engine_died", "sentence": "", "remedy": "", "details": ""})

    picture = segment._planned().frozen()
    run = FrozenRun(PredictRequest(picture.key, "buildings", str(tmp_path / "run")), picture)
    engines = Dying(), Dying()
    for number, dying in enumerate(engines):
        with pytest.raises(OrthomaskError):
            PictureClient(dying).call(run)
        server.fault = lambda path: 404  # the second time, nobody is asked
        assert Path(engines[number].image.path).exists()
    assert engines[0].image == engines[1].image


def test_what_is_missing_is_told_once_for_each_picture():
    whole, holed = (Rendered("tiles", "", 0.3, "", 12, missing) for missing in (0, 5))
    assert picture_warnings(PredictRequest(Image("a.tif", rendered=whole), "m", "o")) == ()
    (words,) = picture_warnings(PredictRequest(Image("a.tif", rendered=holed), "m", "o"))
    assert words.startswith("5 of 12 tiles of tiles")
    assert told(PredictRequest(Image("a.tif"), "m", "o"), "result") == "result"


def test_two_stages_are_one_progress():
    class Bar:
        def setProgress(self, percent):
            self.percent = percent

    bar = Bar()
    first = Stage(bar, 0, 40)
    first.setProgress(50)
    assert bar.percent == first.reached == 20
    Stage(bar, 40, 100).setProgress(100)
    assert bar.percent == 100


def test_the_map_is_the_last_entry_and_never_chosen_by_itself(dock, layer, canvas):
    chooser = dock.segment.layer_chooser
    assert chooser.image is layer
    canvas.setLayers([layer])
    assert chooser.itemText(chooser.count() - 1) == "Map as it looks now"
    chooser.choose_map()
    assert isinstance(chooser.image, MapView)
    assert chooser.image.layers() == [layer]


def test_the_map_names_its_coarsest_image_and_the_time_to_render_it(dock, layer, canvas, engine, tmp_path):
    path = str(tmp_path / "coarse.tif")
    gdal.Warp(path, layer.source(), xRes=8, yRes=8)
    coarse = QgsRasterLayer(path, "satellite")
    QgsProject.instance().addMapLayer(coarse)
    canvas.setLayers([layer, coarse])
    panel = dock.segment
    panel.layer_chooser.choose_map()
    panel.region.pick(extent_region(layer.extent(), layer.crs()))
    wait_until(lambda: panel.preflight.result is not None)
    assert "The coarsest of its images, “satellite”, has 8 m per pixel." in panel.image_words.text()
    (light,) = [light for light in panel.preflight.result.lights if light.name == "resolution"]
    assert light.level == "amber"
    assert light.reason.startswith("“satellite” has 8 m per pixel, but the model was trained on 0.")
    assert panel.preflight.estimate.text().startswith("About 2 min on Test processor, including ")
    canvas.setLayers([layer])
    wait_until(lambda: panel.preflight.result is not None)
    assert "satellite" not in panel.image_words.text() + "".join(x.reason for x in panel.preflight.result.lights)


@pytest.mark.parametrize(("crs", "picture"), [("EPSG:3857", 3857), ("EPSG:32645", 32645), ("EPSG:4326", 32645)])
def test_the_maps_picture_is_in_shape_on_the_ground(canvas, layer, crs, picture):
    target = QgsCoordinateReferenceSystem(crs)
    canvas.setDestinationCrs(target)
    transform = QgsCoordinateTransform(layer.crs(), target, QgsProject.instance())
    canvas.setExtent(transform.transformBoundingBox(layer.extent()))
    assert map_view.MapView(canvas).crs().postgisSrid() == picture
    assert canvas.mapSettings().destinationCrs() == target


def test_zones():
    places = ((85.5, 27.6, 32645), (-70.6, -33.4, 32719), (180, 10, 32660), (10, 88, 5041), (0, -85, 5042))
    for longitude, latitude, srid in places:
        assert utm_zone(type(QgsRectangle().center())(longitude, latitude)).postgisSrid() == srid


def polygons(name, box, split):
    layer = QgsVectorLayer("Polygon?crs=EPSG:3857&field=split:string", name, "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromRect(box))
    feature.setAttributes([split])
    layer.dataProvider().addFeatures([feature])
    QgsProject.instance().addMapLayer(layer)
    return layer


def test_training_on_a_map_service(dock, engine, server, box, tmp_path):
    panel = dock.train
    labels, areas = polygons("houses", box.buffered(-5), ""), polygons("areas", box, "train")
    panel.options.advanced.folder_chooser.setFilePath(str(tmp_path / "training"))
    panel.data.source.setCurrentIndex(panel.data.source.findData("layers"))
    panel.data.labels.setLayer(labels)
    panel.data.image.setLayer(server.tiles())
    panel.data.areas.setLayer(None)
    assert "Choose a region or areas" in panel.data.problem()
    panel.data.areas.setLayer(areas)
    assert panel.data.problem() == ""
    assert "server requests: about" in panel.data.words.text()
    before = len(server.asked)
    panel.check.check(panel._freeze_check)
    wait_until(lambda: engine.asked("check_training"), 30)
    assert len(server.asked) == before  # it needs no pixels
    engine.script(train={"error": {"code": "internal", "sentence": "Enough.", "remedy": "", "details": ""}})
    panel.train()
    wait_until(lambda: engine.asked("train"), 30)
    (project,) = engine.asked("train")[-1]["data"]["projects"]
    assert Path(project["image"]["path"]).parent.name == "data"
    assert project["image"]["rendered"]["name"] == "tiles"
    assert project["image"]["rendered"]["missing"] == 0
    wait_until(lambda: not panel.job.running)


def test_a_mask_of_a_map_service_has_its_picture_beside_it(dock, engine, server, box, tmp_path):
    panel = dock.label
    dock.tabs.setCurrentWidget(panel)
    labels, areas = polygons("houses", box.buffered(-5), ""), polygons("areas", box, "train")
    panel.layer_chooser.setLayer(server.tiles())
    panel.labels.add(labels)
    panel.export.areas.setLayer(areas)
    assert "a resolution" in panel.image_words.text()
    panel.export.masks.gsd.setText("0.3")
    panel.export.file_chooser.setFilePath(str(tmp_path / "mask.tif"))
    assert "Rendered at" in panel.image_words.text()
    panel.run()
    ended(panel)
    image = engine.asked("mask")[-1]["image"]
    assert image["path"] == str(tmp_path / "mask-image.tif")
    assert QgsRasterLayer(image["path"], "image").isValid()
    assert json.dumps(image["rendered"])


def test_areas_are_placed_where_the_map_shows_a_service(dock, engine, server, box, run_folder, tmp_path, qgis_iface):
    shutil.copy(run_folder / "project.gpkg", tmp_path / "town.gpkg")
    panel = dock.label
    panel.open_project(str(tmp_path / "town.gpkg"))
    panel.layer_chooser.setLayer(server.tiles())
    canvas = qgis_iface.mapCanvas()
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    canvas.setExtent(box)
    panel.areas.side.setValue(8)
    panel.areas.button.click()
    ended(panel)
    asked = engine.asked("areas")[-1]
    assert asked["image"]["rendered"]["gsd_m"] < 8 / 50
    region = QgsGeometry.fromWkt(asked["region"]["wkt"])
    assert region.boundingBox().center().distance(box.center()) < 1
    assert len(set(server.asked)) < 50
