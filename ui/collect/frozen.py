"""A collection as chosen in QGIS, frozen on the main thread; its files are written in the task's thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, cast

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsDataSourceUri,
    QgsFeature,
    QgsGeometry,
    QgsVectorLayer,
)

from ...protocol import Areas, CollectRequest, Sampled, VectorLabels
from ..client.engine_client import EngineClient, Feedback, NoFeedback
from ..client.stages import Stage
from ..label.project import AREAS, CLASS_FIELD
from ..label.sources import FrozenAreas
from ..layers.credentials import public_source
from ..layers.sources import PickedRegion
from ..layers.vector_snapshot import SERVICES, VectorSnapshot, temporary_folder
from .rights import rights_of

ONLY_PART = "restrictToRequestBBOX"
"""Without it, providers of services read a whole layer."""
PLACES_PERCENT, COPIES_PERCENT = 2.0, 20.0
"""Of the whole, at the end of these steps."""


@dataclass(frozen=True)
class Places:
    """Where to collect: areas that exist, or what places are drawn in.

    Attributes:
        snapshot: polygons; None if nothing but weights says where.
        geometries: the areas; empty for drawn places.
    """

    snapshot: Optional[VectorSnapshot]
    crs: QgsCoordinateReferenceSystem
    geometries: tuple[QgsGeometry, ...] = ()

    @classmethod
    def of_region(cls, region: PickedRegion, name: str) -> Places:
        """A region as one area. Main thread only."""
        layer = QgsVectorLayer("MultiPolygon", name, "memory")
        layer.setCrs(region.crs)
        feature = QgsFeature(layer.fields())
        feature.setGeometry(region.geometry)
        layer.dataProvider().addFeatures([feature])
        return cls(VectorSnapshot.of(layer, {}), region.crs, (region.geometry,))

    @classmethod
    def of_layer(cls, layer: QgsVectorLayer, *, only_selected: bool = False) -> Places:
        """The polygons of a layer as areas, with the splits that they have. Main thread only.

        Raises:
            OrthomaskError: the layer cannot be used.
        """
        snapshot = FrozenAreas.of(layer, only_selected=only_selected).snapshot
        features = layer.getSelectedFeatures() if only_selected else layer.getFeatures()
        geometries = (feature.geometry() for feature in features)
        return cls(snapshot, layer.crs(), tuple(shape for shape in geometries if not shape.isEmpty()))


@dataclass(frozen=True)
class FrozenVectors:
    """The polygons of a layer as labels, whose file is not written yet."""

    labels: VectorLabels
    snapshot: VectorSnapshot

    @classmethod
    def of(cls, layer: QgsVectorLayer, class_field: str, class_name: str) -> FrozenVectors:
        """Freeze a layer with its rights; main thread only.

        Raises:
            OrthomaskError: the layer cannot be used.
        """
        columns = {CLASS_FIELD: class_field} if class_field else {}
        told = rights_of(layer)
        labels = VectorLabels(
            path=f"{public_source(layer.source()) or layer.name()} {class_field}",
            class_field=CLASS_FIELD if class_field else "",
            class_name="" if class_field else class_name,
            licence=told[0] if told else "",
            attribution=told[-1] if told else "",
            name=layer.name(),
        )
        return cls(labels, VectorSnapshot.of(in_parts(layer), columns))

    def write(self, folder: Path, feedback: Feedback) -> VectorLabels:
        """The labels for a request; any thread."""
        return replace(self.labels, path=str(self.snapshot.write(folder, feedback)), layer=self.snapshot.layer_name)


@dataclass(frozen=True)
class Collection:
    """A request whose files are not written yet: its paths only tell one such request from another."""

    request: CollectRequest
    places: Places
    vectors: Optional[FrozenVectors]
    context: QgsCoordinateTransformContext

    def with_places(self, folder: Path, feedback: Feedback) -> CollectRequest:
        """The request with the file of its areas, or of what places are drawn in; any thread."""
        snapshot, request = self.places.snapshot, self.request
        if snapshot is None:
            return request
        path = str(snapshot.write(folder, feedback))
        if request.sample is not None:
            return replace(request, sample=replace(request.sample, within=path, within_layer=snapshot.layer_name))
        return replace(request, areas=Areas(path, snapshot.layer_name))

    def labels_in(
        self, shapes: Sequence[QgsGeometry], crs: QgsCoordinateReferenceSystem, folder: Path, feedback: Feedback
    ) -> tuple[VectorLabels, ...]:
        """The labels inside these areas, written; any thread."""
        if self.vectors is None:
            return ()
        inside = self.vectors.snapshot.inside(shapes, crs, self.context)
        return (replace(self.vectors, snapshot=inside).write(folder, feedback),)


class Collector:
    """The engine, for collections. Has the `call` of `EngineClient`; for any thread."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def call(self, collection: Collection, feedback: Optional[Feedback] = None) -> Any:
        """Write the copies of the layers and collect; raises what either raises.

        Labels of a layer are read around the areas only. So places are drawn before, in a request of their own.
        """
        watcher = feedback or NoFeedback()
        with temporary_folder() as folder:
            request = collection.with_places(folder, Stage(watcher, 0, PLACES_PERCENT))
            if collection.vectors is None:
                return self._client.call(request, watcher)
            shapes, crs = collection.places.geometries, collection.places.crs
            if request.sample is not None:
                drawn = self._client.call(_places_only(request.sample, folder), watcher)
                areas = QgsVectorLayer(f"{drawn.project_path}|layername={AREAS}", AREAS, "ogr")
                shapes, crs = tuple(feature.geometry() for feature in areas.getFeatures()), areas.crs()
                request = replace(request, sample=None, areas=Areas(drawn.project_path, AREAS))
            copies = Stage(watcher, PLACES_PERCENT, COPIES_PERCENT)
            vectors = collection.labels_in(shapes, crs, folder, copies)
            return self._client.call(replace(request, vectors=vectors), Stage(watcher, COPIES_PERCENT, 100))


def in_parts(layer: QgsVectorLayer) -> QgsVectorLayer:
    """The layer; of a service, a copy that asks for the wanted part only. Main thread only.

    QGIS's providers keep what they have read, also that a part seems empty because the server failed there.
    """
    if layer.providerType() not in SERVICES or not layer.isValid():
        return layer
    copy, uri = cast(QgsVectorLayer, layer.clone()), QgsDataSourceUri(layer.source())
    if uri.param(ONLY_PART) != "1":
        uri.removeParam(ONLY_PART)
        uri.setParam(ONLY_PART, "1")
        copy.setDataSource(uri.uri(False), layer.name(), layer.providerType())
    return copy


def _places_only(sample: Sampled, folder: Path) -> CollectRequest:
    """The request that only draws the places, into a folder that is deleted afterwards."""
    return CollectRequest(str(folder / "places"), sample=sample)
