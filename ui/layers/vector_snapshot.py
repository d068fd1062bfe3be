"""Vector layers for the engine: copies, in a temporary GeoPackage, of what QGIS shows at this moment.

A snapshot is taken on the main thread, which is cheap, and written in a task's thread. Filters, selections, joins,
virtual fields and unsaved edits count, whatever the provider, and the layer itself is only read.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsCsException,
    QgsFeature,
    QgsFeatureRequest,
    QgsFields,
    QgsGeometry,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsVectorLayerFeatureSource,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import Qt

from ...protocol import Cancelled, ErrorCode, OrthomaskError
from ..client.engine_client import EngineClient, Feedback, NoFeedback
from ..client.stages import Stage, told
from ..toolkit.present import present
from ..toolkit.words import in_digits, tr
from .sources import straightened

FEATURES_BETWEEN_LOOKS = 500
SERVICES = ("WFS", "OAPIF")
"""Providers that give no features where their server fails, and only log it, under their names."""
PREPARATION_PERCENT = 40.0
"""Of the whole, if pictures are rendered; copying layers takes next to no time."""


@dataclass(frozen=True)
class VectorSnapshot:
    """The polygons of a vector layer and some of its attributes, as they are now. Made by `of`, written by `write`."""

    name: str
    crs: QgsCoordinateReferenceSystem
    fields: QgsFields
    """The file's."""
    indices: tuple[int, ...]
    """The layer's own fields, in the order of `fields`."""
    source: QgsVectorLayerFeatureSource = field(repr=False)
    request: QgsFeatureRequest = field(repr=False)
    boxes: tuple[QgsRectangle, ...] = ()
    """Where features are read, in the layer's CRS; everywhere if there are none."""
    is_service: bool = False

    @classmethod
    def of(
        cls,
        layer: QgsVectorLayer,
        texts: Mapping[str, str],
        *,
        numbers: Optional[Mapping[str, str]] = None,
        only_selected: bool = False,
    ) -> VectorSnapshot:
        """Freeze the layer. Main thread only.

        Args:
            layer: any vector layer with polygons.
            texts: fields of the layer to write as text, by their names in the file.
            numbers: fields to write as numbers, by their names in the file.
            only_selected: only selected features.

        Raises:
            OrthomaskError: the layer is broken, holds no polygons, lacks a field, or has nothing selected.
        """
        wanted = {**texts, **(numbers or {})}
        _require_usable(layer, wanted.values(), only_selected)
        indices = tuple(layer.fields().lookupField(name) for name in wanted.values())
        request = QgsFeatureRequest().setSubsetOfAttributes(list(indices))
        if only_selected:
            request.setFilterFids(layer.selectedFeatureIds())
        kinds = [f"field={name}:string" for name in texts] + [f"field={name}:double" for name in numbers or ()]
        fields = QgsVectorLayer(f"NoGeometry?{'&'.join(kinds)}", "", "memory").fields()
        source, is_service = QgsVectorLayerFeatureSource(layer), layer.providerType() in SERVICES
        return cls(layer.name(), layer.crs(), fields, indices, source, request, is_service=is_service)

    def inside(
        self,
        places: Sequence[QgsGeometry],
        crs: QgsCoordinateReferenceSystem,
        context: Optional[QgsCoordinateTransformContext] = None,
    ) -> VectorSnapshot:
        """The same around these places only, one request to the layer's provider for each; any thread.

        A service such as WFS is then read in small parts, and never whole.

        Raises:
            OrthomaskError: a place cannot be transformed to the layer's CRS.
        """
        transform = QgsCoordinateTransform(crs, self.crs, context or QgsCoordinateTransformContext())
        try:
            boxes = tuple(transform.transformBoundingBox(place.boundingBox()) for place in places)
        except QgsCsException as error:
            sentence = tr("The areas lie outside the CRS of the layer {}.").format(self.name)
            remedy = tr("Choose areas that the layer covers.")
            raise OrthomaskError(ErrorCode.LABELS_CRS, sentence, remedy, str(error)) from error
        return replace(self, boxes=boxes)

    def write(self, folder: Path, feedback: Optional[Feedback] = None) -> Path:
        """Write a GeoPackage into the folder, in the order and CRS of the layer; any thread.

        File and layer have the layer's name, for the engine's messages. Curves are segmentized, Z and M are dropped,
        and other geometries are left out.

        Raises:
            Cancelled: the feedback was cancelled.
            OrthomaskError: the file cannot be written, or the layer's server failed.
        """
        with _server_failures() as failures:
            path = self._write(folder, feedback)
        if self.is_service and failures:
            path.unlink()
            sentence = tr("The server of the layer {} failed.").format(self.name)
            raise OrthomaskError(ErrorCode.NETWORK, sentence, tr("Try again later."), "\n".join(failures))
        return path

    def _write(self, folder: Path, feedback: Optional[Feedback]) -> Path:
        path = _free_path(folder, self.layer_name)
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName, options.layerName = "GPKG", self.layer_name
        kind, context = QgsWkbTypes.Type.MultiPolygon, QgsCoordinateTransformContext()
        writer = QgsVectorFileWriter.create(str(path), self.fields, kind, self.crs, context, options)
        fine, ended = QgsVectorFileWriter.WriterError.NoError, True
        if writer.hasError() == fine:
            ended = self._write_features(writer, feedback or NoFeedback())
        failure = "" if writer.hasError() == fine else writer.errorMessage()
        del writer  # closes the file; else a kept error would keep it open
        if not ended:
            raise Cancelled
        if failure:
            sentence = tr("The layer {} cannot be copied for the engine.").format(self.name)
            remedy = tr("Free some space in the folder for temporary files, then try again.")
            raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy, failure)
        if self.crs.isValid() and not self.crs.authid().startswith("EPSG:"):
            _state_crs(path, self.crs)
        return path

    @property
    def layer_name(self) -> str:
        """The layer's name, made valid for a GeoPackage and a file system."""
        name = file_name(self.name)
        return f"_{name}" if name.lower().startswith(("gpkg", "rtree", "sqlite")) else name

    def _write_features(self, writer: QgsVectorFileWriter, feedback: Feedback) -> bool:
        """Write to the end, or until the writer fails and keeps its error; False if cancelled."""
        as_text, written = [not field.isNumeric() for field in self.fields.toList()], 0
        for number, feature in enumerate(self._features()):
            if number % FEATURES_BETWEEN_LOOKS == 0:
                if feedback.isCanceled():
                    return False
                if written:
                    feedback.setProgressText(tr("Reading {}: {} polygons").format(self.name, in_digits(written)))
            geometry = flat_polygons(feature.geometry())
            if geometry is None:
                continue
            values = (feature.attribute(index) for index in self.indices)
            copy = QgsFeature(self.fields)
            copy.setGeometry(geometry)
            copy.setAttributes([text_of(value) if text else value for text, value in zip(as_text, values)])
            if not writer.addFeature(copy):
                return True
            written += 1
        feedback.setProgressText(tr("Reading {}: {} polygons").format(self.name, in_digits(written)))
        return True

    def _features(self) -> Iterator[QgsFeature]:
        """The features, each once, though it may lie in several boxes."""
        seen: set[int] = set()
        for box in self.boxes or (None,):
            request = QgsFeatureRequest(self.request)
            if box is not None:
                request.setFilterRect(box)
            for feature in self.source.getFeatures(request):
                if feature.id() not in seen:
                    seen.add(feature.id())
                    yield feature


class SnapshotClient:
    """The engine, for requests whose files are written only now.

    It is called like `EngineClient`, with a function instead of a request: the function gets a temporary folder and
    the feedback, writes the snapshots there, and returns the request. The folder is deleted when the call ends.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def call(self, prepare: Callable[[Path, Feedback], object], feedback: Optional[Feedback] = None) -> Any:
        """Write the snapshots and ask the engine, in this thread; raises what either raises."""
        watcher = feedback or NoFeedback()
        with temporary_folder() as folder:
            preparation = Stage(watcher, 0, PREPARATION_PERCENT)
            request = prepare(folder, preparation)
            return told(request, self._client.call(request, Stage(watcher, preparation.reached, 100)))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is deleted afterwards, if the system allows it."""
    folder = Path(tempfile.mkdtemp(prefix="orthomask-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def flat_polygons(geometry: QgsGeometry) -> Optional[QgsGeometry]:
    """The polygons of a geometry as a multipolygon, without curves, Z and M; None if there are none.

    Nothing is repaired: the engine does that, and counts it.
    """
    if geometry.isNull() or geometry.isEmpty():
        return None
    straight = straightened(geometry)
    polygonal = QgsWkbTypes.GeometryType.PolygonGeometry
    if straight.type() != polygonal:
        parts = [part for part in straight.asGeometryCollection() if part.type() == polygonal]
        if not parts:
            return None
        straight = QgsGeometry.collectGeometry(parts)
    straight.convertToMultiType()
    return straight


def text_of(value: object) -> str:
    """An attribute's value as text: whole numbers without a fraction, NULL as the empty text."""
    if value is None or (hasattr(value, "isNull") and value.isNull()):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip()


def file_name(name: str) -> str:
    """A layer's name, made valid for file systems."""
    return re.sub(r"[^\w .()-]+", "_", name).strip(" .")[:60] or "layer"


@contextmanager
def _server_failures() -> Iterator[list[str]]:
    """What the providers of services log meanwhile, in whichever thread."""
    failures: list[str] = []

    def note(words: str, tag: str, level: Any) -> None:
        if tag in SERVICES and level in (Qgis.MessageLevel.Warning, Qgis.MessageLevel.Critical):
            failures.append(words)

    told: Any = present(QgsApplication.messageLog()).messageReceived
    told.connect(note, Qt.ConnectionType.DirectConnection)  # at once: the task would have ended before
    try:
        yield failures
    finally:
        told.disconnect(note)


def _free_path(folder: Path, name: str) -> Path:
    path, number = folder / f"{name}.gpkg", 2
    while path.exists():
        path, number = folder / f"{name} {number}.gpkg", number + 1
    return path


def _require_usable(layer: QgsVectorLayer, wanted: Iterable[str], only_selected: bool) -> None:
    name = layer.name()
    if not layer.isValid():
        sentence, remedy = tr("The layer {} cannot be read."), tr("Repair its data source.")
        raise OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence.format(name), remedy, layer.source())
    kinds = (QgsWkbTypes.GeometryType.PolygonGeometry, QgsWkbTypes.GeometryType.UnknownGeometry)
    if layer.geometryType() not in kinds:
        sentence, remedy = tr("The layer {} contains no polygons."), tr("Choose a layer of polygons.")
        raise OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence.format(name), remedy)
    missing = [field for field in wanted if layer.fields().lookupField(field) < 0]
    if missing:
        sentence = tr("The layer {} has no attribute “{}”.").format(name, missing[0])
        raise OrthomaskError(ErrorCode.LABELS_CLASSES, sentence, tr("Choose another attribute."))
    if only_selected and layer.selectedFeatureCount() == 0:
        sentence = tr("Nothing is selected in the layer {}.").format(name)
        raise OrthomaskError(
            ErrorCode.LABELS_EMPTY, sentence, tr("Select polygons in it, or turn “Only selected” off.")
        )


def _state_crs(path: Path, crs: QgsCoordinateReferenceSystem) -> None:
    """Write a layer's CRS into its copy; GDAL guesses a code, and mistakes UTM in feet for UTM in metres."""
    with closing(sqlite3.connect(str(path))) as file, file:
        file.execute(
            "UPDATE gpkg_spatial_ref_sys SET organization = 'NONE', definition = ? "
            "WHERE srs_id = (SELECT srs_id FROM gpkg_geometry_columns)",
            (crs.toWkt(),),
        )
