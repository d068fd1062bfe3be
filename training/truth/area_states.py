"""Areas: what each is for, and whether it is done.

It is once it holds a label, or somebody confirmed that nothing is there; a suggested one once somebody has checked it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely

from ...engine.shapes.vector_files import choose_layer, fields_of
from ...protocol import AREA_CHECKED, AREA_REASON, AREA_STATE, AREA_TODO, Areas, ErrorCode, OrthomaskError, Split
from ...protocol.words import tr, tr_n
from .placing import Grid
from .vectors import read_polygons


class TruthArea(NamedTuple):
    """An area, in pixels of the grid.

    Attributes:
        state: `todo`, `checked`, or something that says nothing.
    """

    name: str
    split: Split
    polygon: shapely.Geometry
    state: str = ""


def read_areas(areas: Areas, grid: Grid) -> tuple[tuple[TruthArea, ...], tuple[str, ...]]:
    """The areas that touch a grid, and warnings on those repaired or left out. Unchecked squares are still to do.

    Raises:
        OrthomaskError: none has complete labels, or a split is not known.
    """
    layer = choose_layer(areas.path, areas.layer, "areas")
    wanted = ("name", areas.split_field, AREA_STATE, AREA_REASON)
    columns = [name for name in wanted if name in fields_of(areas.path, layer)]
    read = read_polygons(areas.path, layer, columns, areas.crs, grid)
    count = len(read.geometries)
    names = read.columns.get("name", [""] * count)
    splits = [_split(text) for text in read.columns.get(areas.split_field, [Split.TRAIN.value] * count)]
    states = read.columns.get(AREA_STATE, [""] * count)
    reasons = read.columns.get(AREA_REASON, [""] * count)
    unchecked = [bool(why) and state != AREA_CHECKED for why, state in zip(reasons, states)]
    splits = [Split.TODO if undone else split for split, undone in zip(splits, unchecked)]
    if all(split is Split.TODO for split in splits):
        why = _all_to_do(count) if count else tr("No area lies on the image.")
        remedy = tr("Set the split of the labelled areas to train, validation or test.")
        if any(unchecked):
            remedy = tr("Check some squares in the Review panel.")
        raise OrthomaskError(
            ErrorCode.AREAS_EMPTY,
            why if read.tally.features else tr("There are no areas in “{}”.").format(layer),
            remedy if count else tr("Draw an area on the image and label everything inside it, or work without areas."),
        )
    named = zip(names, splits, read.geometries, states)
    found = (
        TruthArea(name or f"area {n}", split, area, state) for n, (name, split, area, state) in enumerate(named, 1)
    )
    words = tr_n(
        "{} suggested square is left out: it is not checked yet.",
        "{} suggested squares are left out: they are not checked yet.",
        sum(unchecked),
    )
    told = (words.format(sum(unchecked)),) if any(unchecked) else ()
    return tuple(found), (*read.tally.warnings(on_image=True), *told)


def settled(
    areas: Sequence[TruthArea], labels: Sequence[shapely.Geometry]
) -> tuple[tuple[TruthArea, ...], tuple[str, ...]]:
    """The areas, left to do if their state says so and no label lies in them, and a warning that counts these.

    Other values of the state, or none, say nothing: other programs have columns of that name.

    Raises:
        OrthomaskError: none is left.
    """
    tree = shapely.STRtree(labels)
    started = [area.split is not Split.TODO and area.state == AREA_TODO for area in areas]
    empty = [begun and not len(labels_in(area.polygon, tree)) for area, begun in zip(areas, started)]
    count = sum(empty)
    left = tuple(area._replace(split=Split.TODO) if gone else area for area, gone in zip(areas, empty))
    if count and all(area.split is Split.TODO for area in left):
        remedy = tr("Draw what is in them; if nothing is there, confirm that in the Label panel.")
        raise OrthomaskError(ErrorCode.AREAS_EMPTY, _all_to_do(len(areas)), remedy)
    words = tr_n(
        "{} area without labels is left out: is nothing there, or not drawn yet?",
        "{} areas without labels are left out: is nothing there, or not drawn yet?",
        count,
    )
    return left, (words.format(count),) if count else ()


def labels_in(area: shapely.Geometry, labels: shapely.STRtree) -> np.ndarray:
    """Numbers of the labels that cover part of an area; one that only touches it belongs to a neighbour."""
    near = labels.query(area, predicate="intersects")
    return np.asarray(near[~shapely.touches(area, labels.geometries[near])])


def _all_to_do(count: int) -> str:
    return tr("All {} areas on the image are still to do.").format(count)


def _split(text: str) -> Split:
    """The split with this name; an area without one is still to do."""
    try:
        return Split(text.lower() or Split.TODO)
    except ValueError as error:
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            tr("“{}” is not a valid split for an area.").format(text),
            tr("Use train, validation, test or todo."),
        ) from error
