"""Fixtures of the tests in QGIS: a scripted engine, a photograph, and the results of a run."""

from __future__ import annotations

import json

import pytest
from map_servers import SAMPLE, serving
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer, QgsSettings
from qgis.gui import QgsMessageBar
from qgis.PyQt.QtCore import QCoreApplication
from scene import (
    CLASSES,
    CRS,
    GSD,
    SIZE,
    Engine,
    show_canvas,
    wait_until,
    write_differences,
    write_polygons,
    write_project,
    write_raster,
)

from orthomask.ui.client.engine_client import EngineClient
from orthomask.ui.dock import OrthomaskDock
from orthomask.ui.layers import block_reader
from orthomask.ui.toolkit import settings


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """The results of a finished run, as the engine leaves them; an empty label project, and one with areas."""
    folder = tmp_path_factory.mktemp("finished")
    write_raster(folder / "classes.tif", [bytes(i % 3 for i in range(SIZE * SIZE))])
    write_raster(folder / "probabilities.tif", [bytes(i % 255 for i in range(SIZE * SIZE)), 127], scale=1 / 254)
    write_polygons(folder / "polygons.gpkg")
    record = {
        "run_id": "0123456789ab",
        "request": {},
        "model": {
            "name": "fields", "title": "Farmland", "sha256": "cd" * 32, "licence": "CC-BY-4.0", "attribution": "S",
            "classes": CLASSES,
        },
        "threshold": 0.5, "source": {"path": "/data/photo.tif", "crs": CRS, "gsd_m": [GSD, GSD]},
        "image_date": "", "device": {"id": "cpu", "name": "Test processor"},
        "versions": {"orthomask": "0.1.0"}, "time": "2026-11-21T04:00:00+00:00",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    write_differences(folder / "differences.gpkg")
    write_project(folder / "project.gpkg")
    write_project(folder / "areas.gpkg", areas=[(0, "area 1", "train"), (15, "area 2", "test")])
    return folder


@pytest.fixture
def engine(tmp_path, run_folder, monkeypatch):
    monkeypatch.setenv("FAKE_WORKER", str(tmp_path / "script.json"))
    monkeypatch.setenv("FAKE_RUN", str(run_folder))
    return Engine(tmp_path)


@pytest.fixture
def client(engine):
    client = EngineClient(lambda: engine.command)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _no_settings():
    """None but that the dock stays closed at first; what is so already is not written again, as that takes long."""
    stored = QgsSettings()
    for setting in settings.ALL:
        if stored.contains(setting.key) and setting is not settings.SEEN:
            setting.reset()
    if not settings.SEEN.get():
        settings.SEEN.set(True)
    if stored.contains("Windows/OrthomaskEvaluate"):
        stored.remove("Windows/OrthomaskEvaluate")


@pytest.fixture
def bar(qgis_iface, monkeypatch):
    """A real message bar; the stub of pytest-qgis keeps no widgets."""
    bar = QgsMessageBar()
    monkeypatch.setattr(type(qgis_iface), "messageBar", lambda _: bar)
    return bar


@pytest.fixture
def photo(tmp_path):
    """A small orthophoto on disk."""
    return write_raster(tmp_path / "photo.tif", [90, 120, 60])


@pytest.fixture
def layer(qgis_new_project, photo):
    layer = QgsRasterLayer(photo, "photo")
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.fixture
def unseen(qgis_iface, qgis_new_project):
    """Layers are not shown at once: a canvas that an earlier test has left would ask their servers, too."""
    QgsProject.instance().layersAdded.disconnect(qgis_iface.addLayers)
    yield
    QgsProject.instance().layersAdded.connect(qgis_iface.addLayers)


@pytest.fixture
def server(unseen, monkeypatch):
    """The bundled photograph as map services; what does not come is asked for again at once."""
    monkeypatch.setattr(block_reader, "PAUSE_SECONDS", 0.02)
    with serving(SAMPLE) as server:
        yield server


@pytest.fixture
def canvas(qgis_iface, qgis_new_project):
    """A shown canvas of 400 by 300 pixels in the photograph's CRS, looking at it."""
    return show_canvas(qgis_iface, CRS, 400, 300)


@pytest.fixture
def dock(qgis_iface, canvas, layer, client, bar, tmp_path):
    """The dock, shown, with the photograph chosen and the engine warm."""
    canvas.setExtent(layer.extent())
    dock = OrthomaskDock(qgis_iface, client)
    dock.segment.options.folder_chooser.setFilePath(str(tmp_path / "runs"))
    dock.show()
    wait_until(lambda: dock.segment.model.model is not None and "processor" in dock.device.text())
    yield dock
    dock.release()
    client.close()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    dock.deleteLater()
    QCoreApplication.processEvents()
