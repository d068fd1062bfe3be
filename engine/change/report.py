"""The page about changes: one HTML file with what was compared, the shift, and a table of kinds for each step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from ...protocol import Change, ChangesResult, Registration, Tally
from ...protocol.words import language, tr
from .. import html
from ..compute.devices import version
from .dates import Date
from .kinds import WORDS

COLORS = {
    Change.NEW: "#1b9e4b", Change.REMOVED: "#d62f2f", Change.GROWN: "#7bc87c", Change.SHRUNK: "#f2917d",
    Change.SPLIT: "#8e6bbf", Change.MERGED: "#5b8fd6", Change.MOVED: "#e0a21b", Change.REPLACED: "#b8479e",
    Change.UNSURE: "#8a94a0", Change.UNCHANGED: "#d5dae0",
}  # fmt: skip


class Line(NamedTuple):
    """A row of the table of kinds."""

    color: str
    kind: str
    number: str
    interval: str
    area: str


class Section(NamedTuple):
    """A step from one date to the next."""

    title: str
    facts: list[tuple[str, str]]
    lines: list[Line]


def render(result: ChangesResult, dates: Sequence[Date]) -> str:
    """The whole page as HTML, without external links, in the user's language."""
    pairs = list(itertools.pairwise(dates))
    return html.render(
        "changes.html.j2",
        language=language().partition("_")[0] or "en",
        title=tr("What changed from {} to {}").format(dates[0].label, dates[-1].label),
        made=tr("{} UTC, Orthomask {}.").format(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}", version()),
        numbers=_numbers(result),
        heads=(tr("Kind"), tr("Objects"), tr("Interval (95%)"), tr("Area")),
        sections=[_section(number, pair, result) for number, pair in enumerate(pairs, 1)],
        notes_title=tr("Notes"),
        notes=(*result.warnings, *_footnotes(result)),
        dates_title=tr("Dates"),
        date_heads=(tr("Date"), tr("Objects from"), tr("Model")),
        dates=[(date.label, date.survey.path, str(date.model.get("title", "")) or "–") for date in dates],
    )


def _numbers(result: ChangesResult) -> list[tuple[str, str]]:
    def count(*kinds: Change) -> str:
        return f"{sum(tally.count for tally in result.tallies if tally.kind in kinds):,}"

    lasting = [kind for kind in Change if kind not in (Change.UNCHANGED, Change.UNSURE)]
    return [
        (count(*lasting), tr("changed")), (count(Change.UNSURE), tr("unsure")),
        (count(Change.UNCHANGED), tr("unchanged")), (f"{result.flickering:,}", tr("come and go")),
    ]  # fmt: skip


def _section(number: int, pair: tuple[Date, Date], result: ChangesResult) -> Section:
    found = result.registrations[number - 1]
    km2, share = result.compared_km2[number - 1], result.compared_share[number - 1]
    facts = [
        (tr("Shift"), _shift(found)),
        (tr("Compared"), tr("{:,.2f} km², {:.0%} of the ground with data at either date").format(km2, share)),
    ]
    lines = [_line(tally) for tally in result.tallies if tally.step == number and tally.count]
    return Section(tr("{} to {}").format(pair[0].label, pair[1].label), facts, lines)


def _shift(found: Registration) -> str:
    if not found.source:
        return tr("not known; compared as they lie")
    words = (
        tr("{:.2f} m on average, {:.2f} m at most, measured in the images at {} of {} places; {:.2f} m remain")
        if found.source == "images"
        else tr("{:.2f} m on average, {:.2f} m at most, measured on the objects at {} of {} places; {:.2f} m remain")
    )
    return words.format(found.size_m, found.largest_m, found.places, found.tried, found.error_m)


def _line(tally: Tally) -> Line:
    interval = "" if tally.low is None or tally.high is None else f"{tally.low:,.0f} – {tally.high:,.0f}"
    return Line(COLORS[tally.kind], tr(WORDS[tally.kind.value]), f"{tally.count:,}", interval, _area(tally.area_m2))


def _area(area_m2: float) -> str:
    return tr("{:,.2f} km²").format(area_m2 / 1e6) if area_m2 >= 1e6 else tr("{:,.0f} m²").format(area_m2)


def _footnotes(result: ChangesResult) -> list[str]:
    notes = [
        tr("Unsure: the difference lies within the errors of shift and outlines, or the models were unsure, or data is "
           "missing."),
    ]  # fmt: skip
    if any(tally.low is not None for tally in result.tallies):
        notes.append(
            tr("Intervals: from the precision and recall of both models, as if their errors were independent.")
        )
    return notes
