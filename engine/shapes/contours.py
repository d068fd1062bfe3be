"""Outlines of labelled pixels, exactly along the pixels' edges, for all objects of a tile at once."""

from __future__ import annotations

import numpy as np
import shapely
from scipy.sparse import csgraph, csr_array

STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Columns and rows to the next pixel in each direction: east, south, west, north."""
CORNERS = np.array(((0, 0), (1, 0), (1, 1), (0, 1)))
"""Where a pixel's edge in each direction begins, from the pixel's top left corner."""


def outlines(labels: np.ndarray, origin: tuple[int, int] = (0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """The polygon of every label, with holes, in pixels; and the labels, ascending.

    Every edge between an object and something else is directed, with the object to its right, and the pixels around
    its end determine the next edge. So one walk along a permutation yields all rings.

    Args:
        labels: `(H, W)`, integers; 0 is background. The pixels of a label are 4-connected.
        origin: column and row of the first pixel.

    Returns:
        Valid polygons `(N,)`, `in_order`, without vertices on straight edges; and their labels `(N,)`.
    """
    width = labels.shape[1] + 2
    padded = np.pad(labels, 1).ravel()
    steps = np.array([across + down * width for across, down in STEPS])
    pixel, way = _edges(padded, width)
    ring, order = _followed(_next_edges(padded, steps, pixel, way))
    pixel, way, ring = pixel[order], way[order], ring[order]
    starts = np.flatnonzero(np.diff(ring, prepend=-1))
    before = np.roll(way, 1)
    before[starts] = way[np.append(starts, len(way))[1:] - 1]
    turns = way != before
    corners = np.stack([pixel % width - 1, pixel // width - 1], axis=1)[turns] + CORNERS[way[turns]] + origin
    number = (np.cumsum(np.diff(ring, prepend=-1) != 0) - 1)[turns]
    return _polygons(corners, number, padded[pixel[starts]])


def _edges(padded: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The object's pixel at each edge, and the edge's direction; sorted by direction, then by pixel."""
    across, down = (np.flatnonzero(padded[:-step] != padded[step:]) for step in (1, width))
    beside = (down + width, across, down, across + 1)
    edges = [pixel[padded[pixel] > 0] for pixel in beside]
    return np.concatenate(edges), np.repeat(np.arange(4), [len(part) for part in edges])


def _next_edges(padded: np.ndarray, steps: np.ndarray, pixel: np.ndarray, way: np.ndarray) -> np.ndarray:
    """The number of the edge that follows each one around its object.

    Where two pixels of an object touch only at a corner, the outline crosses there: a hole is a separate ring.
    """
    number = np.empty((len(padded), 4), np.int32)
    number[pixel, way] = np.arange(len(pixel))
    ahead = pixel + steps[way]
    left = ahead + steps[way - 1]
    turns_left, goes_on = padded[left] == padded[pixel], padded[ahead] == padded[pixel]
    following = np.where(turns_left, left, np.where(goes_on, ahead, pixel))
    turn = np.where(turns_left, -1, np.where(goes_on, 0, 1))
    following_edge: np.ndarray = number[following, (way + turn) % 4]
    return following_edge


def _followed(following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ring of each edge, and the edges ring by ring, in the order around the ring.

    Each ring is opened before its first edge and attached to one root: a depth-first walk from there follows them.
    """
    count = len(following)
    whole = csr_array((np.ones(count, np.int8), following, np.arange(count + 1)), (count, count))
    rings, ring = csgraph.connected_components(whole)
    first = np.empty(rings, np.intp)
    first[ring[::-1]] = np.arange(count)[::-1]  # of values for one index, the last one stays
    is_first = np.zeros(count, bool)
    is_first[first] = True
    goes_on = ~is_first[following]
    ends = np.append(np.cumsum(np.append(0, goes_on)), goes_on.sum() + len(first))
    links = np.append(following[goes_on], first)
    opened = csr_array((np.ones(len(links), np.int8), links, ends), (count + 1, count + 1))
    order = csgraph.depth_first_order(opened, count, return_predecessors=False)
    return ring, order[1:]


def _polygons(corners: np.ndarray, ring: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons of rings `(R,)` with their labels: rows grow downwards, so holes run clockwise and outlines do not."""
    rings = shapely.linearrings(corners.astype(float), indices=ring)
    order = np.lexsort((~shapely.is_ccw(rings), labels))
    found, polygon = np.unique(labels[order], return_inverse=True)
    polygons = shapely.polygons(rings[order], indices=polygon)
    has_holes = shapely.get_num_interior_rings(polygons) > 0
    polygons[has_holes] = in_order(polygons[has_holes])
    return polygons, found


def in_order(polygons: np.ndarray) -> np.ndarray:
    """The same polygons with rings that begin at their topmost, then leftmost corner, the object to their right."""
    turned = shapely.normalize(shapely.transform(polygons, _swapped))
    return np.asarray(shapely.transform(turned, _swapped))


def _swapped(places: np.ndarray) -> np.ndarray:
    return places[:, ::-1]
