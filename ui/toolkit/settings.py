"""All that Orthomask keeps in QGIS's settings: names, defaults, and a signal for changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qgis.core import QgsSettings
from qgis.PyQt.QtCore import QObject, pyqtSignal

Value = TypeVar("Value", bool, int, str)


class News(QObject):
    """Announces changes at once, so that nothing has to be restarted."""

    changed = pyqtSignal(object)
    """The `Setting` whose value changed."""


news = News()


@dataclass(frozen=True)
class Setting(Generic[Value]):
    """One value under `orthomask/` in the settings of the profile; defaults are not stored."""

    name: str
    default: Value

    @property
    def key(self) -> str:
        """Its key in QGIS's settings."""
        return f"orthomask/{self.name}"

    def get(self) -> Value:
        """The chosen value; the default if none was chosen, or it cannot be read."""
        try:
            value: Value = QgsSettings().value(self.key, self.default, type=type(self.default))
        except TypeError:
            return self.default
        return value

    def set(self, value: Value) -> None:
        """Set it, also for the next start of QGIS."""
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
"""Where results go; empty for next to the project."""
DEVICE = Setting("device", "auto")
"""The device of requests that name none: `auto` for the best available, or `cpu`."""
ASK_FROM = Setting("ask-from", 2000)
"""Requests to a map service above which the user is asked: 2000 are about 2.5 km² at 0.15 m."""
OVERPASS_SERVER = Setting("overpass", "")
"""The Overpass server that OpenStreetMap's objects come from; empty for the public one."""
CONTACT = Setting("contact", "")
"""The e-mail or web address that servers of map data are told."""
PYTHON = Setting("python", "")
"""The engine's Python, if the user has chosen one."""
MODEL_FILES = Setting("model-files", "")
"""Paths of added models elsewhere, as JSON."""
UNFINISHED_RUN = Setting("unfinished", "")
"""Request and folder of the last run, while it is unfinished, as JSON."""
RUN_PARENTS = Setting("run-parents", "")
"""Parent folders of runs, most recent first, as JSON."""
UNFINISHED_TRAINING = Setting("unfinished-training", "")
"""The request of the last training, while it is unfinished, as JSON."""
LEARNING = Setting("learning", "")
"""What is being learnt, or was and is not yet used or discarded, as JSON."""
UNFINISHED_COLLECTION = Setting("unfinished-collection", "")
"""Request and folder of the last collection, while it is unfinished, as JSON."""
IMAGE_CREDIT = Setting("image-credit", "")
"""Whose images are, as written for the last web page."""
SEEN = Setting("seen", False)
"""Whether the dock stays closed when the plugin is loaded: not the first time, nor if it was open before."""
ALL: tuple[Setting[Any], ...] = (
    FOLDER, DEVICE, ASK_FROM, OVERPASS_SERVER, CONTACT, PYTHON, MODEL_FILES, UNFINISHED_RUN, RUN_PARENTS,
    UNFINISHED_TRAINING, LEARNING, UNFINISHED_COLLECTION, IMAGE_CREDIT, SEEN,
)  # fmt: skip
