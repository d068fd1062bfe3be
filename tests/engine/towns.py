"""Synthetic towns at two dates, with the truth about what became of each house."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from shapely import affinity

from orthomask.engine.shapes.layers import write_layer

CRS = "EPSG:32645"
ORIGIN = 500_000.0, 3_000_000.0
PLOT_M = 30.0


@dataclass
class Town:
    """Houses before and after, and what truly became of each plot, by the number of the plot.

    Attributes:
        truth: kind by plot.
        before, after: outlines with the number of their plot.
    """

    truth: dict[int, str] = field(default_factory=dict)
    before: list[tuple[int, shapely.Polygon]] = field(default_factory=list)
    after: list[tuple[int, shapely.Polygon]] = field(default_factory=list)

    def shifted(self, east: float, north: float, turn: float, noise_m: float, seed: int) -> Town:
        """The town where the later date lies elsewhere, turned by degrees, and all outlines are noisy."""
        random = np.random.default_rng(seed)
        middle = shapely.union_all([outline for _, outline in self.before]).envelope.centroid

        def moved(outline: shapely.Polygon) -> shapely.Polygon:
            return affinity.translate(affinity.rotate(outline, turn, origin=middle), east, north)

        before = [(plot, noisy(outline, noise_m, random)) for plot, outline in self.before]
        after = [(plot, noisy(moved(outline), noise_m, random)) for plot, outline in self.after]
        return Town(self.truth, before, after)


def noisy(outline: shapely.Polygon, noise_m: float, random: np.random.Generator) -> shapely.Polygon:
    """An outline whose corners are each a little off."""
    ring = np.array(outline.exterior.coords)[:-1]
    found = shapely.Polygon(ring + random.normal(0, noise_m, ring.shape))
    return found if found.is_valid else outline


def house(plot: int, columns: int, random: np.random.Generator) -> shapely.Polygon:
    """A house, L-shaped now and then, at any angle, within the middle of its plot."""
    x, y = (plot % columns + 0.5) * PLOT_M + ORIGIN[0], (plot // columns + 0.5) * PLOT_M + ORIGIN[1]
    width, depth = random.uniform(8, 14), random.uniform(7, 12)
    outline = shapely.box(-width / 2, -depth / 2, width / 2, depth / 2)
    if random.random() < 0.3:
        outline = outline.difference(shapely.box(0.1 * width, 0.1 * depth, width, depth))
    outline = affinity.rotate(outline, random.choice([0, 12, 30, 77]), origin=(0, 0))
    return affinity.translate(outline, x + random.uniform(-1, 1), y + random.uniform(-1, 1))


def grown(outline: shapely.Polygon, by_m: float) -> shapely.Polygon:
    """An outline with an annex along its longest side."""
    box = outline.minimum_rotated_rectangle
    corners = np.array(box.exterior.coords)
    sides = np.hypot(*np.diff(corners, axis=0).T)
    first = int(sides.argmax())
    start, end = corners[first], corners[first + 1]
    outward = (end - start)[::-1] * [1, -1] / sides[first]
    if shapely.Point((start + end) / 2 + outward).within(box):
        outward = -outward
    annex = shapely.Polygon([start, end, end + outward * by_m, start + outward * by_m])
    return shapely.union(box, annex.buffer(0.01, join_style="mitre")).simplify(0.05)


def halves(outline: shapely.Polygon, gap_m: float) -> list[shapely.Polygon]:
    """An outline's bounding rectangle cut in two across its longest side."""
    corners = np.array(outline.minimum_rotated_rectangle.exterior.coords)
    sides = np.hypot(*np.diff(corners, axis=0).T)
    first = int(sides[:2].argmax())
    a, b, c, d = (corners[(first + step) % 4] for step in range(4))
    along = (b - a) / sides[first]
    middle = sides[first] / 2
    near, far = along * (middle - gap_m / 2), along * (middle + gap_m / 2)
    return [shapely.Polygon([a, a + near, d + near, d]), shapely.Polygon([a + far, b, c, d + far])]


def town(columns: int, rows: int, seed: int, kinds: Sequence[str] = (), share: float = 0.25) -> Town:
    """A town, a share of whose plots changed, each in one of the kinds."""
    random = np.random.default_rng(seed)
    made = Town()
    for plot in range(columns * rows):
        outline = house(plot, columns, random)
        kind = str(random.choice(kinds)) if len(kinds) and random.random() < share else "unchanged"
        made.truth[plot] = kind
        before, after = lived(outline, kind, random)
        made.before += [(plot, each) for each in before]
        made.after += [(plot, each) for each in after]
    return made


def lived(
    outline: shapely.Polygon, kind: str, random: np.random.Generator
) -> tuple[list[shapely.Polygon], list[shapely.Polygon]]:
    """The houses of a plot before and after."""
    box = outline.minimum_rotated_rectangle
    if kind == "new":
        return [], [outline]
    if kind == "removed":
        return [outline], []
    if kind == "grown":
        return [box], [grown(box, random.uniform(4, 6))]
    if kind == "shrunk":
        return [grown(box, random.uniform(4, 6))], [box]
    if kind == "split":
        return [grown(box, 5)], halves(grown(box, 5), random.uniform(3, 4))
    if kind == "merged":
        return halves(grown(box, 5), random.uniform(3, 4)), [grown(box, 5)]
    if kind == "moved":
        angle = random.uniform(0, 2 * np.pi)
        step = random.uniform(5, 8)
        return [outline], [affinity.translate(outline, step * np.cos(angle), step * np.sin(angle))]
    if kind == "replaced":
        corner = np.array(box.exterior.coords)[0]
        other = affinity.rotate(affinity.scale(box, 1.5, 0.5), 90)
        return [box], [affinity.translate(other, *(corner - np.array(box.centroid.coords)[0]) / 4)]
    return [outline], [outline]


def write(path: Path, houses: Sequence[tuple[int, shapely.Polygon]], crs: str = CRS) -> str:
    """A layer of houses; returns its path."""
    path.unlink(missing_ok=True)
    outlines = np.array([outline for _, outline in houses], object)
    columns = {"plot": np.array([plot for plot, _ in houses], np.int64)}
    write_layer(path, "houses", columns, shapely.to_wkb(outlines), "Polygon", crs)
    return str(path)
