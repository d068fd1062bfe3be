"""PyQt6 as `qgis.PyQt`, and the few classes of QGIS that plain widgets of ours use.

Each does what QGIS's own does for us, and nothing else. What is not here can be imported, but not used: that raises
`NeedsQgis`.
"""

from __future__ import annotations

import enum
import importlib
import sys
import types
from pathlib import Path
from typing import Optional

from PyQt6.QtCore import QObject, QSettings, pyqtSignal
from PyQt6.QtNetwork import QNetworkAccessManager
from PyQt6.QtWidgets import QGroupBox, QHBoxLayout, QLineEdit, QWidget

MODULES = ("QtCore", "QtGui", "QtNetwork", "QtSvg", "QtTest", "QtWidgets", "QtXml")


class NeedsQgis(ImportError):  # noqa: N818 (no fault)
    """The code at hand uses QGIS itself."""


class _Partial(type):
    """A class of which only some names are here."""

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NeedsQgis(f"{cls.__name__}.{name}")


class _Absent(_Partial):
    """A class of which nothing is here."""

    def __call__(cls, *_: object, **__: object) -> object:
        raise NeedsQgis(f"{cls.__name__}()")


class _Some:
    """Objects of which only some methods are here."""

    def __getattr__(self, name: str) -> object:
        raise NeedsQgis(f"{type(self).__name__}.{name}")


class Qgis(metaclass=_Partial):
    class DataType(enum.IntEnum):
        Byte, Float32, Float64, ARGB32, ARGB32_Premultiplied = 1, 6, 7, 12, 13


class QgsMapLayerProxyModel(metaclass=_Partial):
    class Filter(enum.IntFlag):
        RasterLayer, PolygonLayer, VectorTileLayer = 1, 16, 512


class QgsSettings(QSettings):
    """As QGIS's, in the file that `install` names."""

    def __init__(self) -> None:
        super().__init__(str(QgsApplication.folder / "QGIS4.ini"), QSettings.Format.IniFormat)


class QgsAuthManager(_Some):
    """Switched off."""

    def isDisabled(self) -> bool:
        return True


class QgsApplication(metaclass=_Partial):
    folder = Path()
    _tasks: Optional[QgsTaskManager] = None

    @classmethod
    def taskManager(cls) -> QgsTaskManager:
        cls._tasks = cls._tasks or QgsTaskManager()
        return cls._tasks

    @staticmethod
    def authManager() -> QgsAuthManager:
        return QgsAuthManager()

    @classmethod
    def qgisSettingsDirPath(cls) -> str:
        return f"{cls.folder}/"


class QgsTask(QObject, _Some):
    class Flag(enum.IntFlag):
        CanCancel, Silent = 2, 16

    def __init__(self, description: str, flags: Flag) -> None:
        assert isinstance(flags, self.Flag)
        super().__init__()

    def cancel(self) -> None:
        pass


class QgsTaskManager(_Some):
    """Keeps the tasks, and starts none."""

    def __init__(self) -> None:
        self._tasks: list[QgsTask] = []

    def addTask(self, task: QgsTask) -> None:
        self._tasks.append(task)


class QgsProject(QObject, _Some):
    """An open project that is not saved."""

    readProject, projectSaved, cleared = pyqtSignal(), pyqtSignal(), pyqtSignal()
    layersAdded, layersWillBeRemoved = pyqtSignal(list), pyqtSignal("QStringList")

    def mapLayers(self) -> dict[str, object]:
        """No layer is in it."""
        return {}

    def mapLayer(self, identity: str) -> None:
        """No layer is in it."""

    _instance: Optional[QgsProject] = None

    @classmethod
    def instance(cls) -> QgsProject:
        cls._instance = cls._instance or cls()
        return cls._instance

    def absolutePath(self) -> str:
        return ""


class QgsProcessingUtils(metaclass=_Partial):
    @staticmethod
    def tempFolder() -> str:
        return str(QgsApplication.folder)


class QgsNetworkAccessManager(QNetworkAccessManager, _Some):
    """With no proxy."""

    @staticmethod
    def instance() -> QgsNetworkAccessManager:
        return QgsNetworkAccessManager()

    def noProxyList(self) -> list[str]:
        return []


class QgsMessageBar(QWidget, _Some):
    pass


class QgsCollapsibleGroupBox(QGroupBox, _Some):
    collapsedStateChanged = pyqtSignal(bool)

    def setCollapsed(self, collapsed: bool) -> None:
        for child in self.findChildren(QWidget):
            child.setVisible(not collapsed)


class QgsFilterLineEdit(QLineEdit, _Some):
    """Without icons."""

    cleared = pyqtSignal()

    def setShowSearchIcon(self, shown: bool) -> None:
        pass


class QgsFileWidget(QWidget, _Some):
    """A path to type; no button."""

    class StorageMode(enum.IntEnum):
        GetFile, GetDirectory, GetMultipleFiles, SaveFile = range(4)

    fileChanged = pyqtSignal(str)

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._line = QLineEdit()
        self._line.textChanged.connect(self.fileChanged)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line)

    def setStorageMode(self, mode: StorageMode) -> None:
        assert isinstance(mode, self.StorageMode)

    def setFilter(self, files: str) -> None:
        assert isinstance(files, str)

    def lineEdit(self) -> QLineEdit:
        return self._line

    def filePath(self) -> str:
        return self._line.text()

    def setFilePath(self, path: str) -> None:
        self._line.setText(path)


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        vars(self)[name] = absent = _Absent(name, (), {})
        return absent


CORE = (
    Qgis, QgsApplication, QgsMapLayerProxyModel, QgsNetworkAccessManager, QgsProcessingUtils, QgsProject, QgsSettings,
    QgsTask,
)  # fmt: skip
GUI = (QgsCollapsibleGroupBox, QgsFileWidget, QgsFilterLineEdit, QgsMessageBar)


def install(folder: Path) -> None:
    """Make `import qgis` find these; settings and environments of the engine lie in the folder."""
    QgsApplication.folder = folder
    modules: dict[str, types.ModuleType] = {name: types.ModuleType(name) for name in ("qgis", "qgis.PyQt")}
    modules |= {name: _Module(name) for name in ("qgis.core", "qgis.gui", "osgeo")}
    modules |= {f"qgis.PyQt.{name}": importlib.import_module(f"PyQt6.{name}") for name in MODULES}
    for module, classes in (("qgis.core", CORE), ("qgis.gui", GUI)):
        vars(modules[module]).update({cls.__name__: cls for cls in classes})
    sys.modules.update(modules)
