"""Which objects of two dates belong together: a graph of significant overlaps, and its connected components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..progress import Progress

SIGNIFICANT = 0.5
"""Two objects belong together if they share this part of the smaller one."""
SAME_IOU = 0.5
"""Objects of a tangle that share at least this part of their joint area are each other's."""
PART = 0.1
"""What shares less than this part of a larger object is no part that it was split into or merged from."""
ALIKE = 0.75
"""IoU of two outlines laid on each other, from which they are of one object."""
TOUCHED = 0.3
"""Objects that share this part of the smaller one have to do with each other."""
CHUNK = 20_000
"""So many objects are compared between two looks at whether the user has cancelled."""
REACH = 1.5
"""How far an object may have moved, in side lengths of a square of its area."""


class Pairs(NamedTuple):
    """Overlaps: numbers of the earlier and of the later object, and their shared area, each `(P,)`."""

    before: np.ndarray
    after: np.ndarray
    shared: np.ndarray

    def chosen(self, which: np.ndarray | slice) -> Pairs:
        """Some of the overlaps."""
        return Pairs(*(values[which] for values in self))


class Group(NamedTuple):
    """Objects that belong together, but not one to one."""

    before: np.ndarray
    after: np.ndarray


class Matches(NamedTuple):
    """How the objects of two dates belong together.

    Attributes:
        pairs: one to one.
        moved: one to one, though they do not overlap much: outlines that are alike.
        groups: the other components.
        gone, new: numbers of the objects without any.
        overlaps: all that there are, also of different classes.
        following: for each later object the earlier one that it continues; -1 for none.
    """

    pairs: Pairs
    moved: Pairs
    groups: list[Group]
    gone: np.ndarray
    new: np.ndarray
    overlaps: Pairs
    following: np.ndarray


def match(before: np.ndarray, after: np.ndarray, classes: tuple[np.ndarray, np.ndarray], progress: Progress) -> Matches:
    """Match the objects of two dates, `(N,)` and `(M,)` polygons in one CRS in metres.

    Two objects belong together if they are of one class and share half of the smaller one (`SIGNIFICANT`). Connected
    components of that graph are pairs (1:1), splits (1:n), merges (n:1), or tangles (n:m); of a tangle, objects with an
    IoU of `SAME_IOU` or more are taken out as pairs first. Objects that belong to none are matched once more by shape:
    the nearest of one class within `REACH`, each other's nearest, and alike (`ALIKE`) when laid on each other. Of
    what is left, two that share `TOUCHED` of the smaller one are a pair, too, if that is the largest overlap for both.

    Args:
        classes: a number for the class of each; -1 matches any.
    """
    overlaps = overlapping(before, after, progress)
    areas = shapely.area(before), shapely.area(after)
    edges = overlaps.chosen(of_one_class(overlaps, classes) & _significant(overlaps, areas))
    pairs, groups = _components(edges, areas)
    known = [pairs.before, *(group.before for group in groups)], [pairs.after, *(group.after for group in groups)]
    gone, new = (np.setdiff1d(np.arange(len(side)), np.concatenate(of)) for side, of in zip((before, after), known))
    moved = _alike(before, after, gone, new, classes)
    gone, new = np.setdiff1d(gone, moved.before), np.setdiff1d(new, moved.after)
    touching = _touching(overlaps, gone, new, areas, classes)
    gone, new = np.setdiff1d(gone, touching.before), np.setdiff1d(new, touching.after)
    pairs = Pairs(*(np.concatenate(both) for both in zip(pairs, touching)))
    following = np.full(len(after), -1)
    for found in (largest(edges), pairs, moved):
        following[found.after] = found.before
    return Matches(pairs, moved, groups, gone, new, overlaps, following)


def overlapping(before: np.ndarray, after: np.ndarray, progress: Progress) -> Pairs:
    """All overlaps that have an area."""
    one, other = shapely.STRtree(after).query(before, predicate="intersects")
    shared = np.zeros(len(one))
    for part in chunks(len(one), progress):
        shared[part] = shapely.area(shapely.intersection(before[one[part]], after[other[part]]))
    solid = shared > 0
    return Pairs(one[solid], other[solid], shared[solid])


def chunks(count: int, progress: Progress) -> Iterator[slice]:
    """Slices that cover so many items; between them the user can cancel."""
    for start in range(0, count, CHUNK):
        progress.report(start / count)
        yield slice(start, start + CHUNK)


def of_one_class(pairs: Pairs, classes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which pairs are of one class, or of an object that may have any."""
    one, other = classes[0][pairs.before], classes[1][pairs.after]
    return np.asarray((one == other) | (one < 0) | (other < 0))


def _significant(pairs: Pairs, areas: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which overlaps join objects: half of the smaller one, and no mere crumb of the larger."""
    one, other = areas[0][pairs.before], areas[1][pairs.after]
    joined = pairs.shared >= SIGNIFICANT * np.minimum(one, other)
    best = [np.zeros(len(area)) for area in areas]
    for side, numbers in zip(best, (pairs.before, pairs.after)):
        np.maximum.at(side, numbers, np.where(joined, pairs.shared, 0))
    crumb = (pairs.shared < PART * np.maximum(best[0][pairs.before], best[1][pairs.after])) & joined
    return np.asarray(joined & ~crumb)


def iou(pairs: Pairs, areas: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Shared by joint area of each pair."""
    return np.asarray(pairs.shared / (areas[0][pairs.before] + areas[1][pairs.after] - pairs.shared))


def _components(edges: Pairs, areas: tuple[np.ndarray, np.ndarray]) -> tuple[Pairs, list[Group]]:
    """The components of the graph: pairs, and groups; tangles are taken apart where objects are the same."""
    label = _labels(edges, areas)
    counts = [
        np.bincount(label[np.unique(nodes, return_index=True)[1]], minlength=label.max(initial=-1) + 1)
        for nodes in (edges.before, edges.after)
    ]
    single, tangled = (counts[0] == 1) & (counts[1] == 1), (counts[0] > 1) & (counts[1] > 1)
    own = largest(edges.chosen(tangled[label] & (iou(edges, areas) >= SAME_IOU)))
    if not len(own.shared):
        return edges.chosen(single[label]), _grouped(edges.chosen(~single[label]), label[~single[label]])
    taken = np.isin(edges.before, own.before) | np.isin(edges.after, own.after)
    pairs, groups = _components(edges.chosen(~taken), areas)
    return Pairs(*(np.concatenate(both) for both in zip(own, pairs))), groups


def _labels(edges: Pairs, areas: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The component of each edge."""
    size = len(areas[0]) + len(areas[1])
    nodes = (edges.before, edges.after + len(areas[0]))
    graph = coo_matrix((np.ones(len(edges.shared), bool), nodes), shape=(size, size))
    found = connected_components(graph, directed=False)[1][edges.before]
    return np.unique(found, return_inverse=True)[1]


def _grouped(edges: Pairs, label: np.ndarray) -> list[Group]:
    order = np.argsort(label, kind="stable")
    cuts = np.flatnonzero(np.diff(label[order])) + 1
    parts = np.split(order, cuts) if len(order) else []
    return [Group(np.unique(edges.before[part]), np.unique(edges.after[part])) for part in parts]


def largest(edges: Pairs) -> Pairs:
    """One pair for each object: the largest overlap for both of them."""
    order = np.argsort(-edges.shared, kind="stable")
    return edges.chosen(order[_first(edges.chosen(order))])


def _first(pairs: Pairs) -> np.ndarray:
    """The pairs that come first for both of their objects."""
    one, other = (np.unique(numbers, return_index=True)[1] for numbers in (pairs.before, pairs.after))
    return np.intersect1d(one, other)


def _alike(
    before: np.ndarray, after: np.ndarray, gone: np.ndarray, new: np.ndarray, classes: tuple[np.ndarray, np.ndarray]
) -> Pairs:
    """Objects that moved: each other's nearest of those left over, alike when laid on each other."""
    none = Pairs(np.empty(0, int), np.empty(0, int), np.empty(0))
    if not len(gone) or not len(new):
        return none
    centres = [shapely.centroid(side[numbers]) for side, numbers in ((before, gone), (after, new))]
    reach = REACH * np.sqrt(shapely.area(before[gone]))
    one, other = shapely.STRtree(centres[1]).query(centres[0], predicate="dwithin", distance=reach)
    near = Pairs(gone[one], new[other], shapely.distance(centres[0][one], centres[1][other]))
    areas = shapely.area(before[near.before]), shapely.area(after[near.after])
    size = np.minimum(*areas) / np.maximum(*areas)
    near = near.chosen(of_one_class(near, classes) & (size >= ALIKE))
    near = near.chosen(np.argsort(near.shared, kind="stable"))
    near = near.chosen(_first(near))
    return near.chosen(likeness(before[near.before], after[near.after]) >= ALIKE) if len(near.shared) else none


def _touching(
    overlaps: Pairs, gone: np.ndarray, new: np.ndarray, areas: tuple[np.ndarray, np.ndarray],
    classes: tuple[np.ndarray, np.ndarray],
) -> Pairs:  # fmt: skip
    """Pairs of those left over that share a part of the smaller one."""
    part = overlaps.shared >= TOUCHED * np.minimum(areas[0][overlaps.before], areas[1][overlaps.after])
    free = np.isin(overlaps.before, gone) & np.isin(overlaps.after, new)
    return largest(overlaps.chosen(part & free & of_one_class(overlaps, classes)))


def likeness(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """IoU of pairs of outlines `(P,)` laid on each other by their centroids."""
    step = steps(before, after)
    laid = translated(before, step)
    shared = shapely.area(shapely.intersection(laid, after))
    return np.asarray(shared / (shapely.area(before) + shapely.area(after) - shared))


def steps(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """From the centroid of each earlier object to that of the later one `(P, 2)`, m."""
    ends = [shapely.get_coordinates(shapely.centroid(side)).reshape(-1, 2) for side in (before, after)]
    return np.asarray(ends[1] - ends[0])


def translated(geometries: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Each geometry `(P,)` moved by its own step `(P, 2)`."""
    moved = geometries.copy()
    points, owners = shapely.get_coordinates(moved, return_index=True)
    return np.asarray(shapely.set_coordinates(moved, points + by[owners]))
