"""How well the faults of labels are found: known shifts, labels thrown at random, and labels left out or made up.

    python benchmarks/label_quality.py --data ../shared/data

First the shift alone, of labels moved by 0 to 4 m in four directions, and of labels each moved somewhere else, which
have none to be found. Then all of it, with a run of the embedded model: a tenth of the labels left out, as many made
up, and half as many drawn twice.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyogrio.raw
import rasterio.features
import shapely
from rasterio.errors import NotGeoreferencedWarning

from orthomask.engine import predict
from orthomask.engine.images.grid import Window
from orthomask.engine.images.raster import open_image, open_reader
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import Image, InspectRequest, Labels, PredictRequest
from orthomask.training.loop import quality
from orthomask.training.loop.offset import estimate, fits
from orthomask.training.truth.labels import Grid
from orthomask.training.truth.vectors import read_polygons

MOVED_M = (0.0, 0.5, 1.0, 2.0, 4.0)
WAYS = np.array([(1, 0), (0, 1), (-0.6, 0.8), (0.8, -0.6)])
COUNTS, TRIALS = (10, 30, 100), 50
MOST = 300
"""Labels looked at in a place, on average."""
LEAST_M2, APART_M = 10.0, (15.0, 60.0)
SAMPLES = (
    ("Banepa", "banepa_nepal_ortho_3072x4096.tif", "banepa_nepal_buildings.gpkg"),
    ("Kampala", "kampala_ortho_3072x2048.tif", "kampala_buildings.gpkg"),
)
PICTURES = (("Zanzibar", "zanzibar", 0.1485, 2), ("Rotterdam", "rotterdam_sn6", 0.5, 1))
"""Name, folder, metres per pixel, and how many pixels become one."""


class Scene(NamedTuple):
    """A picture `(H, W)` with its labels, in pixels."""

    bright: np.ndarray
    labels: list[shapely.Polygon]

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """What `fits` reads; nothing is valid beyond the picture."""
        x, y, width, height = window
        part = self.bright[max(0, y) : y + height, max(0, x) : x + width]
        whole = part.shape == (height, width)
        return (part, part > 0) if whole else (np.zeros((height, width)), np.zeros((height, width), bool))


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = options.parse_args().data
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    print("| place | labels | unmoved, it finds (m) | error at 0.5 to 4 m: median, worst (m) |")
    scenes = [(name, gsd_m, found) for name, gsd_m, found in places(data)]
    for name, gsd_m, found in scenes:
        print(f"| {name} |", shift_row(found, gsd_m))
    print("| labels | moved 1 m: found | error, worst (m) | unmoved: false alarms | at random: false alarms |")
    for count in COUNTS:
        print(f"| {count} |", chance_row([scene for scene in scenes if scene[0] != "Rotterdam"], count))
    print("| place | left out: found | made up: found | twice: found | other findings |")
    for name, image, labels in SAMPLES:
        print(f"| {name} |", fault_row(data / "samples" / image, data / "samples" / labels))


def places(data: Path) -> Iterator[tuple[str, float, list[Scene]]]:
    """Name, metres per pixel and scenes of each place."""
    for name, image, labels in SAMPLES:
        with open_image(Image(str(data / "samples" / image))) as source:
            lattice = source.lattice(0.3, 0, 0)
            grid = Grid(lattice.crs, lattice.transform, lattice.width_px, lattice.height_px)
            layer = str(pyogrio.list_layers(data / "samples" / labels)[0][0])
            drawn = shapely.get_parts(read_polygons(str(data / "samples" / labels), layer, [], "", grid).geometries)
            with open_reader(source, lattice, (1, 2, 3)) as reader:
                pixels, valid = reader.read(Window(0, 0, grid.width_px, grid.height_px))
        yield name, 0.3, [Scene(np.where(valid, pixels.mean(axis=0) + 1, 0), list(drawn))]
    for name, folder, gsd_m, step in PICTURES:
        root = data / "buildings" / "more" / folder
        yield (
            name,
            gsd_m * step,
            [_picture(path, root / "masks", step, gsd_m) for path in sorted((root / "images").iterdir())],
        )


def _picture(path: Path, masks: Path, step: int, gsd_m: float) -> Scene:
    with rasterio.open(path) as dataset, rasterio.open(masks / f"{path.stem}.png") as truth:
        bright, mask = dataset.read().mean(axis=0) + 1, truth.read(1)
    height, width = (size // step * step for size in bright.shape)
    small = bright[:height, :width].reshape(height // step, step, width // step, step).mean(axis=(1, 3))
    drawn = (shapely.geometry.shape(shape) for shape, value in rasterio.features.shapes(mask) if value == 255)
    large = [outline for outline in drawn if outline.area * gsd_m**2 >= LEAST_M2]
    return Scene(
        small, [shapely.affinity.scale(shape, 1 / step, 1 / step, origin=(0, 0)).simplify(0.7) for shape in large]
    )


def maps(scenes: list[Scene], step: np.ndarray | None, rng: np.random.Generator) -> list[np.ndarray]:
    """How labels fit that were moved by a step in pixels, each somewhere else if that is None."""
    found = []
    share = min(1.0, MOST / sum(len(scene.labels) for scene in scenes))
    for scene in scenes:
        for label in scene.labels:
            if rng.random() > share:
                continue
            angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(*APART_M) / 0.3
            moved = (far * np.cos(angle), far * np.sin(angle)) if step is None else step
            fit = fits(shapely.affinity.translate(label, *moved), scene.read)
            found += [fit] if fit is not None else []
    return found


def shift_row(scenes: list[Scene], gsd_m: float) -> str:
    """What is found without moving, and the errors relative to that."""
    rng = np.random.default_rng(1)
    still = estimate(maps(scenes, np.zeros(2), rng))
    errors = []
    for metres, way in itertools.product(MOVED_M[1:], WAYS):
        found = estimate(maps(scenes, metres / gsd_m * way, rng))
        errors.append(
            np.hypot(found.x - still.x + metres / gsd_m * way[0], found.y - still.y + metres / gsd_m * way[1]) * gsd_m
        )
    own, errors_m = np.hypot(still.x, still.y) * gsd_m, (np.median(errors), max(errors))
    reported = "reported" if still.exceeds(gsd_m) and still.is_better else "not reported"
    return (
        f"{still.labels} | {own:.2f} ± {still.margin * gsd_m:.2f}, {reported} | {errors_m[0]:.2f}, {errors_m[1]:.2f} |"
    )


def chance_row(places_: list[tuple[str, float, list[Scene]]], count: int) -> str:
    """How often a shift is reported, from a few labels drawn at random."""
    rng = np.random.default_rng(2)
    moved, errors, still, lost = [], [], [], []
    for _, gsd_m, scenes in places_:
        sets = [maps(scenes, step, rng) for step in (np.array((0.6, 0.8)) / gsd_m, np.zeros(2), None)]
        for _, (kind, into) in itertools.product(range(TRIALS), zip(sets, (moved, still, lost))):
            drawn = [kind[number] for number in rng.choice(len(kind), min(count, len(kind)), replace=False)]
            found = estimate(drawn)
            into.append(found.exceeds(gsd_m) and found.is_better)
            if into is moved and into[-1]:
                errors.append(np.hypot(found.x + 0.6 / gsd_m, found.y + 0.8 / gsd_m) * gsd_m)
    shares = [f"{sum(found)} of {len(found)}" for found in (moved, still, lost)]
    return f"{shares[0]} | {max(errors, default=0):.2f} | {shares[1]} | {shares[2]} |"


def fault_row(image: Path, labels: Path) -> str:
    """Plant faults among labels, and count which are found."""
    rng = np.random.default_rng(3)
    layer = str(pyogrio.list_layers(labels)[0][0])
    meta, _, wkb, _ = pyogrio.raw.read(labels, layer=layer, columns=[])
    drawn = shapely.make_valid(shapely.from_wkb(wkb))
    share, tree = len(drawn) // 10, shapely.STRtree(drawn)
    order = rng.permutation(len(drawn))
    gone, kept = drawn[order[:share]], drawn[order[share:]]
    false: list[shapely.Geometry] = []
    extent = shapely.box(*shapely.total_bounds(drawn)).buffer(-20)
    while len(false) < share:
        x, y = rng.uniform(extent.bounds[:2], extent.bounds[2:])
        label = kept[rng.integers(len(kept))]
        label = shapely.affinity.translate(label, x - label.centroid.x, y - label.centroid.y)
        false += [label] if not len(tree.query(label, predicate="intersects")) else []
    twice = kept[: share // 2]
    with tempfile.TemporaryDirectory() as folder:
        path, out, run = Path(folder, "labels.gpkg"), Path(folder, "findings.gpkg"), f"{folder}/run"
        planted = shapely.multipolygons([shapely.get_parts(one) for one in [*kept, *false, *twice]])
        write_layer(path, "labels", {}, shapely.to_wkb(planted), "MultiPolygon", meta["crs"])
        predict.run(PredictRequest(Image(str(image)), "buildings", run), Progress())
        quality.run(InspectRequest((Labels(str(path)),), str(out), run_dir=run), Progress())
        _, _, shapes, columns = pyogrio.raw.read(out, layer="findings", columns=["kind", "label"])
    kinds, numbers = columns
    first, last = len(kept) + 1, len(kept) + share
    made_up = (kinds == "contradicted") & (numbers >= first) & (numbers <= last)
    double = (kinds == "double") & (numbers > last)
    missing = shapely.from_wkb(shapes)[kinds == "unlabelled"]
    covered = shapely.area(shapely.intersection(gone, shapely.union_all(missing))) / shapely.area(gone)
    own = ~shapely.intersects(missing, shapely.union_all(gone))
    others = f"no label {own.sum()}, contradicted {(kinds == 'contradicted').sum() - made_up.sum()}"
    return (
        f"{(covered > 0.3).sum()} of {share} | {made_up.sum()} of {share} | {double.sum()} of {len(twice)} | {others} |"
    )


if __name__ == "__main__":
    main()
