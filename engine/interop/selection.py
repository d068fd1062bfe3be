"""The objects that fit on a page: the largest, in outlines no finer than the page can carry."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely

from ...protocol.words import tr
from ..images import regions
from ..progress import Progress
from .objects import Objects, SharedRun, geojson
from .overview import Overview

MOST_OBJECTS = 20_000
MOST_CORNERS = 200_000
"""Of all outlines together: about 7 MB of page."""
FINEST_PX = 0.25
"""Where outlines must be simplified, by at least this much of a pixel of the picture."""
COARSEST_PX = 64


class Tally(NamedTuple):
    """Number and total area of the objects of a class."""

    number: int
    area_m2: float


class Selection(NamedTuple):
    """What a page shows.

    Attributes:
        drawn: `(N,)` outlines in pixels of the picture.
        geometries: the same as GeoJSON.
        tallies: by class value, of all objects of the run.
        notes: what was left out, in sentences.
    """

    objects: Objects
    drawn: np.ndarray
    geometries: list[str]
    tallies: dict[int, Tally]
    notes: tuple[str, ...]

    def tally(self, value: int) -> Tally:
        """That of a class."""
        return self.tallies.get(value, Tally(0, 0.0))


def select(shared: SharedRun, frame: Overview, progress: Progress) -> Selection:
    """Choose and place the objects of a run for its page."""
    objects, tallies = _largest(shared, progress)
    total = sum(tally.number for tally in tallies.values())
    notes: tuple[str, ...] = ()
    if len(objects.ids) < total:
        words = tr("The page shows the {} largest of {} objects; all of them are in the run's GeoPackage.")
        notes += (words.format(f"{len(objects.ids):,}", f"{total:,}"),)
    placed = objects.outlines
    if not shared.crs.equals(frame.crs, ignore_axis_order=True):
        placed = np.asarray(regions.reprojected(placed, shared.crs, frame.crs))
    placed = np.asarray(regions.transformed(placed, ~frame.transform))
    drawn, tolerance_px = _lighter(placed)
    if not tolerance_px:
        return Selection(objects, drawn, geojson(objects.outlines, shared.crs), tallies, notes)
    words = tr("Outlines on this page are simplified by up to {} m; those in the run's GeoPackage are not.")
    notes += (words.format(f"{tolerance_px * frame.pixel_m:.2g}"),)
    geometries = geojson(np.asarray(regions.transformed(drawn, frame.transform)), frame.crs)
    return Selection(objects, drawn, geometries, tallies, notes)


def _largest(shared: SharedRun, progress: Progress) -> tuple[Objects, dict[int, Tally]]:
    """The largest objects in the order of their ids, and the tallies of all."""
    kept: Objects | None = None
    tallies: dict[int, Tally] = {}
    seen = 0
    for batch in shared.objects():
        for value in np.unique(batch.classes).tolist():
            before, here = tallies.get(value, Tally(0, 0.0)), batch.area_m2[batch.classes == value]
            tallies[value] = Tally(before.number + len(here), before.area_m2 + float(here.sum()))
        joined = batch if kept is None else Objects(*(np.concatenate(pair) for pair in zip(kept, batch)))
        kept = joined.where(np.sort(np.argsort(-joined.area_m2, kind="stable")[:MOST_OBJECTS]))
        seen += len(batch.ids)
        progress.report(min(seen / max(shared.count, 1), 1), tr("Reading the objects"))
    return kept or Objects(*(np.array([], kind) for kind in (int, object, int, float, float, float))), tallies


def _lighter(outlines: np.ndarray) -> tuple[np.ndarray, float]:
    """Outlines with few enough corners, and by how many pixels they are simplified; 0 if they are not."""
    tolerance_px, lighter = 0.0, outlines
    while len(lighter) and shapely.get_num_coordinates(lighter).sum() > MOST_CORNERS and tolerance_px < COARSEST_PX:
        tolerance_px = max(FINEST_PX, tolerance_px * 2)
        lighter = np.asarray(shapely.simplify(outlines, tolerance_px))
    return lighter, tolerance_px
