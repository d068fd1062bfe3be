"""Fixtures of the tests with the real engine, the embedded model and the bundled photograph."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer, QgsSettings
from qgis.gui import QgsMessageBar
from qgis.PyQt.QtCore import QCoreApplication
from scene import PATIENCE_SECONDS, show_canvas, wait_until

from orthomask.ui.client import environment
from orthomask.ui.client.engine_client import EngineClient
from orthomask.ui.dock import OrthomaskDock

ROOT = Path(__file__).resolve().parents[2]
ENGINE_PYTHON = ROOT / ".venv" / "engine" / "bin" / "python"
SAMPLE = ROOT / "resources" / "sample" / "banepa.tif"


def pytest_collection_modifyitems(items):
    """Without the engine's environment there is nothing to test here."""
    python = Path(os.environ.get(environment.PYTHON_VARIABLE, ENGINE_PYTHON))
    for item in items:
        if item.path.parent == Path(__file__).parent and not python.exists():
            item.add_marker(pytest.mark.skip(reason="the engine's environment is not built: make setup"))


@pytest.fixture(autouse=True)
def python(monkeypatch, tmp_path_factory):
    """The engine's Python, as the variable names it or `make setup` builds it; what it measures is not kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    if not os.environ.get(environment.PYTHON_VARIABLE):
        monkeypatch.setenv(environment.PYTHON_VARIABLE, str(ENGINE_PYTHON))
    for name in ("unfinished", "unfinished-training"):
        QgsSettings().remove(f"orthomask/{name}")


@pytest.fixture(scope="session")
def client():
    """One warm engine for all tests, as in QGIS; one that was ended or killed starts anew."""
    client = EngineClient(environment.worker_command)
    yield client
    client.close()


@pytest.fixture
def sample(qgis_new_project, qgis_iface):
    layer = QgsRasterLayer(str(SAMPLE), "Banepa")
    QgsProject.instance().addMapLayer(layer)
    show_canvas(qgis_iface, "EPSG:3857", 400, 400).setExtent(layer.extent())
    return layer


@pytest.fixture
def bar(qgis_iface, monkeypatch):
    bar = QgsMessageBar()
    monkeypatch.setattr(type(qgis_iface), "messageBar", lambda _: bar)
    return bar


@pytest.fixture
def dock(qgis_iface, sample, client, bar, tmp_path):
    dock = OrthomaskDock(qgis_iface, client)
    dock.segment.options.folder_chooser.setFilePath(str(tmp_path))
    dock.show()
    wait_until(lambda: dock.segment.model.model is not None, PATIENCE_SECONDS)
    yield dock
    dock.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks(), PATIENCE_SECONDS)
    dock.deleteLater()
    QCoreApplication.processEvents()


@pytest.fixture(scope="session")
def qgis_process(tmp_path_factory):
    """Runs `qgis_process` in a profile of its own, with the plugin enabled."""
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if program is None:
        pytest.skip("qgis_process is not installed")
    folder = tmp_path_factory.mktemp("qgis_process")
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    own = {
        "QGIS_PLUGINPATH": str(ROOT / ".venv" / "plugins"),
        "QGIS_CUSTOM_CONFIG_PATH": str(folder / "profile"),
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(runtime),
    }

    def run(*arguments):
        variables = {**os.environ, **own}
        done = subprocess.run(
            [program, *arguments], env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
        return done.returncode, done.stdout, done.stderr

    run("plugins", "enable", "orthomask")
    return run
