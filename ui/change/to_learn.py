"""A reviewed change as an area to check: the model learns from it once its labels are confirmed, and not before."""

from __future__ import annotations

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
)

from ...protocol import (
    AREA_RANK,
    AREA_REASON,
    AREA_SECONDS,
    AREA_STATE,
    AREA_TODO,
    ErrorCode,
    OrthomaskError,
    Review,
    Split,
)
from ..label.attributes import delete_features
from ..label.project import NAME_FIELD, SPLIT_FIELD, LabelProject
from ..layers.ground import ground_units
from ..review.squares import add_squares, squares_of
from ..toolkit.words import in_digits, tr
from .answers import Found
from .layers import KINDS

ROOM, LEAST_M = 2.0, 40.0
"""Side of an area: so many sides of the change, and at least so many metres."""


def add_area(project: LabelProject, found: Found, review: Review, crs: QgsCoordinateReferenceSystem) -> list[int]:
    """Add an area to check around a change, unless one covers it; returns the IDs of what was added.

    Raises:
        OrthomaskError: it cannot be added.
    """
    areas = project.areas
    place = square_around(found.geometry, crs, areas.crs())
    there = [feature.geometry() for feature in areas.getFeatures(place.boundingBox())]
    if any(area.contains(_moved(found.geometry, crs, areas.crs()).centroid()) for area in there):
        return []
    rank = 1 + max((square.rank for square in squares_of(areas)), default=0)
    values: dict[str, object] = {
        NAME_FIELD: tr("change {}").format(in_digits(rank)),
        SPLIT_FIELD: Split.TRAIN.value,
        AREA_STATE: AREA_TODO,
        AREA_REASON: reason(found, review),
        AREA_RANK: rank,
        AREA_SECONDS: 0.0,
    }
    return add_squares(areas, [(values, place)])


def remove_areas(project: LabelProject, numbers: list[int]) -> None:
    """Remove areas that were added, unless somebody has checked them since."""
    checked = {square.number for square in squares_of(project.areas) if square.checked}
    delete_features(project.areas, [number for number in numbers if number not in checked])


def reason(found: Found, review: Review) -> str:
    """Why the area is to be checked."""
    kind = tr(KINDS[found.kind])
    if review is Review.WRONG:
        return tr("The change “{}” was reviewed as wrong").format(kind)
    return tr("The change “{}” was reviewed as right").format(kind)


def square_around(
    geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> QgsGeometry:
    """A square on the ground around a change, in another CRS.

    Raises:
        OrthomaskError: that CRS has no place for it.
    """
    box = _moved(geometry, crs, target).boundingBox()
    east, north = ground_units(target, box)
    side_m = max(LEAST_M, ROOM * max(box.width() * east, box.height() * north))
    extent = QgsRectangle.fromCenterAndSize(box.center(), side_m / east, side_m / north)
    square = QgsGeometry.fromRect(extent)
    square.convertToMultiType()
    return square


def _moved(
    geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> QgsGeometry:
    moved = QgsGeometry(geometry)
    try:
        moved.transform(QgsCoordinateTransform(crs, target, QgsProject.instance()))
    except QgsCsException as error:
        sentence = tr("The change lies outside the CRS of the label project.")
        remedy = tr("Choose a label project of this place.")
        raise OrthomaskError(ErrorCode.REGION_OUTSIDE, sentence, remedy, str(error)) from error
    return moved
