"""The results of a comparison as layers: one group, a layer for each step. Nothing else in the project changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, cast

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeatureRequest,
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.gui import QgsMapCanvas

from ...protocol import (
    CHANGES_FILE,
    CHANGES_LAYER,
    LEDGER_LAYER,
    OFFSETS_LAYER,
    REPORT_FILE,
    Change,
    ChangesResult,
    OrthomaskError,
    from_json,
    to_json,
)
from ..label.project import file_of
from ..runs.results import STYLES_DIR
from ..toolkit.present import present
from ..toolkit.words import mark, tr

FACTS = "orthomask/changes"
"""Custom property of a layer of changes, as JSON: `ChangesResult`, step, and the IDs of both images' layers."""
KINDS = {
    Change.NEW: mark("new"),
    Change.REMOVED: mark("removed"),
    Change.GROWN: mark("grown"),
    Change.SHRUNK: mark("shrunk"),
    Change.SPLIT: mark("split"),
    Change.MERGED: mark("merged"),
    Change.MOVED: mark("moved"),
    Change.REPLACED: mark("replaced"),
    Change.UNSURE: mark("unsure"),
    Change.UNCHANGED: mark("unchanged"),
}
"""In the order of tables and of the legend in `changes.qml`."""
MOST_MEASURED, MARGIN = 20_000, 1.2
LEGENDS = (mark("there, gone, there"), mark("all others"), mark("used"), mark("left out"))
"""What the legends of the other style files say, for the catalogues."""


@dataclass(frozen=True)
class Facts:
    """What a layer of changes shows.

    Attributes:
        step: from 1.
        images: IDs of the layers that show the earlier and the later date; empty where unknown.
    """

    result: ChangesResult
    step: int = 1
    images: tuple[str, str] = ("", "")

    @property
    def counts(self) -> dict[Change, int]:
        """How many there are of each kind."""
        return {tally.kind: tally.count for tally in self.result.tallies if tally.step == self.step}


def is_change_layer(layer: QgsMapLayer) -> bool:
    """Whether a layer shows the results of a comparison."""
    return bool(layer.customProperty(FACTS)) or Path(file_of(layer)).name == CHANGES_FILE


def facts_of(layer: QgsMapLayer) -> Optional[Facts]:
    """What a layer of changes shows; None for other layers, or if its file is gone."""
    stored = layer.customProperty(FACTS)
    if not stored or not isinstance(layer, QgsVectorLayer) or not layer.isValid():
        return None
    try:
        values = json.loads(stored)
        return Facts(from_json(ChangesResult, values["result"]), int(values["step"]), tuple(values["images"]))
    except (OrthomaskError, ValueError, TypeError, KeyError):
        return None  # of another version


def report_of(layer: QgsVectorLayer) -> Path:
    """The page that belongs to a layer of changes: it may have been moved with it."""
    return Path(file_of(layer)).with_name(REPORT_FILE)


def change_layers(project: QgsProject) -> list[QgsVectorLayer]:
    """The layers of changes in the QGIS project, with their facts, by name."""
    found = [cast(QgsVectorLayer, layer) for layer in project.mapLayers().values() if facts_of(layer) is not None]
    return sorted(found, key=lambda layer: str(layer.name()))


def add_changes(
    project: QgsProject, result: ChangesResult, dates: Sequence[str], images: Sequence[str]
) -> list[QgsVectorLayer]:
    """Add the results on top of the layer tree; returns the layers of changes, one for each step.

    Args:
        dates, images: date, and ID of the layer of its image, of each date; empty where unknown.
    """
    steps = len(dates) - 1
    layers = [
        step_layer(Facts(result, n + 1, (images[n], images[n + 1])), dates[n : n + 2], steps) for n in range(steps)
    ]
    extra = [ledger_layer(result.changes_path), offset_layer(result.changes_path)]
    group = QgsLayerTreeGroup(span(dates[0], dates[-1]))
    for layer in [*layers, *(each for each in extra if each.isValid())]:
        project.addMapLayer(layer, addToLegend=False)
        node = present(group.addLayer(layer))
        node.setItemVisibilityChecked(layer in layers or (layer is extra[0] and result.flickering > 0))
        node.setExpanded(layer in layers)
    project.layerTreeRoot().insertChildNode(0, group)
    for expanded in (False, True):  # QGIS's legend takes notice of a change alone, and shows a new group collapsed
        group.setExpanded(expanded)
    return layers


def span(earlier: str, later: str) -> str:
    """What a comparison is called."""
    if earlier and later:
        return tr("Changes {} to {}").format(earlier, later)
    return tr("Changes")


def step_layer(facts: Facts, dates: Sequence[str], steps: int) -> QgsVectorLayer:
    """The changes of one step of several."""
    name = span(*dates) if steps == 1 or all(dates) else tr("Changes, step {}").format(facts.step)
    layer = QgsVectorLayer(changes_source(facts, steps), name, "ogr")
    style_changes(layer)
    keep_facts(layer, facts)
    return layer


def changes_source(facts: Facts, steps: int) -> str:
    """What a layer of the changes of one step is made from."""
    only = f'|subset="step" = {facts.step}' if steps > 1 else ""
    return f"{facts.result.changes_path}|layername={CHANGES_LAYER}{only}"


def ledger_source(path: str) -> str:
    """What a layer of all objects is made from."""
    return f"{path}|layername={LEDGER_LAYER}"


def offsets_source(path: str) -> str:
    """What a layer of the measured shift is made from."""
    return f"{path}|layername={OFFSETS_LAYER}"


def keep_facts(layer: QgsVectorLayer, facts: Facts) -> None:
    """Let the layer know what it shows; saved with the QGIS project."""
    values = {"result": to_json(facts.result), "step": facts.step, "images": facts.images}
    layer.setCustomProperty(FACTS, json.dumps(values))


def ledger_layer(path: str) -> QgsVectorLayer:
    """All objects through all dates; those that flicker are shown."""
    layer = QgsVectorLayer(ledger_source(path), tr("All objects over time"), "ogr")
    style_ledger(layer)
    return layer


def offset_layer(path: str) -> QgsVectorLayer:
    """Arrows where the shift was measured, 3 mm for each metre."""
    layer = QgsVectorLayer(offsets_source(path), tr("Measured shift"), "ogr")
    style_offsets(layer)
    return layer


def style_changes(layer: QgsVectorLayer) -> None:
    """A colour and a line for each kind, distinct with any colour vision; unchanged objects can be switched on."""
    _style(layer, "changes")


def style_ledger(layer: QgsVectorLayer) -> None:
    """Objects that flicker; others can be switched on."""
    _style(layer, "ledger")


def style_offsets(layer: QgsVectorLayer) -> None:
    """Blue where a measurement counts, grey where it was left out."""
    _style(layer, "offsets")


def show_kind(layer: QgsVectorLayer, kind: Optional[Change]) -> None:
    """Show only changes of this kind; None for all but the unchanged ones."""
    renderer = layer.renderer().clone()
    if not isinstance(renderer, QgsCategorizedSymbolRenderer):
        return  # the user has styled it in another way
    for index, category in enumerate(renderer.categories()):
        value = str(category.value())
        renderer.updateCategoryRenderState(index, value == kind.value if kind else value != Change.UNCHANGED.value)
    layer.setRenderer(renderer)
    layer.triggerRepaint()


def zoom_to(canvas: QgsMapCanvas, layer: QgsVectorLayer, kind: Optional[Change]) -> None:
    """Look at all changes of a kind, or of all kinds; where there are very many, at all."""
    facts = facts_of(layer)
    place = layer.extent()
    if kind is not None and facts is not None and facts.counts.get(kind, 0) <= MOST_MEASURED:
        place = QgsRectangle()
        request = QgsFeatureRequest().setFilterExpression(f"\"kind\" = '{kind.value}'").setNoAttributes()
        for feature in layer.getFeatures(request):
            place.combineExtentWith(feature.geometry().boundingBox())
    settings = canvas.mapSettings()
    place = settings.layerExtentToOutputExtent(layer, place)
    if place.isEmpty():
        return
    place.scale(MARGIN)
    canvas.setExtent(place)
    canvas.refresh()


def _style(layer: QgsVectorLayer, name: str) -> None:
    """The style in a file, with a legend in the user's language."""
    layer.loadNamedStyle(str(STYLES_DIR / f"{name}.qml"))
    renderer = cast(QgsCategorizedSymbolRenderer, layer.renderer())
    for index, category in enumerate(renderer.categories()):
        renderer.updateCategoryLabel(index, tr(category.label()))
