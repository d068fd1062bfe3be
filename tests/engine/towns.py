"""Synthetic towns at two dates, with the truth about what became of each house."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import rasterio
import rasterio.features
import shapely
from affine import Affine
from shapely import affinity

from orthomask.engine.runs.runs import NODATA, SCALE
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import CHANGES_LAYER, ChangesResult, ClassInfo, Outline, to_json

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
        other = affinity.rotate(affinity.scale(box, 1.7, 0.6), 90)
        return [box], [affinity.translate(other, *(corner - np.array(box.centroid.coords)[0]) / 4)]
    return [outline], [outline]


def fields(columns: int, rows: int, seed: int, side_m: float = 200.0) -> Town:
    """Fields that share their borders: of each four, one is split, two are merged, one stays; some are lost in part.

    The number of a plot is that of the field before; a third of the splits are lost to a farmyard instead.
    """
    random = np.random.default_rng(seed)
    x = ORIGIN[0] + np.cumsum([0, *random.uniform(0.8, 1.2, columns) * side_m])
    y = ORIGIN[1] + np.cumsum([0, *random.uniform(0.8, 1.2, rows) * side_m])
    made = Town()
    for plot in range(columns * rows):
        column, row = plot % columns, plot // columns
        field_ = shapely.box(x[column], y[row], x[column + 1], y[row + 1])
        made.before.append((plot, field_))
        kind = ("split", "unchanged", "merged", "merged")[plot % 4]
        if plot % 12 == 4:
            kind = "shrunk"
            farmyard = shapely.box(x[column] - 1, y[row] - 1, x[column] + 60, y[row] + 70)
            made.after.append((plot, field_.difference(farmyard)))
        elif kind == "split":
            cut = shapely.box(x[column], y[row], (x[column] + x[column + 1]) / 2, y[row + 1])
            made.after += [(plot, cut), (plot, field_.difference(cut))]
        elif kind == "merged" and plot % 4 == 2:
            made.after.append((plot, shapely.box(x[column], y[row], x[column + 2], y[row + 1])))
        elif kind == "unchanged":
            made.after.append((plot, field_))
        made.truth[plot] = kind
    return made


def write(path: Path, houses: Sequence[tuple[int, shapely.Polygon]], crs: str = CRS) -> str:
    """A layer of houses; returns its path."""
    path.unlink(missing_ok=True)
    outlines = np.array([outline for _, outline in houses], object)
    columns = {"plot": np.array([plot for plot, _ in houses], np.int64)}
    write_layer(path, "houses", columns, shapely.to_wkb(outlines), "Polygon", crs)
    return str(path)


def write_run(
    folder: Path, houses: Sequence[tuple[int, shapely.Polygon]], *, date: str = "", gsd_m: float = 0.5,
    size_m: float = 120.0, run_id: str = "", likely: Sequence[tuple[shapely.Polygon, float]] = (),
    missing: shapely.Polygon | None = None, image: Path | None = None, name: str = "building",
    outline: Outline = Outline.SQUARED,
) -> str:  # fmt: skip
    """A finished run that found these houses; returns its folder.

    Args:
        likely: probabilities elsewhere than in the houses.
        missing: where there is no data.
    """
    folder.mkdir(parents=True)
    info = ClassInfo(1, name, "#e6007e", outline)
    side = round(size_m / gsd_m)
    transform = Affine(gsd_m, 0, ORIGIN[0], 0, -gsd_m, ORIGIN[1] + size_m)
    shapes = [*likely, *((each, 0.95) for _, each in houses)]
    found = rasterio.features.rasterize(
        shapes or [(shapely.box(0, 0, 1, 1), 0)], (side, side), fill=0.02, transform=transform, dtype="float32"
    )
    stored = np.round(found * SCALE).astype(np.uint8)
    if missing is not None:
        stored[rasterio.features.rasterize([missing], (side, side), transform=transform) > 0] = NODATA
    record = {"run_id": run_id or folder.name, "classes": [to_json(info)]}
    classes = np.where(stored == NODATA, NODATA, stored >= 0.5 * SCALE).astype(np.uint8)
    for kind, pixels in (("probabilities", stored), ("classes", classes)):
        with rasterio.open(
            folder / f"{kind}.tif", "w", driver="GTiff", count=1, height=side, width=side, dtype="uint8", crs=CRS,
            transform=transform, nodata=NODATA,
        ) as dataset:  # fmt: skip
            dataset.write(pixels, 1)
            dataset.update_tags(ORTHOMASK=json.dumps(record))
    path = folder / "polygons.gpkg"
    columns = {
        "id": np.arange(1, len(houses) + 1), "class": np.full(len(houses), name, object),
        "confidence": np.full(len(houses), 0.95), "outline": np.full(len(houses), "squared", object),
    }  # fmt: skip
    outlines = np.array([each for _, each in houses], object)
    write_layer(path, "polygons", columns, shapely.to_wkb(outlines), "Polygon", CRS)
    run = {
        "run_id": record["run_id"], "threshold": 0.5, "image_date": date,
        "request": {"image": {"path": str(image or "gone.tif")}, "model": "gone.safetensors"},
        "model": {"name": "town", "title": "Town", "sha256": "abc", "gsd_m": gsd_m, "classes": [to_json(info)]},
        "source": {"crs": pyproj.CRS(CRS).to_wkt(), "gsd_m": [gsd_m, gsd_m]},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return str(folder)


def square(column: float, row: float, side_m: float = 12.0) -> shapely.Polygon:
    """A square with its lower left corner at a place, in metres from the origin."""
    x, y = ORIGIN[0] + column, ORIGIN[1] + row
    return shapely.box(x, y, x + side_m, y + side_m)


def table(result: ChangesResult, layer: str = CHANGES_LAYER) -> dict[str, np.ndarray]:
    """The attributes of a layer of changes."""
    meta, _, _, data = pyogrio.raw.read(result.changes_path, layer=layer, read_geometry=False)
    return dict(zip(meta["fields"], data))
