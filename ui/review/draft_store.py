"""Drafts that were changed and not accepted yet are kept in the QGIS profile: for a square left, and for a crash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from qgis.core import Qgis, QgsFeature, QgsMessageLog, QgsVectorLayer

from ..label.recovery import geometry_from, hex_of, plain, unsaved_folder
from ..toolkit.messages import TITLE
from ..toolkit.words import tr
from .drafts import ID, Layout


class DraftStore:
    """The changed drafts of a label project and a run, by square.

    Args:
        layout: names both.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        number = hashlib.sha256(str(Path(layout.project.path).resolve()).encode()).hexdigest()[:12]
        self._path = unsaved_folder() / f"{layout.project.name}-{number}.drafts"

    def keep(self, square: int, layer: QgsVectorLayer) -> None:
        """Keep the drafts of a square if they were changed, else forget them."""
        if not layer.isModified():
            self.forget(square)
            return
        names = layer.fields().names()
        drafts = [
            [hex_of(each.geometry()), dict(zip(names, map(plain, each.attributes())))] for each in layer.getFeatures()
        ]
        self._write({**self._read(), self._key(square): {"given": sorted(self._layout.originals), "drafts": drafts}})

    def forget(self, square: int) -> None:
        """Keep nothing for this square."""
        kept = self._read()
        if kept.pop(self._key(square), None) is not None:
            self._write(kept)

    def restore(self, square: int, layer: QgsVectorLayer) -> bool:
        """Change the drafts as they were kept, as one edit; whether there was anything to restore."""
        kept = self._read().get(self._key(square))
        if kept is None:
            return False
        there = {int(draft[ID]): draft for draft in layer.getFeatures()}
        layer.beginEditCommand(tr("Restore drafts"))
        left = set(kept["given"]) & set(there)
        for text, values in kept["drafts"]:
            number = values.get(ID)
            if number in there:
                left.discard(number)
                _change(layer, there[number], text, values)
            elif number not in kept["given"]:  # else it has become a label in the meantime
                layer.addFeature(_feature(layer, text, values))
        layer.deleteFeatures([there[number].id() for number in left])
        layer.endEditCommand()
        layer.triggerRepaint()
        return True

    def _key(self, square: int) -> str:
        return f"{self._layout.run.record['run_id']} {square}"

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return kept if isinstance(kept, dict) else {}
        return {}

    def _write(self, kept: dict[str, Any]) -> None:
        partial = Path(f"{self._path}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if kept:
                partial.write_text(json.dumps(kept), encoding="utf-8")
                os.replace(partial, self._path)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:  # a full disk must not disturb the review
            QgsMessageLog.logMessage(str(error), TITLE, Qgis.MessageLevel.Warning, False)


def _change(layer: QgsVectorLayer, draft: QgsFeature, text: str, values: dict[str, Any]) -> None:
    """Change a draft where it differs from what was kept."""
    if hex_of(draft.geometry()) != text:
        layer.changeGeometry(draft.id(), geometry_from(text))
    for index, each in enumerate(layer.fields().toList()):
        if plain(draft.attribute(index)) != values.get(each.name()):
            layer.changeAttributeValue(draft.id(), index, values.get(each.name()))


def _feature(layer: QgsVectorLayer, text: str, values: dict[str, Any]) -> QgsFeature:
    feature = QgsFeature(layer.fields())
    feature.setGeometry(geometry_from(text))
    for index, each in enumerate(layer.fields().toList()):
        feature.setAttribute(index, values.get(each.name()))
    return feature
