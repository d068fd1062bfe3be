"""Drafts: what a run found in a square, laid out to be corrected. They become labels when the square is accepted.

They lie in a layer in memory that is being edited, with the attributes and defaults of the run's own polygons, so that
QGIS's editing tools, its undo and the quick tools work on them as on any result. The run's files are never edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Optional

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsCoordinateTransform,
    QgsCsException,
    QgsDefaultValue,
    QgsFeature,
    QgsFeatureRequest,
    QgsFillSymbol,
    QgsGeometry,
    QgsMapLayer,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsSimpleFillSymbolLayer,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor

from ...protocol import LABEL_CHANGED, LABEL_ORIGIN, LABEL_RUN, ClassInfo, Origin
from ..label.project import CLASS_FIELD, ROLE, LabelProject
from ..layers.vector_snapshot import text_of
from ..runs import correcting
from ..runs.results import PROBABILITIES, Run
from ..toolkit.present import present
from ..toolkit.words import tr
from .squares import Square

DRAFTS = "drafts"
"""The role of the layer, as a custom property."""
ID, CLASS_NAME, CLASS_VALUE, CONFIDENCE = "id", "class", "class_value", "confidence"
SAME = 0.5
"""Share of the smaller of draft and label from which on they are the same object."""
INSIDE = 0.9
"""Part of a square that must be mapped: a run may end within its outermost pixels."""
LINE_MM, CASING_MM = 0.7, 1.2


@dataclass(frozen=True)
class Layout:
    """Where drafts come from and go to.

    Attributes:
        originals: geometry and class name of each draft as the run found it, by its `id`.
    """

    run: Run
    polygons: QgsVectorLayer
    project: LabelProject
    originals: dict[int, tuple[QgsGeometry, str]] = field(default_factory=dict)

    @property
    def missing_classes(self) -> list[str]:
        """Names of the run's classes that the label project lacks."""
        return [info.name for info in self.run.classes if _named(info.name, self.project.classes) is None]

    def is_mapped(self, square: Square) -> bool:
        """Whether the run has predicted what lies in a square, by its middle, its sides and its corners."""
        raster = QgsRasterLayer(str(self.run.folder / PROBABILITIES), "")
        place = _moved(square.geometry, self.project.areas, raster) if raster.isValid() else None
        if place is None:
            return False
        box = place.boundingBox()
        box.scale(INSIDE)
        points = (
            QgsPointXY(x, y)
            for x in (box.xMinimum(), box.center().x(), box.xMaximum())
            for y in (box.yMinimum(), box.center().y(), box.yMaximum())
        )
        return all(raster.dataProvider().sample(point, 1)[1] for point in points)

    def new_layer(self) -> QgsVectorLayer:
        """An empty layer for drafts, in the labels' CRS."""
        layer = QgsVectorLayer("MultiPolygon", tr("Drafts"), "memory")
        layer.setCrs(self.project.labels.crs())
        layer.dataProvider().addAttributes([each for each in self.polygons.fields().toList() if each.name() != "fid"])
        layer.updateFields()
        layer.setCustomProperty(ROLE, DRAFTS)
        layer.setCustomProperty("skipMemoryLayersCheck", 1)
        layer.setRenderer(_dashed(self.project.classes))
        correcting.prepare(layer, self.project.classes, self.run.record["run_id"])
        last = self.polygons.maximumValue(self.polygons.fields().lookupField(ID))
        number = f'max(coalesce(maximum("{ID}"), 0), {int(text_of(last) or 0)}) + 1'  # none that a removed draft had
        layer.setDefaultValueDefinition(layer.fields().lookupField(ID), QgsDefaultValue(number))
        return layer

    def lay_out(self, layer: QgsVectorLayer, square: Square, checked: Sequence[Square]) -> None:
        """Replace what is in the layer by the drafts of a square, and start editing it.

        Left out is what a label covers already, and what lies mostly in a square that was checked: there it was judged.

        Args:
            checked: squares that were checked.
        """
        if layer.isEditable():
            layer.rollBack()
        provider = layer.dataProvider()
        provider.truncate()
        self.originals.clear()
        provider.addFeatures(list(self._drafts(layer, square, checked)))
        layer.updateExtents()
        layer.startEditing()
        for feature in layer.getFeatures():
            number = int(feature[ID])
            self.originals[number] = (QgsGeometry(feature.geometry()), text_of(feature[CLASS_NAME]))
        layer.triggerRepaint()

    def labels_of(self, layer: QgsVectorLayer) -> list[QgsFeature]:
        """The labels that the drafts become, each with its origin and the present time."""
        labels, now = self.project.labels, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        columns = [labels.fields().lookupField(n) for n in (CLASS_FIELD, LABEL_ORIGIN, LABEL_RUN, LABEL_CHANGED)]
        found = []
        for draft in layer.getFeatures():
            if draft.geometry().isEmpty():
                continue
            info = _named(text_of(draft[CLASS_NAME]), self.project.classes) or self.project.classes[0]
            values = (info.value, self.origin(draft).value, self.run.record["run_id"], now)
            geometry = QgsGeometry(draft.geometry())
            geometry.convertToMultiType()
            found.append(QgsVectorLayerUtils.createFeature(labels, geometry, dict(zip(columns, values))))
        return found

    def origin(self, draft: QgsFeature) -> Origin:
        """How a draft came about, whatever tool was used: as the run found it, changed, or new."""
        original = self.originals.get(int(text_of(draft[ID]) or -1))
        if original is not None:
            same = draft.geometry().equals(original[0]) and text_of(draft[CLASS_NAME]) == original[1]
            return Origin.ACCEPTED if same else Origin.CORRECTED
        return Origin.CORRECTED if text_of(draft[CONFIDENCE]) else Origin.ADDED

    def _drafts(self, layer: QgsVectorLayer, square: Square, checked: Sequence[Square]) -> Iterator[QgsFeature]:
        labels = self.project.labels
        place = _moved(square.geometry, self.project.areas, labels)
        judged = [area for each in checked if (area := _moved(each.geometry, self.project.areas, labels)) is not None]
        if place is None:
            return
        for polygon in _touching(self.polygons, _moved(place, labels, self.polygons)):
            geometry = _moved(polygon.geometry(), self.polygons, labels)
            info = _named(text_of(polygon[CLASS_NAME]), self.project.classes)
            if geometry is None or info is None or not _meets(geometry, place):
                continue
            if _is_labelled(geometry, labels) or any(_covers(area, geometry) for area in judged):
                continue
            geometry.convertToMultiType()
            draft = QgsFeature(layer.fields())
            for index, each in enumerate(layer.fields().toList()):
                draft.setAttribute(index, polygon[each.name()])
            draft[CLASS_NAME], draft[CLASS_VALUE] = info.name, info.value
            draft.setGeometry(geometry)
            yield draft


def _named(name: str, classes: Sequence[ClassInfo]) -> Optional[ClassInfo]:
    return next((info for info in classes if info.name.casefold() == name.casefold()), None)


def _moved(geometry: QgsGeometry, source: QgsMapLayer, target: QgsMapLayer) -> Optional[QgsGeometry]:
    """A geometry in another layer's CRS; None where that has no place for it."""
    moved = QgsGeometry(geometry)
    try:
        moved.transform(QgsCoordinateTransform(source.crs(), target.crs(), QgsProject.instance()))
    except QgsCsException:
        return None
    return moved


def _touching(layer: QgsVectorLayer, place: Optional[QgsGeometry]) -> Iterator[QgsFeature]:
    if place is not None:
        yield from layer.getFeatures(QgsFeatureRequest().setFilterRect(place.boundingBox()))


def _meets(geometry: QgsGeometry, place: QgsGeometry) -> bool:
    """Whether part of it lies in the place; one that only touches it is a neighbour's."""
    return bool(geometry.intersects(place) and not geometry.touches(place))


def _is_labelled(geometry: QgsGeometry, labels: QgsVectorLayer) -> bool:
    """Whether a label is the same object."""
    near = QgsFeatureRequest().setNoAttributes().setFilterRect(geometry.boundingBox())
    for label in labels.getFeatures(near):
        smaller = min(geometry.area(), label.geometry().area())
        if geometry.intersects(label.geometry()) and smaller > 0:
            common = geometry.intersection(label.geometry())
            if common.area() > SAME * smaller:
                return True
    return False


def _covers(area: QgsGeometry, geometry: QgsGeometry) -> bool:
    return bool(area.intersects(geometry) and area.intersection(geometry).area() > SAME * geometry.area())


def _dashed(classes: Sequence[ClassInfo]) -> QgsCategorizedSymbolRenderer:
    """Dashes in the class's colour on a white line, seen on bright and dark ground; nothing inside is covered."""
    categories = [QgsRendererCategory(info.value, _dashes(info.color), info.name) for info in classes]
    categories.append(QgsRendererCategory(None, _dashes("#9a9a9a"), tr("no class")))
    return QgsCategorizedSymbolRenderer(CLASS_VALUE, categories)


def _dashes(color: str) -> QgsFillSymbol:
    symbol = present(QgsFillSymbol.createSimple({}))
    symbol.changeSymbolLayer(0, _line("#ffffff", Qt.PenStyle.SolidLine, CASING_MM))
    symbol.appendSymbolLayer(_line(color, Qt.PenStyle.DashLine, LINE_MM))
    return symbol


def _line(color: str, style: Qt.PenStyle, width_mm: float) -> QgsSimpleFillSymbolLayer:
    empty, join = Qt.BrushStyle.NoBrush, Qt.PenJoinStyle.MiterJoin
    return QgsSimpleFillSymbolLayer(QColor(color), empty, QColor(color), style, width_mm, join)
