"""Unsaved labels and areas survive a crash: every minute, the edits of open label projects are copied to the profile.

Saving them to the project instead would clear the undo history and make drafts final behind the user's back. So only
the edits are copied, as JSON: what was added, changed and deleted. When the project is opened after a crash, they are
made again as one edit that can be undone, saved or discarded. Saving or discarding edits deletes the copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from qgis.core import Qgis, QgsApplication, QgsFeature, QgsGeometry, QgsMessageLog, QgsVectorLayer
from qgis.PyQt.QtCore import QByteArray, QLockFile, QObject, QTimer, pyqtSignal

from ...protocol import OrthomaskError
from ..toolkit.messages import TITLE
from ..toolkit.words import in_digits, tr, tr_n
from .project import AREAS, LABELS, LabelProject, edit

COPY_MS = 60_000

Changes = dict[str, Any]
"""The edits of a layer, as JSON values; empty if there are none."""


def unsaved_folder() -> Path:
    """Where the copies are."""
    return Path(QgsApplication.qgisSettingsDirPath()) / "orthomask" / "unsaved"


class Recoveries(QObject):
    """Keeps a copy of the unsaved edits of each open label project."""

    restored = pyqtSignal(str)
    """Edits that a crash had interrupted are back: a sentence about them."""

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._kept: dict[str, _Recovery] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(COPY_MS)
        self._timer.timeout.connect(self.copy)
        self._timer.start()

    def watch(self, projects: Sequence[LabelProject]) -> None:
        """Keep copies for these projects, and restore what there is for new ones."""
        for project in projects:
            if project.path not in self._kept:
                self._kept[project.path] = _Recovery(project)
                QTimer.singleShot(0, self._restore)  # QGIS may still be reading the project

    def forget(self, layers: Sequence[str]) -> None:
        """Let go of projects with one of these layers, by ID, which are about to be removed."""
        for path, kept in list(self._kept.items()):
            if kept.layer_ids & set(layers):
                self._kept.pop(path).release()

    def copy(self) -> None:
        """Copy what is unsaved now."""
        for kept in self._kept.values():
            kept.copy()

    def release(self) -> None:
        """Stop; copies of what is still unsaved stay."""
        self._timer.stop()
        for kept in self._kept.values():
            kept.release()
        self._kept.clear()

    def _restore(self) -> None:
        for kept in self._kept.values():
            count = kept.restore()
            if count:
                words = tr_n(
                    "{} unsaved edit of “{}” was restored after QGIS had ended unexpectedly. Save keeps it.",
                    "{} unsaved edits of “{}” were restored after QGIS had ended unexpectedly. Save keeps them.",
                    count,
                )
                self.restored.emit(words.format(in_digits(count), kept.name))


class _Recovery(QObject):
    """The copy of one project's edits. Only one QGIS at a time has it; a lock tells whether another one lives."""

    def __init__(self, project: LabelProject) -> None:
        super().__init__()
        self.name = project.name
        self._layers = {LABELS: project.labels, AREAS: project.areas}
        self.layer_ids = {layer.id() for layer in self._layers.values()}
        number = hashlib.sha256(str(Path(project.path).resolve()).encode()).hexdigest()[:12]
        self._path = unsaved_folder() / f"{self.name}-{number}.json"
        with contextlib.suppress(OSError):  # without a folder there is no lock, and no copy
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = QLockFile(f"{self._path}.lock")
        self._lock.setStaleLockTime(0)  # it ends with its process, not with time
        self._mine, self._pending = self._lock.tryLock(0), self._path.exists()
        for layer in self._layers.values():
            for ended in (layer.afterCommitChanges, layer.afterRollBack):
                ended.connect(self.copy)

    def copy(self) -> None:
        """Write the edits if there are any, else delete the copy; not before an older copy is restored."""
        if not self._mine or self._pending:
            return
        changes = {role: changes_of(layer) for role, layer in self._layers.items()}
        try:
            if any(changes.values()):
                partial = self._path.with_suffix(".partial")
                partial.write_text(json.dumps(changes), encoding="utf-8")
                os.replace(partial, self._path)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:  # a full disk must not disturb the drawing
            QgsMessageLog.logMessage(str(error), TITLE, Qgis.MessageLevel.Warning, False)

    def restore(self) -> int:
        """Make the edits of the copy again, unless there are newer ones; how many features they concern."""
        if not self._mine or not self._pending:
            return 0
        count = 0
        try:
            changes = json.loads(self._path.read_text(encoding="utf-8"))
            if not any(layer.isModified() for layer in self._layers.values()):
                count = sum(make_again(layer, changes[role]) for role, layer in self._layers.items() if changes[role])
        except OrthomaskError:
            return 0  # the file cannot be written now; the copy stays for the next time
        except (OSError, ValueError, LookupError, TypeError) as error:
            QgsMessageLog.logMessage(f"{self._path}: {error}", TITLE, Qgis.MessageLevel.Warning, False)
        self._pending = False
        return count

    def release(self) -> None:
        """Let go of the layers and the lock."""
        for layer in self._layers.values():
            for ended in (layer.afterCommitChanges, layer.afterRollBack):
                ended.disconnect(self.copy)
        self._lock.unlock()


def changes_of(layer: QgsVectorLayer) -> Changes:
    """The unsaved edits of a layer."""
    buffer = layer.editBuffer()
    if buffer is None or not layer.isModified():
        return {}
    names = layer.fields().names()
    return {
        "fields": [field.name() for field in buffer.addedAttributes()],
        "added": [
            [hex_of(feature.geometry()), dict(zip(names, map(plain, feature.attributes())))]
            for feature in buffer.addedFeatures().values()
        ],
        "deleted": list(buffer.deletedFeatureIds()),
        "geometries": [[number, hex_of(geometry)] for number, geometry in buffer.changedGeometries().items()],
        "attributes": [
            [number, {names[index]: plain(value) for index, value in values.items()}]
            for number, values in buffer.changedAttributeValues().items()
        ],
    }


def make_again(layer: QgsVectorLayer, changes: Changes) -> int:
    """Make edits again, as one that can be undone; how many features they concern.

    Features that are gone by now are left out. New fields are texts.

    Raises:
        OrthomaskError: the layer cannot be edited.
    """
    edit(layer)
    layer.beginEditCommand(tr("Restore unsaved edits"))
    for name in changes["fields"]:
        layer.addAttribute(QgsVectorLayer(f"NoGeometry?field={name}:string", "", "memory").fields().at(0))
    there = set(layer.allFeatureIds())
    deleted = [number for number in changes["deleted"] if number in there]
    layer.deleteFeatures(deleted)
    for number, geometry in changes["geometries"]:
        if number in there:
            layer.changeGeometry(number, geometry_from(geometry))
    for number, values in changes["attributes"]:
        for name, value in values.items() if number in there else ():
            layer.changeAttributeValue(number, layer.fields().lookupField(name), value)
    layer.addFeatures([_feature(layer, *each) for each in changes["added"]])
    layer.endEditCommand()
    layer.triggerRepaint()
    changed = {number for number, _ in (*changes["geometries"], *changes["attributes"])}
    return len(changed & there) + len(deleted) + len(changes["added"])


def _feature(layer: QgsVectorLayer, geometry: str, values: dict[str, Any]) -> QgsFeature:
    """A new feature; the provider gives it a number of its own."""
    feature = QgsFeature(layer.fields())
    feature.setGeometry(geometry_from(geometry))
    keys = layer.primaryKeyAttributes()
    for name, value in values.items():
        index = layer.fields().lookupField(name)
        if index >= 0 and index not in keys and value is not None:
            feature.setAttribute(index, value)
    return feature


def geometry_from(text: str) -> QgsGeometry:
    """The geometry that `hex_of` wrote."""
    geometry = QgsGeometry()
    geometry.fromWkb(QByteArray.fromHex(QByteArray(text.encode())))
    return geometry


def hex_of(geometry: QgsGeometry) -> str:
    """A geometry as text, for JSON."""
    return bytes(geometry.asWkb().toHex().data()).decode()


def plain(value: Any) -> Any:
    """An attribute's value for JSON; None for NULL."""
    if value is None or (hasattr(value, "isNull") and value.isNull()):
        return None
    return value if isinstance(value, (bool, int, float, str)) else str(value)
