"""Find what changed between the objects of two or more dates: the shift first, then the objects."""

from __future__ import annotations

import itertools
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio.crs
import shapely

from ...protocol import (
    CHANGES_FILE,
    REPORT_FILE,
    ChangesRequest,
    ChangesResult,
    ErrorCode,
    Existing,
    OrthomaskError,
    Registration,
)
from ...protocol.words import tr
from ..outputs import alone, refuse_in_use, write_atomically, writing
from ..progress import Progress
from . import dates as reading
from . import evidence, kinds, output, report
from .dates import Date, Frame
from .kinds import Verdicts
from .ledger import Ledger, flickering, mark_flicker
from .matching import Group, Matches, match
from .objects import Objects, comparable, covered, read, share_borders
from .registration import POINT, Shifts, Side, register
from .reviews import said
from .tallies import tallies

FEW = 0.5
"""Less than this share of the ground compared is told."""


@dataclass
class Survey:
    """A date whose objects are in memory.

    Attributes:
        covered: ground where it has data.
        codes: number of the class of each object; -1 where it may be any.
    """

    date: Date
    objects: Objects
    covered: shapely.Geometry
    codes: np.ndarray


class Compared(NamedTuple):
    """Ground that both dates of a step cover: in km², its share of all that either covers, and the objects on it."""

    km2: float
    share: float
    objects: tuple[int, int]


def run(request: ChangesRequest, progress: Progress) -> ChangesResult:
    """Write `CHANGES_FILE` and `REPORT_FILE` into a folder, each whole or not at all. What is compared is only read.

    Raises:
        OrthomaskError: a date cannot be read, two do not overlap, share no class or are the same run; the shift is
            larger than allowed or not known; or the results exist or cannot be written.
    """
    started = time.monotonic()
    target = Path(request.output_dir) / CHANGES_FILE
    _refuse_existing(request, target)
    progress.report(0, tr("Reading the objects"))
    surveys, frame, warnings = _read(request, progress.part(0, 0.2))
    names = _class_names(surveys)
    ledger = Ledger(len(surveys[0].objects.ids))
    steps, compared, registrations = [], [], []
    for number, pair in enumerate(itertools.pairwise(surveys), 1):
        part = progress.part(0.2 + 0.7 * (number - 1) / (len(surveys) - 1), 0.2 + 0.7 * number / (len(surveys) - 1))
        shifts = _registered(pair, frame, request, part.part(0, 0.4))
        step, ground = _step(number, pair, shifts, ledger, frame, names, part.part(0.4, 1))
        steps.append(step)
        compared.append(ground)
        registrations.append(shifts.registration)
        warnings += _told(pair, ground, shifts.registration, request)
    counts = _marked(steps, surveys, ledger)
    tallied = tuple(
        tally
        for step, ground, one, other in zip(steps, compared, surveys, surveys[1:])
        for tally in tallies(step, (one.date, other.date), ground.objects)
    )
    result = ChangesResult(
        str(target), str(target.with_name(REPORT_FILE)), tuple(registrations), tallied,
        tuple(round(each.km2, 4) for each in compared), tuple(round(each.share, 4) for each in compared),
        len(counts.ids), int((counts.times > 0).sum()), round(time.monotonic() - started, 2), warnings,
    )  # fmt: skip
    progress.report(0.9, tr("Writing the changes"))
    _write(target, steps, surveys, counts, ledger, frame, result)
    return result


def _refuse_existing(request: ChangesRequest, target: Path) -> None:
    there = [path.name for path in (target, target.with_name(REPORT_FILE)) if path.exists()]
    if there and request.existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("The folder “{}” already contains {}.").format(target.parent, ", ".join(there)),
            tr("Choose another folder, or overwrite it."),
        )
    refuse_in_use(target)


def _read(request: ChangesRequest, progress: Progress) -> tuple[list[Survey], Frame, tuple[str, ...]]:
    """The objects of all dates in a common CRS, and warnings."""
    dates = [reading.open_date(survey) for survey in request.surveys]
    reading.require_order(dates)
    frame = reading.frame(dates)
    warnings: tuple[str, ...] = ()
    objects = []
    for number, date in enumerate(dates):
        progress.report(number / len(dates), tr("Reading the objects"))
        found, told = read(date, frame.crs, frame.around(number))
        objects.append(found)
        warnings += told
    grounds = [covered(date, found, frame.crs) for date, found in zip(dates, objects)]
    kept, told = comparable(dates, objects)
    codes = _codes(kept)
    return [Survey(*each) for each in zip(dates, kept, grounds, codes)], frame, warnings + told


def _codes(objects: list[Objects]) -> list[np.ndarray]:
    names = sorted({name.casefold() for each in objects for name in each.classes if name})
    number = {name: index for index, name in enumerate(names)} | {"": -1}
    return [np.array([number[name.casefold()] for name in each.classes], int) for each in objects]


def _class_names(surveys: list[Survey]) -> tuple[str, ...]:
    return tuple(sorted({name.casefold() for survey in surveys for name in survey.objects.classes if name}))


def _registered(pair: tuple[Survey, Survey], frame: Frame, request: ChangesRequest, progress: Progress) -> Shifts:
    """The shift of a step; none if it was not asked for.

    Raises:
        OrthomaskError: it is larger than the request allows, or not known.
    """
    if not request.register:
        return Shifts(Registration("", None, None, None, 0, 0), np.zeros(0, POINT), None)
    crs = rasterio.crs.CRS.from_wkt(frame.crs.to_wkt())
    sides = [Side(each.objects.outlines, each.date.image, each.covered, crs) for each in pair]
    shifts = register(sides[0], sides[1], request.limit_m, progress)
    _refuse_shift(shifts.registration, request)
    return shifts


def _refuse_shift(found: Registration, request: ChangesRequest) -> None:
    """Raise if a shift is larger than the request allows, or not known."""
    remedy = tr("Align the data of both dates, or go on anyway (on the command line: --anyway).")
    if request.anyway:
        return
    if not found.source:
        raise OrthomaskError(
            ErrorCode.SHIFT,
            tr("The shift between the dates cannot be measured: {} of {} places agree.").format(
                found.places, found.tried
            ),
            remedy,
        )
    if found.exceeds(request.limit_m):
        raise OrthomaskError(
            ErrorCode.SHIFT,
            tr("The dates lie {:.1f} m apart, up to {:.1f} m (± {:.1f} m); the limit is {:.1f} m.").format(
                found.size_m, found.largest_m, found.error_m, request.limit_m
            ),
            remedy,
        )


def _told(
    pair: tuple[Survey, Survey], ground: Compared, found: Registration, request: ChangesRequest
) -> tuple[str, ...]:
    """What the user should know of a step."""
    one, other = (each.date for each in pair)
    warnings = []
    if not request.register:
        warnings.append(tr("{} and {}: the shift was not measured; objects are compared as they lie."))
    elif not found.source:
        warnings.append(tr("{} and {}: the shift is not known; objects are compared as they lie."))
    elif found.exceeds(request.limit_m):
        warnings.append(tr("{} and {}: the shift is larger than the limit."))
    if one.record and other.record:
        if one.model.get("sha256") != other.model.get("sha256"):
            warnings.append(tr("{} and {}: the models differ, and so may what they find."))
        if not math.isclose(one.error_m, other.error_m, rel_tol=0.01):
            warnings.append(tr("{} and {}: the runs have different resolutions; the coarser one decides."))
    told = [words.format(one.label, other.label) for words in warnings]
    if ground.share < FEW:
        words = tr("{} and {}: only {:.0%} of the ground has data at both dates.")
        told.append(words.format(one.label, other.label, ground.share))
    objects = sum(len(each.objects.ids) for each in pair)
    if objects > sum(ground.objects):
        words = tr("{} and {}: {:,} of {:,} objects lie outside the ground that both cover, and are not compared.")
        told.append(words.format(one.label, other.label, objects - sum(ground.objects), objects))
    return tuple(told)


def _step(
    number: int, pair: tuple[Survey, Survey], shifts: Shifts, ledger: Ledger, frame: Frame, names: tuple[str, ...],
    progress: Progress,
) -> tuple[output.Done, Compared]:  # fmt: skip
    """Compare the objects of two dates on the ground that both cover."""
    before, after = pair
    progress.report(0, tr("Comparing the objects"))
    moved = shifts.moved(before.objects.outlines)
    grounds = [shapely.make_valid(shifts.moved(np.array([before.covered], object))[0]), after.covered]
    shared = shapely.intersection(*grounds)
    if shared.area == 0:
        raise reading.apart()
    errors = (shifts.error_m, before.date.error_m, after.date.error_m)
    error_m = math.sqrt(sum(each**2 for each in errors if math.isfinite(each)))
    sides, inside = _sides(pair, moved, shared, error_m)
    matches = match(sides[0].outlines, sides[1].outlines, (sides[0].classes, sides[1].classes), progress.part(0, 0.3))
    shared_borders = all(share_borders(each.date, each.objects) for each in pair)
    found = kinds.judge(matches, sides[0], sides[1], error_m, shared_borders, progress.part(0.3, 0.6))
    found, following = _numbered(found, matches, inside, len(after.objects.ids))
    _doubted(found, pair, shifts, frame, names, progress.part(0.6, 1))
    codes = before.codes, after.codes
    rows = ledger.step(found, following, moved, after.objects.outlines, codes, shifts.moved, progress.quiet())
    found.evidence[:] = None
    areas = _areas(found, before.objects, after.objects)
    done = output.Done(number, found, rows, np.zeros(len(rows), bool), moved, shifts.points, areas)
    return done, Compared(
        shared.area / 1e6, shared.area / shapely.union(*grounds).area, (len(inside[0]), len(inside[1]))
    )


def _sides(
    pair: tuple[Survey, Survey], moved: np.ndarray, shared: shapely.Geometry, error_m: float
) -> tuple[list[kinds.Side], list[np.ndarray]]:
    """The objects of both dates that lie on shared ground, and their numbers."""
    core = shapely.buffer(shared, -kinds.NEAR * error_m)
    shapely.prepare(shared)
    shapely.prepare(core)
    sides, inside = [], []
    for survey, outlines in zip(pair, (moved, pair[1].objects.outlines)):
        there = np.flatnonzero(shapely.contains(shared, shapely.point_on_surface(outlines)))
        inside.append(there)
        sides.append(kinds.Side(outlines[there], survey.codes[there], shapely.covers(core, outlines[there])))
    return sides, inside


def _numbered(found: Verdicts, matches: Matches, inside: list[np.ndarray], count: int) -> tuple[Verdicts, np.ndarray]:
    """Verdicts and continuations by the numbers that the objects have at their dates."""
    before, after = inside
    for numbers, there in ((found.before, before), (found.after, after)):
        numbers[numbers >= 0] = there[numbers[numbers >= 0]]
    found.groups = [Group(before[group.before], after[group.after]) for group in found.groups]
    following = np.full(count, -1)
    known = np.flatnonzero(matches.following >= 0)
    following[after[known]] = before[matches.following[known]]
    return found, following


def _doubted(
    found: Verdicts, pair: tuple[Survey, Survey], shifts: Shifts, frame: Frame, names: tuple[str, ...],
    progress: Progress,
) -> None:  # fmt: skip
    before, after = pair
    drawn = np.stack([_at(each.objects.drawn, rows, False) for each, rows in zip(pair, (found.before, found.after))])
    codes = [_at(each.codes, rows, -1) for each, rows in zip(pair, (found.before, found.after))]
    step = evidence.Step(
        before.date, after.date, frame.crs, shifts, names, np.where(codes[1] >= 0, codes[1], codes[0]), drawn
    )
    evidence.doubt(found, step, progress)


def _at(values: np.ndarray, numbers: np.ndarray, otherwise: object) -> np.ndarray:
    """Values by number, another one for -1."""
    found = np.full(len(numbers), otherwise, values.dtype)
    found[numbers >= 0] = values[numbers[numbers >= 0]]
    return found


def _areas(found: Verdicts, before: Objects, after: Objects) -> np.ndarray:
    """Areas before and after `(2, R)`, m²: of a merged object those of all parts; NaN for none."""
    areas = np.full((2, len(found.kind)), np.nan)
    for side, numbers, objects in zip(areas, (found.before, found.after), (before, after)):
        side[numbers >= 0] = objects.areas_m2[numbers[numbers >= 0]]
    for row in np.flatnonzero(found.group >= 0).tolist():
        areas[0, row] = before.areas_m2[found.groups[found.group[row]].before].sum()
    return areas


class Counted(NamedTuple):
    """All objects of the ledger: number, how often each flickers, and at which dates it was there `(N, dates)`."""

    ids: np.ndarray
    times: np.ndarray
    presence: np.ndarray
    row: np.ndarray


def _marked(steps: list[output.Done], surveys: list[Survey], ledger: Ledger) -> Counted:
    """Find the objects that flicker, and mark what they did."""
    ids = np.unique(np.concatenate(ledger.ids))
    presence, known = np.zeros((2, len(ids), len(surveys)), bool)
    row, last = np.zeros((2, len(ids)), int)
    for number, numbers in enumerate(ledger.ids):
        at = np.searchsorted(ids, numbers)
        presence[at, number], row[at], last[at] = True, np.arange(len(numbers)), number
    places = np.empty(len(ids), object)
    for number, survey in enumerate(surveys):
        here = last == number
        places[here] = shapely.point_on_surface(survey.objects.outlines[row[here]])
    for number, survey in enumerate(surveys):
        shapely.prepare(survey.covered)
        known[:, number] = shapely.contains(survey.covered, places)
    times = flickering(presence, known | presence)
    times[np.isin(ids, list(ledger.regrouped))] = 0
    for index, step in enumerate(steps):
        flickers = mark_flicker(step.found, step.rows, ids[times > 0])
        steps[index] = step._replace(flickers=flickers)
    return Counted(ids, times, presence, row)


def _write(
    target: Path, steps: list[output.Done], surveys: list[Survey], counts: Counted, ledger: Ledger, frame: Frame,
    result: ChangesResult,
) -> None:  # fmt: skip
    """Write the results, each whole or not at all."""
    partial, crs = target.with_name(f".{target.stem}.partial.gpkg"), frame.crs.to_wkt()
    about = output.provenance([survey.date for survey in surveys])
    answers = said(target, about)
    with alone(target):
        try:
            with writing(target):
                partial.unlink(missing_ok=True)
            for step, pair in zip(steps, itertools.pairwise(surveys)):
                one, other = pair
                dates, objects = (one.date, other.date), (one.objects, other.objects)
                output.write_changes(partial, step, dates, objects, crs, answers)
            output.write_ledger(partial, *_ledger(counts, surveys, ledger), crs)
            output.write_offsets(partial, steps, crs)
            output.write_provenance(partial, about)
            page = report.render(result, [survey.date for survey in surveys])
            refuse_in_use(target)
            with writing(target):
                os.replace(partial, target)
            write_atomically(target.with_name(REPORT_FILE), page.encode())
        finally:
            partial.unlink(missing_ok=True)


def _ledger(counts: Counted, surveys: list[Survey], ledger: Ledger) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns and outlines of the ledger."""
    labels = np.array([survey.date.label for survey in surveys], object)
    first = counts.presence.argmax(axis=1)
    last = counts.presence.shape[1] - 1 - counts.presence[:, ::-1].argmax(axis=1)
    outlines, areas, classes = np.empty(len(first), object), np.zeros(len(first)), np.empty(len(first), object)
    for number, survey in enumerate(surveys):
        here = last == number
        rows = counts.row[here]
        outlines[here], areas[here] = survey.objects.outlines[rows], survey.objects.areas_m2[rows]
        classes[here] = survey.objects.classes[rows]
    history = [
        ", ".join(filter(None, (step.get(number, "") for step in ledger.steps))) for number in counts.ids.tolist()
    ]
    columns = {
        "object_id": counts.ids.astype(np.int64),
        "class": classes,
        "first_seen": labels[first],
        "last_seen": labels[last],
        "times_seen": counts.presence.sum(axis=1).astype(np.int32),
        "flickers": counts.times.astype(np.int32),
        "history": np.array(history, object),
        "area_m2": np.round(areas, 2),
    }
    return columns, outlines
