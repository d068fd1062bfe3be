"""The preview of a run in progress: one layer, which never outlives the run and is in no saved project."""

import zipfile
from pathlib import Path

import pytest
from map_servers import SAMPLE
from qgis.core import QgsProject, QgsRasterLayer
from scene import wait_until, write_raster

from orthomask.ui.layers.map_view import is_result
from orthomask.ui.layers.sources import extent_region
from orthomask.ui.segment import live

NAME = "Preview of this run"


@pytest.fixture
def ready(dock, engine, tmp_path, monkeypatch):
    """The panel, with an engine whose run shows two pictures, and goes on."""
    monkeypatch.setattr(live, "PERIOD_SECONDS", 0)
    pictures = [write_raster(tmp_path / f"{number}.tif", [220, 50, 40, alpha]) for number, alpha in ((1, 0), (2, 255))]
    engine.script(predict={"steps": 1000, "step_seconds": 0.02, "previews": pictures})
    dock.segment.region.extent_button.click()
    return dock.segment


def previews():
    return [layer for layer in QgsProject.instance().mapLayers().values() if layer.name() == NAME]


def begin(panel):
    """Run until the second picture is shown; returns its layer."""
    panel.run_bar.run_button.click()
    wait_until(lambda: previews() and previews()[0].source().endswith("-1.tif"))
    return previews()[0]


def folder_of(layer):
    return Path(layer.source()).parent


def wait_for_end(panel):
    wait_until(panel.run_bar.run_button.isVisible)


def test_finished_strips_appear_on_top_of_the_map_and_change_nothing_else(ready, qgis_iface, layer):
    qgis_iface.setActiveLayer(layer)
    QgsProject.instance().setDirty(False)
    ready.run_bar.run_button.click()
    wait_until(previews)
    first = previews()[0]
    wait_until(lambda: first.source().endswith("-1.tif"))
    assert previews() == [first], "one layer shows all pictures"
    top = QgsProject.instance().layerTreeRoot().children()[0]
    assert (top.name(), top.isVisible(), top.isExpanded()) == (NAME, True, False)
    assert qgis_iface.activeLayer() is layer
    assert not QgsProject.instance().isDirty()
    assert first.renderer().alphaBand() == 4
    assert [path.name for path in folder_of(first).glob("*.tif")] == ["preview-1.tif"]
    assert is_result(first), "it is no image to segment"
    assert ready.layer_chooser.currentLayer() is layer


def test_the_results_replace_it(ready, engine):
    folder = folder_of(begin(ready))
    engine.script()
    ready.cancel()
    wait_for_end(ready)
    assert previews() == []
    assert not folder.exists()
    ready.run_bar.run_button.click()
    wait_until(lambda: "polygons" in ready.run_bar.status.text())
    assert previews() == []
    assert len(QgsProject.instance().layerTreeRoot().findGroups()) == 1


@pytest.mark.parametrize("end", ["cancel", "die", "fail"])
def test_it_goes_however_the_run_ends(ready, engine, client, end):
    told = {"steps": 20, "step_seconds": 0.02, "previews": [f"{engine.script_path.parent}/{n}.tif" for n in (1, 2)]}
    error = {"code": "disk_full", "sentence": "The disk is full.", "remedy": "Free 2 GB.", "details": ""}
    if end != "cancel":
        engine.script(predict={**told, **({"die_at": 15} if end == "die" else {"error": error})})
    folder = folder_of(begin(ready))
    if end == "cancel":
        ready.cancel()
    wait_for_end(ready)
    assert previews() == []
    assert not folder.exists()


def test_it_goes_with_the_project_and_does_not_come_into_the_next(ready):
    folder = folder_of(begin(ready))
    QgsProject.instance().clear()
    assert not folder.exists()
    ready.cancel()
    wait_for_end(ready)
    assert previews() == []


def test_it_goes_when_the_plugin_is_unloaded(ready):
    folder = folder_of(begin(ready))
    ready.live.end()
    assert previews() == []
    assert not folder.exists()
    ready.cancel()
    wait_for_end(ready)


@pytest.mark.parametrize("suffix", ["qgs", "qgz"])
def test_a_project_saved_meanwhile_has_no_trace_of_it(ready, tmp_path, suffix):
    project, path = QgsProject.instance(), tmp_path / f"project.{suffix}"
    number = begin(ready).id()
    project.layerTreeRoot().setHasCustomLayerOrder(True)
    assert project.write(str(path))
    assert not project.isDirty()
    text = path.read_text() if suffix == "qgs" else zipfile.ZipFile(path).read("project.qgs").decode()
    assert NAME not in text
    assert number not in text
    assert "photo" in text
    wait_until(previews)
    assert not project.isDirty()
    ready.cancel()
    wait_for_end(ready)
    assert previews() == []


def test_who_removes_it_does_not_see_it_again(ready):
    begin(ready)
    QgsProject.instance().removeMapLayer(previews()[0].id())
    ready.live._arrived.emit(str(ready.live._copies / "preview-2.tif"))
    assert previews() == []
    ready.cancel()
    wait_for_end(ready)


def test_a_rendered_picture_shows_it_too_and_is_not_rendered_with_it(ready, canvas, engine):
    sample = QgsRasterLayer(str(SAMPLE), "sample")
    QgsProject.instance().addMapLayer(sample)
    middle = sample.extent()
    middle.scale(0.2)
    canvas.setLayers([sample])
    ready.layer_chooser.choose_map()
    ready.region.pick(extent_region(middle, sample.crs()))
    begin(ready)
    assert engine.asked("predict")[0]["image"]["rendered"] is not None
    canvas.setLayers([previews()[0], sample])
    assert [shown.name() for shown in ready.layer_chooser.image.layers()] == ["sample"]
    ready.cancel()
    wait_for_end(ready)
    assert previews() == []
