"""Compare the objects of two runs over the same ground: gained, lost or reshaped, and whether that is right.

Objects of one run do not overlap each other, so two that share more than half of their joint area are each other's
only match, wherever else they reach: the ground is compared block by block, and each object in the block of its centre.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj
import shapely

from ...engine.outputs import refuse_in_use, writing
from ...engine.progress import Progress
from ...engine.shapes.layers import write_layer
from ...engine.shapes.measure import measured
from ...protocol import CompareRequest, CompareResult, ErrorCode, Existing, OrthomaskError
from ...protocol.words import tr
from . import verdicts
from .run_objects import Box, Objects, RunObjects, around, open_run
from .verdicts import RIGHT, WRONG, Known, Verdict, open_known, overlaps

LAYER = "differences"
GAINED, LOST, RESHAPED = "gained", "lost", "reshaped"
MATCH_IOU, SAME_IOU = 0.5, 0.9
"""Above the first, two objects are the same; from the second on, with the same outline."""
BLOCK_OBJECTS = 20_000
"""About so many objects of each run are in memory at a time."""


class Difference(NamedTuple):
    """An object that differs: its number in the earlier and in the later run, -1 for none, and the IoU of the two.

    For an object in one run only, the IoU is that with the best one of the other run.
    """

    kind: str
    before: int
    after: int
    iou: float


def run(request: CompareRequest, progress: Progress) -> CompareResult:
    """Write the layer `differences` of a GeoPackage, whole or not at all.

    Raises:
        OrthomaskError: a folder holds no run, the runs share no ground, the labels have other classes, or the file
            exists or cannot be written.
    """
    target = Path(request.output_path)
    progress.report(0, tr("Comparing two runs"))
    before, after = open_run(request.before), open_run(request.after)
    _refuse(request, target, before, after)
    ground = _ground(before, after)
    known, warnings = open_known(request.truth, before.classes, before.crs, ground)
    shared = _shared(before, after)
    kinds, judged = Counter[str](), Counter[str]()
    partial = target.with_name(f".{target.stem}.partial.gpkg")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
    try:
        blocks = _blocks(ground, max(before.count, after.count))
        for number, block in enumerate(blocks):
            progress.report(number / len(blocks), tr("Comparing block {} of {}").format(number + 1, len(blocks)))
            sides = _read(before, after, block)
            found = [each for each in differences(*sides, block) if _is_in(shared, _outline(each, *sides))]
            said = judge(found, *sides, known)
            _write(partial, found, said, *sides, before.crs)
            kinds.update(each.kind for each in found)
            judged.update(each.value for each in said)
        with writing(target):
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    if shared is not None:
        warnings += (tr("The runs cover different regions: only what lies in both is compared."),)
    counts = {kind: kinds[kind] for kind in (GAINED, LOST, RESHAPED)}
    return CompareResult(str(target), counts, judged[RIGHT], judged[WRONG], warnings)


def differences(before: Objects, after: Objects, block: Box) -> list[Difference]:
    """What differs between two runs, of the objects whose centre lies in a block; a match lies in the earlier one's."""
    here, there, iou = overlaps(before, after, shapely.STRtree(after.outlines))
    of_before, of_after = _best(here, there, iou, len(before.outlines)), _best(there, here, iou, len(after.outlines))
    partner = np.array([_partner(number, of_before, of_after) for number in range(len(before.outlines))], int)
    taken = set(partner.tolist())
    own_before, own_after = before.centred_in(block), after.centred_in(block)
    found = []
    for number in np.flatnonzero(own_before).tolist():
        best = of_before[number][0]
        if partner[number] < 0:
            found.append(Difference(LOST, number, -1, best))
        elif best < SAME_IOU:
            found.append(Difference(RESHAPED, number, int(partner[number]), best))
    new = (number for number in np.flatnonzero(own_after).tolist() if number not in taken)
    return found + [Difference(GAINED, -1, number, of_after[number][0]) for number in new]


def _best(of: np.ndarray, others: np.ndarray, iou: np.ndarray, count: int) -> list[tuple[float, int]]:
    """For each of `count` objects its highest IoU, and with which other one; -1 for none."""
    best = [(0.0, -1)] * count
    for number, other, value in zip(of.tolist(), others.tolist(), iou.tolist()):
        best[number] = max(best[number], (value, other))
    return best


def _partner(number: int, of_before: Sequence[tuple[float, int]], of_after: Sequence[tuple[float, int]]) -> int:
    """The later object that is the same as an earlier one: the best for each other; -1 for none."""
    iou, other = of_before[number]
    return other if iou > MATCH_IOU and of_after[other][1] == number else -1


def judge(found: Sequence[Difference], before: Objects, after: Objects, known: Known) -> list[Verdict]:
    """Whether each difference is right."""
    outlines = np.array([_outline(each, before, after) for each in found], object)
    said = [verdicts.unknown()] * len(found)
    checked = np.flatnonzero(known.holds(outlines)).tolist()
    first = _ious([found[number].before for number in checked], before, known)
    last = _ious([found[number].after for number in checked], after, known)
    for number, iou_before, iou_after in zip(checked, first, last):
        kind = found[number].kind
        if kind == RESHAPED:
            said[number] = verdicts.reshaped(iou_before, iou_after)
        else:
            said[number] = verdicts.gained(iou_after) if kind == GAINED else verdicts.lost(iou_before)
    return said


def _ious(numbers: Sequence[int], objects: Objects, known: Known) -> list[float]:
    """IoU with a label of each object by number; 0 for -1."""
    there = np.array([number for number in numbers if number >= 0], int)
    ious = iter(known.iou(objects.chosen(there)).tolist())
    return [next(ious) if number >= 0 else 0.0 for number in numbers]


def _outline(each: Difference, before: Objects, after: Objects) -> shapely.Geometry:
    """The later outline; of a lost object the earlier one."""
    return before.outlines[each.before] if each.after < 0 else after.outlines[each.after]


def _read(before: RunObjects, after: RunObjects, block: Box) -> tuple[Objects, Objects]:
    """The objects of both runs that a block needs: its own, and all that touch these."""
    sides = [side.within(block, before.crs) for side in (before, after)]
    boxes = [side.chosen(side.centred_in(block)).bounds() for side in sides]
    there = [box for box in boxes if box is not None]
    if not there:
        return sides[0].chosen(np.empty(0, int)), sides[1].chosen(np.empty(0, int))
    wide = around(there)
    return before.within(wide, before.crs), after.within(wide, before.crs)


def _write(
    path: Path, found: Sequence[Difference], said: Sequence[Verdict], before: Objects, after: Objects, crs: pyproj.CRS
) -> None:
    outlines = np.array([_outline(each, before, after) for each in found], object)
    classes = [before.classes[each.before] if each.after < 0 else after.classes[each.after] for each in found]
    columns = {
        "kind": np.array([each.kind for each in found], object),
        "verdict": np.array([each.value for each in said], object),
        "class": np.array(classes, object),
        "iou": np.round(np.array([each.iou for each in found], float), 3),
        "before_m2": _areas([each.before for each in found], before, crs),
        "after_m2": _areas([each.after for each in found], after, crs),
        "reason": np.array([each.reason for each in said], object),
    }
    wkb = shapely.to_wkb(_multi(outlines))
    write_layer(path, LAYER, columns, wkb, "MultiPolygon", crs.to_wkt())


def _multi(outlines: np.ndarray) -> np.ndarray:
    parts, owners = shapely.get_parts(outlines, return_index=True)
    return np.asarray(shapely.multipolygons(parts, indices=owners)) if len(outlines) else outlines


def _areas(numbers: Sequence[int], objects: Objects, crs: pyproj.CRS) -> np.ndarray:
    """Ellipsoidal areas of objects by number, m²; 0 for -1."""
    areas = np.zeros(len(numbers))
    there = [row for row, number in enumerate(numbers) if number >= 0]
    if there:
        chosen = objects.outlines[[numbers[row] for row in there]]
        parts, owners = shapely.get_parts(chosen, return_index=True)
        areas[there] = np.bincount(owners, measured(parts, crs)[0], len(there))
    return np.round(areas, 2)


def _blocks(ground: Box, count: int) -> list[Box]:
    """Boxes that cover the plane without overlap, about as many objects in each; the outer ones have no outer edge."""
    across = max(1, math.ceil(math.sqrt(count / BLOCK_OBJECTS)))
    left, bottom, right, top = ground
    columns, rows = (np.linspace(*ends, across + 1).tolist() for ends in ((left, right), (bottom, top)))
    margin = max(right - left, top - bottom, 1e-9)
    for edges in (columns, rows):
        edges[0] -= margin
        edges[-1] += margin
    return [(x, y, x_end, y_end) for y, y_end in pairwise(rows) for x, x_end in pairwise(columns)]


def _ground(before: RunObjects, after: RunObjects) -> Box:
    """The bounds of both, in the CRS of the earlier run.

    Raises:
        OrthomaskError: they lie apart.
    """
    boxes = [box for box in (before.bounds, after.bounds_in(before.crs)) if box is not None]
    if len(boxes) == 2 and not shapely.box(*boxes[0]).intersects(shapely.box(*boxes[1])):
        raise OrthomaskError(
            ErrorCode.REGION_OUTSIDE, tr("The two runs do not overlap."), tr("Choose two runs of the same place.")
        )
    if not boxes:
        return 0.0, 0.0, 1.0, 1.0
    return around(boxes)


def _shared(before: RunObjects, after: RunObjects) -> shapely.Geometry | None:
    """The ground that both runs cover; None if that is all of it."""
    one = before.region
    other = after.region_in(before.crs)
    if one is None or other is None:
        return one if other is None else other
    return None if one.equals(other) else one.intersection(other)


def _is_in(shared: shapely.Geometry | None, outline: shapely.Geometry) -> bool:
    return shared is None or bool(shapely.contains(shared, shapely.point_on_surface(outline)))


def _refuse(request: CompareRequest, target: Path, before: RunObjects, after: RunObjects) -> None:
    """Raise if the layer would replace something that shall be kept."""
    if target.resolve() in (Path(before.path).resolve(), Path(after.path).resolve()):
        sentence = tr("“{}” holds the polygons of a run.").format(target)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Choose another name."))
    if target.exists() and request.existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” already exists.").format(target),
            tr("Choose another name, or overwrite it."),
        )
    refuse_in_use(target)
