"""Squares of a label project: areas that were suggested, each with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qgis.core import QgsFeature, QgsGeometry, QgsVectorLayer, QgsVectorLayerUtils

from ...protocol import AREA_CHECKED, AREA_RANK, AREA_REASON, AREA_SECONDS, AREA_STATE, AREA_TODO, Split
from ..label.attributes import AREA_ATTRIBUTES, complete, require_free, write_features, write_values
from ..label.project import NAME_FIELD, SPLIT_FIELD
from ..layers.vector_snapshot import text_of


@dataclass(frozen=True)
class Square:
    """A square of the layer `areas`, by its ID there.

    Attributes:
        geometry: in the layer's CRS.
        seconds: how long a person has reviewed it.
    """

    number: int
    name: str
    split: Split
    checked: bool
    reason: str
    rank: int
    seconds: float
    geometry: QgsGeometry


def squares_of(areas: QgsVectorLayer) -> list[Square]:
    """The squares that are in the layer's file, in the order of checking."""
    if areas.fields().lookupField(AREA_REASON) < 0:
        return []
    found = [_square(feature) for feature in areas.getFeatures() if feature.id() >= 0]
    return sorted((square for square in found if square.reason), key=lambda square: (square.rank, square.number))


def add_squares(areas: QgsVectorLayer, new: Sequence[tuple[dict[str, object], QgsGeometry]]) -> list[int]:
    """Add squares to the layer's file; unsaved edits of the layer stay as they are. Main thread only.

    Returns their IDs.

    Args:
        new: attributes and geometry of each.

    Raises:
        OrthomaskError: they cannot be added.
    """
    require_free(areas)
    complete(areas, AREA_ATTRIBUTES)
    fields = areas.fields()
    features = [
        QgsVectorLayerUtils.createFeature(
            areas, geometry, {fields.lookupField(name): value for name, value in values.items()}
        )
        for values, geometry in new
    ]
    return write_features(areas, features)


def mark_checked(areas: QgsVectorLayer, square: Square, seconds: float) -> None:
    """Save that a square was checked, and how long that took.

    Raises:
        OrthomaskError: it cannot be saved.
    """
    values = {AREA_STATE: AREA_CHECKED, AREA_SECONDS: round(square.seconds + seconds, 1)}
    complete(areas, AREA_ATTRIBUTES)
    write_values(areas, square.number, values)


def take_back(areas: QgsVectorLayer, square: Square) -> None:
    """Save that a square is to be checked again.

    Raises:
        OrthomaskError: it cannot be saved.
    """
    write_values(areas, square.number, {AREA_STATE: AREA_TODO})


def seconds_left(squares: Sequence[Square]) -> float:
    """How long the others take if they take as long as those checked; 0 if none was timed."""
    timed = [square.seconds for square in squares if square.checked and square.seconds > 0]
    return sum(timed) / len(timed) * sum(not square.checked for square in squares) if timed else 0.0


def _square(feature: QgsFeature) -> Square:
    def text(name: str) -> str:
        index = feature.fieldNameIndex(name)
        return text_of(feature.attribute(index)) if index >= 0 else ""

    return Square(
        number=feature.id(),
        name=text(NAME_FIELD),
        split=next((split for split in Split if split.value == text(SPLIT_FIELD)), Split.TODO),
        checked=text(AREA_STATE) == AREA_CHECKED,
        reason=text(AREA_REASON),
        rank=int(text(AREA_RANK) or 0),
        seconds=float(text(AREA_SECONDS) or 0),
        geometry=QgsGeometry(feature.geometry()),
    )
