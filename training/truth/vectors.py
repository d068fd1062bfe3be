"""Read polygons of any vector file in the pixels of a grid: repaired, counted, nothing lost silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyproj
import shapely

from ...engine.images import regions
from ...engine.images.georeference import doubt, full_turn
from ...engine.shapes.vector_files import batches, crs_of, info_of, plain
from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from .classes import is_project
from .placing import Grid, placed, surroundings

CAD = {"DXF", "DGN", "CAD"}
"""Drivers of CAD drawings, where outlines are closed lines."""
MANY = 500_000
"""Layers with more features are read only around the image, so that a whole country's file stays fast."""


@dataclass
class Tally:
    """Counts of a layer's features by outcome.

    Attributes:
        of_project: the layer is of a label project, which may be of several images: that some lie outside is no news.
    """

    name: str
    of_project: bool = False
    features: int = 0
    without_geometry: int = 0
    not_polygons: int = 0
    outlines: int = 0
    without_area: int = 0
    mended: int = 0
    lost: int = 0
    kept: int = 0
    doubts: tuple[str, ...] = ()

    @property
    def outside(self) -> int:
        """Features that do not touch the grid."""
        left_out = self.without_geometry + self.without_area + self.not_polygons + self.lost
        return self.features - left_out - self.kept

    def warnings(self, *, on_image: bool) -> tuple[str, ...]:
        """One sentence for each kind repaired or left out.

        Args:
            on_image: some areas lie on the image.
        """
        others = self.outside if not (self.of_project and on_image) else 0
        told = (
            (self.outlines, tr("{} of {} features in “{}” are closed lines and were read as polygons.")),
            (self.mended, tr("{} of {} features in “{}” were not valid and have been repaired.")),
            (self.without_geometry, tr("{} of {} features in “{}” have no geometry and were left out.")),
            (self.not_polygons, tr("{} of {} features in “{}” are points or lines and were left out.")),
            (self.without_area, tr("{} of {} features in “{}” have no area and were left out.")),
            (self.lost, tr("{} of {} features in “{}” cannot be projected to the CRS of the image and were left out.")),
            (others, tr("{} of {} features in “{}” lie outside the image.")),
        )
        return (*(words.format(count, self.features, self.name) for count, words in told if count), *self.doubts)


class Polygons(NamedTuple):
    """Polygons of a layer that touch a grid.

    Attributes:
        geometries: `(N,)` valid polygons and multipolygons, in pixels of the grid.
        fids: `(N,)` ids of their features in the layer.
        columns: for each attribute its `(N,)` values as text, as `plain` writes them.
    """

    geometries: np.ndarray
    columns: dict[str, np.ndarray]
    tally: Tally
    fids: np.ndarray


def read_polygons(path: str, layer: str, columns: Sequence[str], crs: str, grid: Grid) -> Polygons:
    """The polygons of a layer that touch a grid, vertex by vertex in its pixels, with some attributes.

    Args:
        crs: assumed if the layer has none, or one that its coordinates do not fit.

    Raises:
        OrthomaskError: the layer cannot be read, has no CRS, or holds only points and lines.
    """
    info = info_of(path, layer, force_feature_count=True)
    if info["geometry_type"] is None:
        raise _no_polygons(layer)
    source = crs_of(path, layer, crs)
    tally = Tally(layer, is_project(path), max(0, int(info["features"])))
    box = _footprint(grid, source, info["total_bounds"]) if tally.features > MANY else None
    drafted = info["driver"] in CAD
    read = [_on_grid(*batch, source, grid, tally, drafted) for batch in batches(path, layer, columns, box)]
    if tally.kept:
        outline = regions.transformed(grid.box, grid.transform)
        tally.doubts = doubt(source, pyproj.CRS.from_user_input(grid.crs), outline.bounds)
    if tally.features and tally.not_polygons == tally.features - tally.without_geometry:
        raise _no_polygons(layer)
    geometries = np.concatenate([part[0] for part in read]) if read else np.empty(0, object)
    texts = [np.concatenate([part[1][i] for part in read] or [np.empty(0, object)]) for i in range(len(columns))]
    fids = np.concatenate([part[2] for part in read] or [np.empty(0, np.int64)])
    return Polygons(geometries, dict(zip(columns, texts)), tally, fids)


def _on_grid(
    fids: np.ndarray, wkb: np.ndarray, data: Sequence[np.ndarray], source: pyproj.CRS, grid: Grid, tally: Tally,
    drafted: bool,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:  # fmt: skip
    """The features of a batch that touch the grid, in pixels, with attributes and ids; `tally` counts the rest."""
    drawn = shapely.force_2d(shapely.from_wkb(wkb, on_invalid="fix"))
    if drafted:
        outlines = np.flatnonzero((shapely.get_type_id(drawn) == shapely.GeometryType.LINESTRING) & _are_rings(drawn))
        points, owners = shapely.get_coordinates(drawn[outlines], return_index=True)
        drawn[outlines] = shapely.polygons(shapely.linearrings(points, indices=owners))
        tally.outlines += len(outlines)
    empty = shapely.is_missing(drawn) | shapely.is_empty(drawn)
    flat = ~empty & (shapely.get_dimensions(drawn) < 2)
    tally.without_geometry += int(empty.sum())
    tally.not_polygons += int(flat.sum())
    chosen = np.flatnonzero(~empty & ~flat)
    pixels, lost = placed(drawn[chosen], source, grid)
    tally.lost += int(lost.sum())
    left, top, right, bottom = shapely.bounds(pixels).T
    near = (right >= 0) & (bottom >= 0) & (left <= grid.width_px) & (top <= grid.height_px) & ~lost
    pixels, chosen = pixels[near], chosen[near]
    invalid = ~shapely.is_valid(pixels)
    odd = invalid | (shapely.get_type_id(pixels) == shapely.GeometryType.GEOMETRYCOLLECTION)
    pixels[odd] = [regions.mended(geometry) for geometry in pixels[odd]]
    hollow = shapely.area(pixels) == 0
    tally.without_area += int(hollow.sum())
    tally.mended += int((invalid & ~hollow).sum())
    touching = shapely.intersects(pixels, grid.box) & ~hollow
    tally.kept += int(touching.sum())
    chosen = chosen[touching]
    return pixels[touching], [np.array([plain(v) for v in column[chosen]], object) for column in data], fids[chosen]


def _are_rings(lines: np.ndarray) -> np.ndarray:
    """Which lines are closed, with an area inside."""
    return np.asarray(shapely.is_closed(lines) & (shapely.get_num_points(lines) >= 4))


def _footprint(grid: Grid, crs: pyproj.CRS, extent: Sequence[float] | None) -> tuple[float, ...] | None:
    """Bounds of a grid in another CRS, slightly enlarged; None if undefined.

    Args:
        extent: of the layer; its longitudes may wrap differently.
    """
    if crs.is_geographic and (extent is None or max(map(abs, extent)) > full_turn(crs) / 2):
        return None
    around = surroundings(grid, crs, 0.01)
    return around if around and not (crs.is_geographic and around[2] > full_turn(crs) / 2) else None


def _no_polygons(layer: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.LABELS_EMPTY,
        tr("The layer “{}” contains no polygons.").format(layer),
        tr("Choose a layer of polygons; buffer points and lines first."),
    )
