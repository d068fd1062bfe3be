"""The run history with the real engine: a run goes on by another door than the one it was begun by."""

import json
import os
import subprocess

import pytest
from qgis.core import QgsProject
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from scene import PATIENCE_SECONDS, wait_until

from orthomask.ui.client import environment
from orthomask.ui.toolkit.settings import FOLDER


@pytest.fixture
def history(dock, tmp_path):
    """The history of that folder alone."""
    FOLDER.set(str(tmp_path))
    dock.segment.history.open()
    yield dock.segment.history.dialog
    FOLDER.reset()


@pytest.fixture
def killed(sample, tmp_path):
    """The folder of a run of the command line that was killed after its first strip."""
    folder = tmp_path / "killed"
    words = ["predict", sample.source(), "--out", str(folder)]
    python = os.environ[environment.PYTHON_VARIABLE]
    command = subprocess.Popen([python, "-c", "from orthomask.cli import main; main()", *words])
    wait_until((folder / ".orthomask" / "classes-000000.tif").exists, PATIENCE_SECONDS)
    command.kill()
    command.wait()
    return folder


def test_a_killed_run_of_the_command_line_goes_on_in_the_dock(dock, killed, history):
    begun = json.loads((killed / ".orthomask" / "state.json").read_text(encoding="utf-8"))
    wait_until(lambda: [run.folder for run in history.view.chosen()] == [killed])
    QTest.mouseClick(history.buttons.resume, Qt.MouseButton.LeftButton)
    assert dock.segment.running_folder == str(killed)
    wait_until(lambda: dock.segment.running_folder == "", PATIENCE_SECONDS)
    record = json.loads((killed / "run.json").read_text(encoding="utf-8"))
    assert record["run_id"] == begun["run_id"]
    assert record["result"]["polygon_count"] > 50
    assert not (killed / ".orthomask").exists()
    (group,) = QgsProject.instance().layerTreeRoot().children()[:1]
    kinds = [node.name().split(" · ")[0] for node in group.findLayers()]
    assert kinds == ["Polygons", "Classes", "Probability of building"]
