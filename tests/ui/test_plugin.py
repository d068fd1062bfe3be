import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from qgis.core import QgsApplication, QgsProject
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtWidgets import QApplication
from scene import wait_until

import orthomask
from orthomask import plugin as plugin_module
from orthomask.plugin import OrthomaskPlugin
from orthomask.ui.toolkit.settings import SEEN


@pytest.fixture
def iface(qgis_iface, bar, monkeypatch):
    """The stub's interface, its window shown, which keeps account of what is added and taken away."""
    qgis_iface.mainWindow().show()
    added = []
    for add, remove in (
        ("addRasterToolBarIcon", "removeRasterToolBarIcon"),
        ("addPluginToRasterMenu", "removePluginRasterMenu"),
        ("addDockWidget", "removeDockWidget"),
        ("registerOptionsWidgetFactory", "unregisterOptionsWidgetFactory"),
    ):
        monkeypatch.setattr(qgis_iface, add, lambda *a: added.append(a[-1]), raising=False)
        monkeypatch.setattr(qgis_iface, remove, lambda *a: added.remove(a[-1]), raising=False)
    qgis_iface.added = added
    yield qgis_iface
    provider = QgsApplication.processingRegistry().providerById("orthomask")
    if provider is not None:
        QgsApplication.processingRegistry().removeProvider(provider)


def plugin_for(iface, engine, monkeypatch):
    monkeypatch.setattr(plugin_module, "worker_command", lambda: engine.command)
    return orthomask.classFactory(iface)


def test_unload_leaves_nothing_behind(iface, canvas, layer, engine, monkeypatch):
    before = (
        [provider.id() for provider in QgsApplication.processingRegistry().providers()],
        len(canvas.scene().items()),
        set(QApplication.topLevelWidgets()),
        QgsProject.instance().mapLayers(),
        canvas.mapTool(),
        len(canvas.children()),
    )
    plugin = plugin_for(iface, engine, monkeypatch)
    assert isinstance(plugin, OrthomaskPlugin)
    plugin.initGui()
    assert len(iface.added) == 9  # a button, six lines in the menu, the dock, the settings
    assert QgsApplication.processingRegistry().algorithmById("orthomask:segment") is not None
    plugin.actions.dock.trigger()
    assert plugin.dock.isVisible()
    wait_until(lambda: plugin.dock.segment.model.model is not None)
    plugin.dock.segment.region.extent_button.click()
    plugin.dock.segment.region.polygon_button.click()
    engine.script(predict={"steps": 1000, "step_seconds": 0.02, "deaf": True})
    plugin.dock.segment.run()
    wait_until(lambda: engine.asked("predict"))
    pid = plugin.client.pid
    plugin.unload()
    assert iface.added == []
    assert plugin.client.pid is None
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    gc.collect()
    QCoreApplication.sendPostedEvents(None, 52)  # QEvent::DeferredDelete
    assert before == (
        [provider.id() for provider in QgsApplication.processingRegistry().providers()],
        len(canvas.scene().items()),
        set(QApplication.topLevelWidgets()),
        QgsProject.instance().mapLayers(),
        canvas.mapTool(),
        len(canvas.children()),
    )


def test_the_dock_opens_by_itself_the_first_time_and_where_it_was_open(iface, engine, monkeypatch):
    SEEN.reset()
    for opens, stays in ((True, True), (True, False), (False, False)):
        plugin = plugin_for(iface, engine, monkeypatch)
        plugin.initGui()
        shown = plugin.dock.isVisible()
        plugin.dock.setVisible(stays)
        plugin.unload()
        assert shown is opens


def test_qgis_forgets_all_modules_on_unload():
    """A package that stayed would be the older version's after an upgrade in place."""
    code = """
        import sys
        from qgis.core import QgsApplication
        application = QgsApplication([], False)
        import qgis.utils
        qgis.utils.plugin_paths[:] = sys.argv[1:]
        qgis.utils.updateAvailablePlugins()
        assert qgis.utils.loadPlugin("orthomask") and qgis.utils.startProcessingPlugin("orthomask")
        assert "orthomask.ui.processing.provider" in sys.modules
        assert qgis.utils.unloadPlugin("orthomask")
        print("left:", *[name for name in sys.modules if name.split(".")[0] == "orthomask"])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(Path(orthomask.__file__).parents[1])]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=paths, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["left:"], done.stdout + done.stderr


def test_a_project_read_after_unload_meets_no_deleted_widget(iface, canvas, engine, monkeypatch, tmp_path):
    plugin = plugin_for(iface, engine, monkeypatch)
    plugin.initGui()
    plugin.unload()
    QgsProject.instance().write(str(tmp_path / "project.qgs"))
    QgsProject.instance().read(str(tmp_path / "project.qgs"))


def test_qgis_process_needs_no_interface(engine, qgis_processing, monkeypatch):
    plugin = plugin_for(None, engine, monkeypatch)
    plugin.initProcessing()
    assert QgsApplication.processingRegistry().providerById("orthomask") is not None
    plugin.unload()
    assert QgsApplication.processingRegistry().providerById("orthomask") is None


def test_loading_the_folder_imports_nothing_heavy():
    import sys

    assert not {"torch", "rasterio", "shapely"} & set(sys.modules)
