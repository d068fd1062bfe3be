"""Polygons from elsewhere, each with its class: read around areas, repaired, cut out of each other, clipped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyproj
import shapely

from ...engine.images.regions import mended, polygonal, reprojected
from ...protocol.words import tr_n

WGS84 = pyproj.CRS.from_epsg(4326)


class Features(NamedTuple):
    """Polygons in one CRS.

    Attributes:
        geometries: `(N,)`.
        classes: `(N,)` class names; empty for those to cut out of the others.
        sources: `(N,)` ids in the source.
        tags: `(N,)` what they are there, as text.
    """

    geometries: np.ndarray
    classes: list[str]
    sources: list[str]
    tags: list[str]

    def taken(self, chosen: np.ndarray) -> Features:
        """Some of them, by number."""
        numbers = [int(number) for number in chosen]
        lists = ([values[n] for n in numbers] for values in (self.classes, self.sources, self.tags))
        return Features(self.geometries[chosen], *lists)


def joined(parts: Sequence[Features]) -> Features:
    """All features of several sources, each object once."""
    geometries = np.concatenate([np.empty(0, object), *(part.geometries for part in parts)])
    lists = ([value for part in parts for value in part[number]] for number in (1, 2, 3))
    every = Features(geometries, *lists)
    keys = list(zip(every.sources, every.classes))
    first = {key: number for number, key in reversed(list(enumerate(keys))) if key[0]}
    kept = [number for number, key in enumerate(keys) if first.get(key, number) == number]
    return every.taken(np.array(kept, int))


def settled(features: Features) -> tuple[Features, tuple[str, ...]]:
    """Features made valid, less what is to be cut out of them; those left without area are left out.

    Returns:
        Also warnings that count what was repaired.
    """
    geometries = features.geometries.copy()
    invalid = np.flatnonzero(~shapely.is_valid(geometries))
    geometries[invalid] = [mended(geometry) for geometry in geometries[invalid]]
    named = np.array([bool(name) for name in features.classes], bool)
    cuts = geometries[~named]
    if len(cuts):
        tree = shapely.STRtree(cuts)
        for number in np.flatnonzero(named):
            near = tree.query(geometries[number], predicate="intersects")
            if len(near):
                geometries[number] = polygonal(geometries[number].difference(shapely.union_all(cuts[near])))
    kept = np.flatnonzero(named & (shapely.area(geometries) > 0))
    words = tr_n(
        "{} outline was not valid and has been repaired.",
        "{} outlines were not valid and have been repaired.",
        len(invalid),
    )
    return features._replace(geometries=geometries).taken(kept), (words.format(len(invalid)),) if len(invalid) else ()


def clipped(features: Features, areas: np.ndarray) -> Features:
    """The parts of features inside areas `(N,)` of the same CRS; a feature in two areas becomes two.

    What only touches an area is not in it.
    """
    tree = shapely.STRtree(features.geometries)
    of_area, of_feature = tree.query(areas, predicate="intersects")
    pieces = [polygonal(piece) for piece in shapely.intersection(features.geometries[of_feature], areas[of_area])]
    found = features.taken(of_feature)._replace(geometries=np.array(pieces, object))
    return found.taken(np.flatnonzero(shapely.area(found.geometries) > 0))


def moved(features: Features, source: pyproj.CRS | str, target: pyproj.CRS | str) -> Features:
    """Features in another CRS, without those that it cannot show."""
    geometries = reprojected(shapely.force_2d(features.geometries), source, target)
    shown = np.isfinite(shapely.bounds(geometries)).all(axis=1)
    return features._replace(geometries=geometries).taken(np.flatnonzero(shown))


def boxes_of(areas: np.ndarray, crs: pyproj.CRS | str, target: pyproj.CRS | str) -> np.ndarray:
    """Bounding boxes `(N, 4)` of areas in another CRS: left, bottom, right, top."""
    transformer = pyproj.Transformer.from_crs(crs, target, always_xy=True)
    return np.array([transformer.transform_bounds(*area.bounds) for area in areas]).reshape(-1, 4)
