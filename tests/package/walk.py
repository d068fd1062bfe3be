"""The walk that `install_zip.py` takes in QGIS: QGIS's own installer, and what a person presses in the dock."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pyplugin_installer
import qgis.utils
from osgeo import gdal
from qgis.core import Qgis, QgsApplication, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QPoint, QSize, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDockWidget, QFileDialog, QLineEdit, QWidget
from qgis.utils import iface

TASK = json.loads(os.environ["ORTHOMASK_WALK"])
WORK, PICTURES = Path(TASK["work"]), Path(TASK["pictures"])
PROFILE = Path(QgsApplication.qgisSettingsDirPath())
PLUGIN = PROFILE / "python" / "plugins" / "orthomask"
STEP_SECONDS = 900
LEFT = Qt.MouseButton.LeftButton

Condition = Callable[[], bool]
problems: list[str] = []
"""Errors of Python that QGIS has shown."""


def walk() -> Iterator[Condition]:
    """Each step in turn; what is yielded is waited for."""
    yield from install()
    yield from set_up()
    yield from segment("6-segmented")
    yield from upgrade_while_it_runs()
    yield from uninstall_while_it_runs()


def install() -> Iterator[Condition]:
    """From the zip into a profile that has never seen the plugin; its dock opens by itself."""
    assert not PLUGIN.exists()
    install_zip(TASK["package"])
    assert "orthomask" in qgis.utils.active_plugins
    assert dock().isVisible()
    yield dock().banner.isVisible
    assert "is not set up yet" in dock().banner.words.text(), dock().banner.words.text()
    yield settled()
    picture("1-installed")
    done("installed; the dock is open and offers Set up")


def set_up() -> Iterator[Condition]:
    """With the dock's button, from the folder of wheels."""
    press(dock().banner.setup_wanted)
    window = dock().setup
    yield lambda: window.plan_box.plan is not None
    yield settled()
    picture("2-set-up-offered", window)
    QTimer.singleShot(0, lambda: press(window.plan_box.source_button))
    yield lambda: isinstance(QApplication.activeModalWidget(), QFileDialog)
    chooser = QApplication.activeModalWidget()
    chooser.findChild(QLineEdit, "fileNameEdit").setText(TASK["wheels"])
    QTimer.singleShot(0, chooser.accept)
    yield lambda: window.plan_box.source.text() == TASK["wheels"]
    assert window.plan_box.problem is None, window.plan_box.problem
    yield settled()
    picture("3-set-up-from-folder", window)
    press(window.bar.run_button)
    yield lambda: window.bar.progress.value() > 200
    picture("4-setting-up", window)
    yield lambda: not window.busy
    yield settled()
    picture("5-set-up", window)
    assert window.words.text().startswith("The engine works."), window.words.text() + window.log.toPlainText()
    done(window.words.text())
    press(window.close_button)


def segment(name: str) -> Iterator[Condition]:
    """A rectangle drawn on the photograph becomes polygons on the map."""
    panel, canvas = dock().segment, iface.mapCanvas()
    yield lambda: panel.model.model is not None and bool(dock().device.toolTip())
    assert not dock().banner.isVisible()
    photograph = WORK / "photograph.tif"
    shutil.copyfile(PLUGIN / "resources" / "sample" / "banepa.tif", photograph)
    QgsProject.instance().clear()
    layer = QgsRasterLayer(str(photograph), "Photograph")
    QgsProject.instance().addMapLayer(layer)
    panel.layer_chooser.setLayer(layer)
    panel.options.folder_chooser.setFilePath(str(WORK / "runs"))
    yield settled()
    canvas.setExtent(layer.extent())
    yield settled()
    press(panel.region.rectangle_button)
    width, height = canvas.width(), canvas.height()
    drag(*((round(x * width), round(y * height)) for x, y in ((0.35, 0.3), (0.5, 0.5), (0.65, 0.7))))
    yield lambda: panel.preflight.result is not None and panel.run_bar.run_button.isEnabled()
    press(panel.run_bar.run_button)
    yield panel.run_bar.run_button.isVisible
    yield settled()
    picture(name)
    groups = [group for group in QgsProject.instance().layerTreeRoot().children() if hasattr(group, "findLayers")]
    assert groups, iface.messageBar().currentItem() and iface.messageBar().currentItem().text()
    polygons = groups[0].findLayers()[0].layer()
    assert polygons.featureCount() > 3
    done(f"segmented: {polygons.featureCount()} polygons on {dock().device.text()}")


def large_photograph() -> QgsRasterLayer:
    """The photograph nine times, side by side, so that a run takes its time."""
    dataset = gdal.Open(str(WORK / "photograph.tif"))
    left, pixel, _, top, _, line = dataset.GetGeoTransform()
    width, height = pixel * dataset.RasterXSize, line * dataset.RasterYSize
    parts = []
    for column, row in itertools.product(range(3), repeat=2):
        x, y = left + column * width, top + row * height
        parts.append(str(WORK / f"{column}{row}.vrt"))
        gdal.Translate(parts[-1], dataset, outputBounds=(x, y, x + width, y + height))
    gdal.BuildVRT(str(WORK / "town.vrt"), parts)
    return QgsRasterLayer(str(WORK / "town.vrt"), "Town")


def choose_run() -> Iterator[Condition]:
    """The settings of a long run."""
    panel = dock().segment
    yield lambda: panel.model.model is not None
    if not QgsProject.instance().mapLayersByName("Town"):
        QgsProject.instance().addMapLayer(large_photograph())
    panel.layer_chooser.setLayer(QgsProject.instance().mapLayersByName("Town")[0])
    panel.options.folder_chooser.setFilePath(str(WORK / "runs"))
    panel.region.extent_button.click()
    panel.model.threshold.setValue(0.37)
    yield lambda: panel.preflight.result is not None and panel.run_bar.run_button.isEnabled()
    yield settled()


def start_run() -> Iterator[Condition]:
    """Begin that run and let it get somewhere."""
    yield from choose_run()
    run_bar = dock().segment.run_bar
    press(run_bar.run_button)
    yield lambda: run_bar.progress.value() > 50
    assert run_bar.progress.value() < run_bar.progress.maximum() / 2
    assert run_bar.cancel_button.isVisible()


def upgrade_while_it_runs() -> Iterator[Condition]:
    """A newer zip over the plugin that is loaded, shown and at work."""
    old_dock = dock()
    old_modules = own_modules()
    yield from start_run()
    old = engines()
    check_that_nothing_is_held(old)
    install_zip(TASK["newer"])
    assert not set(old) & set(engines()), "the engine of the older version still runs"
    yield settled()
    assert sys.modules["orthomask.ui"].NEWER
    stale = [name for name, module in own_modules().items() if old_modules.get(name) is module]
    assert not stale, f"modules of the older version: {stale}"
    assert not (PLUGIN.parent / TASK["dropped"]).exists()
    assert dock() is not old_dock
    assert len(iface.mainWindow().findChildren(QDockWidget, "OrthomaskDock")) == 1
    assert len([action for action in iface.rasterToolBar().actions() if action.text() == "Orthomask"]) == 1
    assert dock().isVisible(), "the dock was open before"
    yield from choose_run()
    assert dock().segment.run_bar.run_button.text() == "Resume"
    yield from segment("7-upgraded")
    press(dock().engine_button)
    window = dock().setup
    yield lambda: window.plan_box.plan is not None
    assert "packages of an earlier version" in window.words.text(), window.words.text()
    yield settled()
    picture("8-update-offered", window)
    window.plan_box.use_folder(TASK["wheels"])
    assert "for another version of Orthomask" in window.plan_box.problem.sentence
    press(window.close_button)
    done(f"upgraded to {TASK['newer_version']} in mid-run: {window.words.text()}")


def uninstall_while_it_runs() -> Iterator[Condition]:
    """Nothing is left of the plugin but the environment and the settings."""
    yield from start_run()
    pyplugin_installer.instance().uninstallPlugin("orthomask", quiet=True)
    yield settled()
    picture("9-uninstalled")
    assert not PLUGIN.exists(), sorted(PLUGIN.rglob("*"))
    assert not engines()
    assert not iface.mainWindow().findChildren(QDockWidget, "OrthomaskDock")
    assert "orthomask" not in qgis.utils.plugins
    assert QgsApplication.processingRegistry().providerById("orthomask") is None
    left = sorted(str(path.relative_to(PROFILE)) for path in (PROFILE / "orthomask").iterdir())
    assert [Path(name).name.split("-")[0] for name in left] == ["engine"], left
    assert not [*PROFILE.glob("python/plugins/*")]
    done(f"uninstalled in mid-run; left in the profile: {', '.join(left)}")


def check_that_nothing_is_held(pids: list[int]) -> None:
    """No process stands in the plugin's folder or has one of its files open: Windows could not replace the folder."""
    assert pids
    paths = [(pid, path) for pid in (*pids, os.getpid()) for path in open_paths(pid)]
    held = [(pid, path) for pid, path in paths if PLUGIN in (path, *path.parents)]
    assert not held, held
    done(f"nothing in {PLUGIN} is held open by QGIS or the engine at work")


def open_paths(pid: int) -> Iterator[Path]:
    """Where a process stands, and what it has open or mapped into its memory."""
    place = Path("/proc") / str(pid)
    yield Path(os.readlink(place / "cwd"))
    for descriptor in (place / "fd").iterdir():
        if descriptor.is_symlink():
            yield Path(os.readlink(descriptor))
    for line in (place / "maps").read_text().splitlines():
        yield from map(Path, line.split(maxsplit=5)[5:])


def engines() -> list[int]:
    """Processes that run in an environment of this profile."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].startswith(os.fsencode(PROFILE / "orthomask")):
            found.append(int(place.name))
    return found


def own_modules() -> dict[str, object]:
    """The modules of the plugin that are loaded."""
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "orthomask"}


def install_zip(path: str) -> None:
    """As the plugin manager's *Install from ZIP* does."""
    pyplugin_installer.instance().installFromZipFile(path)
    assert (PLUGIN / "metadata.txt").is_file()
    assert not problems, problems


def dock():
    """The dock of the plugin that is loaded."""
    return qgis.utils.plugins["orthomask"].dock


def press(button: QWidget) -> None:
    """Click it."""
    assert button.isVisible()
    assert button.isEnabled()
    QTest.mouseClick(button, LEFT)


def drag(*points: tuple[int, int]) -> None:
    """Press at the first point of the map, move along the others, release at the last."""
    viewport, none = iface.mapCanvas().viewport(), Qt.KeyboardModifier.NoModifier
    places = [QPoint(x, y) for x, y in points]
    QTest.mousePress(viewport, LEFT, none, places[0])
    for place in places[1:]:
        QTest.mouseMove(viewport, place)
        QTest.qWait(50)
    QTest.mouseRelease(viewport, LEFT, none, places[-1])


def settled(seconds: float = 1.0) -> Condition:
    """Holds when the map has been drawn and some time has passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end and not iface.mapCanvas().isDrawing()


def picture(name: str, shown: QWidget | None = None) -> None:
    """Save what is shown, by default QGIS's whole window."""
    QgsApplication.processEvents()
    (shown or iface.mainWindow()).grab().save(str(PICTURES / f"{name}.png"))


def done(words: str) -> None:
    """Say that a step went well."""
    assert not problems, problems
    print(f"ok: {words}", flush=True)


def note_problem(kind: type, value: BaseException, trace: object, *_: object, **__: object) -> None:
    """Keep what QGIS would show as an error of Python."""
    problems.append("".join(traceback.format_exception(kind, value, trace)))


class Director:
    """Goes from step to step as their conditions come true, without blocking QGIS."""

    def __init__(self, steps: Iterator[Condition]) -> None:
        self._steps, self._condition, self._deadline = steps, lambda: True, 0.0
        self._timer = QTimer()
        self._timer.timeout.connect(self._look)
        self._timer.start(20)

    def _look(self) -> None:
        try:
            if self._deadline and time.monotonic() > self._deadline:
                raise TimeoutError("a step took too long")
            while self._condition():
                self._condition = next(self._steps)
                self._deadline = time.monotonic() + STEP_SECONDS
        except StopIteration:
            self._end(0)
        except Exception:  # noqa: BLE001 (the script's edge: QGIS must end, whatever happened)
            traceback.print_exc()
            picture("failed")
            for number, window in enumerate(QApplication.topLevelWidgets()):
                if window.isVisible() and window is not iface.mainWindow():
                    picture(f"failed-{number}", window)
            self._end(1)

    def _end(self, status: int) -> None:
        self._timer.stop()
        print(*problems, sep="\n", flush=True)
        qgis.utils.unloadPlugin("orthomask")
        os._exit(status)


def main() -> None:
    """Begin."""
    print(f"QGIS {Qgis.QGIS_VERSION}, Python {sys.version.split()[0]}", flush=True)
    qgis.utils.showException = note_problem
    iface.mainWindow().resize(QSize(1600, 1000))
    iface.orthomask_director = Director(walk())  # kept alive


QTimer.singleShot(2000, main)
