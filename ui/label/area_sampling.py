"""Areas placed by the engine and added to a QGIS layer, whether or not it is being edited."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, cast

from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsMapLayer,
    QgsRasterLayer,
    QgsVectorLayer,
    QgsVectorLayerUtils,
)

from ...protocol import AREA_STATE, AREA_TODO, AreasRequest, AreasResult, ErrorCode, OrthomaskError
from ..client.engine_client import EngineClient, Feedback, NoFeedback
from ..layers.images import FrozenImage, written
from ..layers.sources import image_of
from ..layers.vector_snapshot import VectorSnapshot, temporary_folder
from ..toolkit.words import tr
from .class_table import matched, values_of
from .project import AREAS, NAME_FIELD, SPLIT_FIELD
from .sources import FrozenAreas, FrozenLabels, LabelSource, is_labels_layer

WEIGHT_FIELD = "weight"
PIXELS_ACROSS = 64.0
"""Pixels per area side in a map service's picture: enough to see where it has data, and to place areas."""


@dataclass(frozen=True)
class FrozenSampling:
    """A request for areas whose files are not written yet.

    Attributes:
        request: `write` fills in its `output_path` and what follows here.
        image: where to place areas.
        existing: existing areas.
        weights: polygons to sample places from, with a number `weight` each, or with equal weights.
    """

    request: AreasRequest
    image: FrozenImage
    existing: Optional[FrozenAreas] = None
    weights: Optional[VectorSnapshot] = None
    strata: Optional[FrozenLabels] = None

    def write(self, folder: Path, feedback: Feedback) -> AreasRequest:
        """The request, with its files written; any thread."""
        request = replace(self.request, image=written(self.image, folder, feedback))
        if self.existing is not None:
            areas = replace(self.existing.snapshot, name=AREAS).write(folder, feedback)
            request = replace(request, output_path=str(areas))
        if self.weights is not None:
            path = self.weights.write(folder, feedback)
            field = WEIGHT_FIELD if self.weights.fields.count() else ""
            layer = self.weights.layer_name
            request = replace(request, weight_path=str(path), weight_layer=layer, weight_field=field)
        if self.strata is not None:
            request = replace(request, strata=self.strata.write(folder, feedback))
        return request


def frozen_weights(layer: Optional[QgsMapLayer], field: str) -> tuple[str, Optional[VectorSnapshot]]:
    """The weights in a layer: the path of a raster, or a snapshot of polygons; neither without a layer.

    Raises:
        OrthomaskError: the layer cannot be used.
    """
    if isinstance(layer, QgsRasterLayer):
        return image_of(layer).path, None
    if layer is None:
        return "", None
    return "", VectorSnapshot.of(cast(QgsVectorLayer, layer), {}, numbers={WEIGHT_FIELD: field} if field else {})


def frozen_strata(layer: QgsMapLayer, field: str) -> FrozenLabels:
    """The classes to stratify by: the values of a layer's attribute, or of a raster.

    Raises:
        OrthomaskError: the layer cannot be used.
    """
    source = LabelSource(layer, field)
    if field and not is_labels_layer(layer):
        source = replace(source, mapping=tuple(matched(values_of(layer, field), ())[1]))
    return source.freeze()


@dataclass(frozen=True)
class NewAreas:
    """Areas from the engine: its result, and each area's name, split and shape, in the layer's CRS."""

    result: AreasResult
    areas: tuple[tuple[str, str, QgsGeometry], ...]


class AreaSampler:
    """Samples areas with the engine and reads them. Has the `call` of `EngineClient`; for any thread."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def call(self, sampling: FrozenSampling, feedback: Optional[Feedback] = None) -> NewAreas:
        """Place areas; raises what the engine raises."""
        watcher = feedback or NoFeedback()
        with temporary_folder() as folder:
            request = sampling.write(folder, watcher)
            before = _count(request.output_path)
            result = self._client.call(request, watcher)
            return NewAreas(result, _read(request.output_path, before))


def add_areas(layer: QgsVectorLayer, new: NewAreas) -> None:
    """Add areas to the layer's edits if it is being edited, else to its file. Main thread only.

    Raises:
        OrthomaskError: they cannot be added.
    """
    fields = layer.fields()
    name, split, state = (fields.lookupField(field) for field in (NAME_FIELD, SPLIT_FIELD, AREA_STATE))
    undone = {state: AREA_TODO} if state >= 0 else {}
    features = [
        QgsVectorLayerUtils.createFeature(layer, geometry, {name: label, split: part, **undone})
        for label, part, geometry in new.areas
    ]
    if layer.isEditable():
        layer.beginEditCommand("areas")
        added = layer.addFeatures(features)
        layer.endEditCommand()
    else:
        added, _ = layer.dataProvider().addFeatures(features)
        layer.updateExtents()
    if not added:
        sentence = tr("The file of {} cannot be written.").format(layer.name())
        remedy = tr("Copy the label project to a folder of your own, and open it there.")
        raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy, "\n".join(layer.dataProvider().errors()))
    layer.triggerRepaint()
    layer.dataChanged.emit()


def _open(path: str) -> QgsVectorLayer:
    return QgsVectorLayer(f"{path}|layername={AREAS}", AREAS, "ogr")


def _count(path: str) -> int:
    return int(_open(path).featureCount())


def _read(path: str, first: int) -> tuple[tuple[str, str, Any], ...]:
    """The areas from number `first` on."""
    features: list[QgsFeature] = list(_open(path).getFeatures())
    return tuple((f[NAME_FIELD], f[SPLIT_FIELD], QgsGeometry(f.geometry())) for f in features[first:])
