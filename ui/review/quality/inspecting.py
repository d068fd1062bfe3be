"""Asks the engine for the probable faults of a project's labels, as they are now with all edits, and reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsFeature, QgsGeometry, QgsVectorLayer

from ....protocol import FINDINGS, ErrorCode, Fault, InspectRequest, InspectResult, OrthomaskError, Shift
from ....protocol.matching import finds_any, fitted
from ...client.engine_client import EngineClient, Feedback
from ...label.project import CLASS_FIELD, LabelProject
from ...label.sources import FrozenAreas, LabelSource
from ...layers.vector_snapshot import SnapshotClient, text_of
from ...runs.results import Run
from ...toolkit.words import tr

Prepare = Callable[[Path, Feedback], InspectRequest]
ALIKE = 0.5
"""IoU from which a finding is one that was dismissed before: outlines change with labels and runs."""


@dataclass(frozen=True)
class Finding:
    """A probable fault.

    Attributes:
        geometry: in the CRS of the labels.
        step: how far to move the labels, in units of that CRS; None if it is no shift.
        way: the same in words.
        everywhere: it is the shift of all labels.
    """

    kind: Fault
    reason: str
    geometry: QgsGeometry
    step: Optional[tuple[float, float]] = None
    way: str = ""
    everywhere: bool = False

    def is_like(self, other: Finding) -> bool:
        """Whether both say the same of the same place."""
        if self.kind is not other.kind or not self.geometry.boundingBoxIntersects(other.geometry.boundingBox()):
            return False
        shared = self.geometry.intersection(other.geometry).area()
        return bool(shared >= ALIKE * (self.geometry.area() + other.geometry.area() - shared))


@dataclass(frozen=True)
class Inspected:
    """The engine's result, and its findings, worst first."""

    result: InspectResult
    findings: tuple[Finding, ...]


class Inspector:
    """Inspects with the engine and reads the findings. Has the `call` of `EngineClient`; for any thread."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def call(self, prepare: Prepare, feedback: Optional[Feedback] = None) -> Inspected:
        """Write the copies, inspect, and read; raises what the engine raises."""
        result: Any = SnapshotClient(_Reading(self._client)).call(prepare, feedback)  # type: ignore[arg-type]
        return Inspected(*result)


class _Reading:
    """The engine, with the findings read while their file is there."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def call(self, request: InspectRequest, feedback: Optional[Feedback] = None) -> tuple[InspectResult, Any]:
        result = self._client.call(request, feedback)
        return result, tuple(_read(result.findings_path, result.shift is not None))


def frozen(run: Run, project: LabelProject) -> Prepare:
    """What writes the labels and areas as they are now, and makes the request. Main thread only.

    Without areas, the whole image is inspected.

    Raises:
        OrthomaskError: a layer cannot be used, or the run's model has no class of the labels.
    """
    own = {str(info.value): info.name for info in project.classes}
    there = project.labels.uniqueValues(project.labels.fields().lookupField(CLASS_FIELD))
    values = {**own, **{text: own.get(text, text) for text in map(text_of, there)}}
    mapping = fitted(list(values.items()), run.classes)
    if not finds_any(mapping):
        names = ", ".join(f"“{name}”" for name in own.values())
        sentence = tr("The model finds no class of the labels: {}.").format(names)
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES, sentence, tr("Choose a model of these classes, or other labels.")
        )
    labels = LabelSource(project.labels, CLASS_FIELD, mapping).freeze()
    areas = FrozenAreas.of(project.areas) if project.areas.featureCount() else None

    def prepare(folder: Path, feedback: Feedback) -> InspectRequest:
        drawn = labels.write(folder, feedback)
        around = areas.write(folder, feedback) if areas else None
        return InspectRequest((drawn,), str(folder / "found" / "findings.gpkg"), around, run_dir=str(run.folder))

    return prepare


def _read(path: str, shifted: bool) -> Iterator[Finding]:
    """The findings in a file, in its order.

    Args:
        shifted: the first one is the shift of all labels.
    """
    layer = QgsVectorLayer(f"{path}|layername={FINDINGS}", FINDINGS, "ogr")
    for number, feature in enumerate(layer.getFeatures()):
        kind = Fault(feature["kind"])
        shift = _shift(feature) if kind is Fault.SHIFTED else None
        step, way = ((shift.x, shift.y), shift.in_words) if shift else (None, "")
        yield Finding(kind, str(feature["reason"]), QgsGeometry(feature.geometry()), step, way, shifted and not number)


def _shift(feature: QgsFeature) -> Shift:
    east, north, x, y = (float(feature[name]) for name in ("east_m", "north_m", "x", "y"))
    return Shift(east, north, 0.0, 0, x, y)
