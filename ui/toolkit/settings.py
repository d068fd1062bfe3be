"""All that Orthomask keeps in QGIS's settings: each name, its default, and word of a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qgis.core import QgsSettings
from qgis.PyQt.QtCore import QObject, pyqtSignal

Value = TypeVar("Value", bool, int, str)


class News(QObject):
    """Tells at once what has changed, so that nothing has to be started anew."""

    changed = pyqtSignal(object)
    """The `Setting` that has another value now."""


news = News()


@dataclass(frozen=True)
class Setting(Generic[Value]):
    """One value under `orthomask/` in the settings of the profile; a default is not written down."""

    name: str
    default: Value

    @property
    def key(self) -> str:
        """Its name among all settings of QGIS."""
        return f"orthomask/{self.name}"

    def get(self) -> Value:
        """What was chosen; the default where nothing was, or what is there cannot be read."""
        try:
            value: Value = QgsSettings().value(self.key, self.default, type=type(self.default))
        except TypeError:
            return self.default
        return value

    def set(self, value: Value) -> None:
        """Keep it for the next start of QGIS too."""
        before: Any = self.get()
        if value == self.default:
            QgsSettings().remove(self.key)
        else:
            QgsSettings().setValue(self.key, value)
        if value != before:
            news.changed.emit(self)

    def reset(self) -> None:
        """Go back to the default."""
        self.set(self.default)


FOLDER = Setting("folder", "")
"""Where results go; empty for beside the project."""
DEVICE = Setting("device", "auto")
"""What a request runs on that does not say: `auto` for the best there is, or `cpu`."""
ASK_FROM = Setting("ask-from", 2000)
"""Requests to a map service above which the person is asked: 2000 are about 2.5 km² at 0.15 m."""
PYTHON = Setting("python", "")
"""The engine's Python, where the person has chosen one."""
MODEL_FILES = Setting("model-files", "")
"""Paths of models elsewhere that were added once, as JSON."""
UNFINISHED_RUN = Setting("unfinished", "")
"""Request and folder of the run that was begun last and has not ended, as JSON."""
RUN_PARENTS = Setting("run-parents", "")
"""Folders in which runs have their folders, the last one first, as JSON."""
UNFINISHED_TRAINING = Setting("unfinished-training", "")
"""The request of the training that was begun last and has not ended, as JSON."""
SEEN = Setting("seen", False)
"""Whether the dock stays closed when the plugin is loaded: not the first time, nor where it was open before."""
ALL: tuple[Setting[Any], ...] = (
    FOLDER, DEVICE, ASK_FROM, PYTHON, MODEL_FILES, UNFINISHED_RUN, RUN_PARENTS, UNFINISHED_TRAINING, SEEN,
)  # fmt: skip
