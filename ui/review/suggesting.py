"""Squares suggested by the engine for a label project that is open in QGIS.

The engine works on a copy of the areas, and QGIS adds the new ones to its layer: so only one program writes the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from qgis.core import QgsFeature, QgsGeometry, QgsVectorLayer

from ...protocol import AREA_RANK, AREA_REASON, AREA_SECONDS, AREA_STATE, SuggestRequest, SuggestResult
from ..client.engine_client import EngineClient, Feedback, NoFeedback
from ..label.project import AREAS, NAME_FIELD, SPLIT_FIELD
from ..layers.vector_snapshot import VectorSnapshot, temporary_folder, text_of

TEXTS, NUMBERS = (NAME_FIELD, SPLIT_FIELD, AREA_STATE, AREA_REASON), (AREA_RANK, AREA_SECONDS)


@dataclass(frozen=True)
class FrozenSuggesting:
    """A request for squares, with the areas that are there; `write` fills in its `output_path`."""

    request: SuggestRequest
    areas: VectorSnapshot

    @classmethod
    def of(cls, request: SuggestRequest, areas: QgsVectorLayer) -> FrozenSuggesting:
        """Freeze the areas. Main thread only.

        Raises:
            OrthomaskError: the layer cannot be used.
        """
        there = {name: name for name in (*TEXTS, *NUMBERS) if areas.fields().lookupField(name) >= 0}
        numbers = {name: there.pop(name) for name in NUMBERS if name in there}
        return cls(request, replace(VectorSnapshot.of(areas, there, numbers=numbers), name=AREAS))

    def write(self, folder: Path, feedback: Feedback) -> SuggestRequest:
        """The request, with its file written; any thread."""
        return replace(self.request, output_path=str(self.areas.write(folder, feedback)))


@dataclass(frozen=True)
class NewSquares:
    """The engine's result, and the attributes and geometry of each square, in the layer's CRS."""

    result: SuggestResult
    squares: tuple[tuple[dict[str, object], QgsGeometry], ...]


class Suggester:
    """Asks the engine for squares and reads them. Has the `call` of `EngineClient`; for any thread."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def call(self, frozen: FrozenSuggesting, feedback: Optional[Feedback] = None) -> NewSquares:
        """Suggest squares; raises what the engine raises."""
        watcher = feedback or NoFeedback()
        with temporary_folder() as folder:
            request = frozen.write(folder, watcher)
            before = _open(request.output_path).featureCount()
            result = self._client.call(request, watcher)
            features: list[QgsFeature] = list(_open(request.output_path).getFeatures())
            return NewSquares(result, tuple(map(_values, features[before:])))


def _open(path: str) -> QgsVectorLayer:
    return QgsVectorLayer(f"{path}|layername={AREAS}", AREAS, "ogr")


def _values(feature: QgsFeature) -> tuple[dict[str, object], QgsGeometry]:
    texts: dict[str, object] = {name: text_of(feature[name]) for name in TEXTS}
    numbers: dict[str, object] = {AREA_RANK: int(feature[AREA_RANK]), AREA_SECONDS: 0.0}
    return {**texts, **numbers}, QgsGeometry(feature.geometry())
