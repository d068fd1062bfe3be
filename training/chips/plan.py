"""Plan chips: their grids, areas or blocks, and which to leave out so that splits never touch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine

from ...engine.images import regions
from ...engine.images.grid import Lattice, Window
from ...engine.images.raster import Source, open_image
from ...protocol import Areas, ChipsRequest, LabelledImage, Split
from ...protocol.words import tr
from ..truth.area_states import read_areas
from ..truth.labels import open_truth
from ..truth.placing import Grid

BLOCKS = 20
"""Least number of blocks of an image without areas, if chips are small enough."""
MISSING_SHARE = 0.25
"""Up to this share of a stride at the end of an area is skipped: another chip would mostly repeat the last one."""
BLOCK_CHIPS = 8
"""Chips along the side of the largest block."""
GAP_PX = 1
"""From a block to the border with the next."""
MARGIN_PX = 0.5
"""Chips of different splits are more than twice this apart."""
SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
GIVING_WAY = (Split.TEST, Split.VALIDATION, Split.TRAIN)
"""Where chips of two splits touch, the later split's is left out: data that measures a model matters most."""
ROUNDING_PX = 1e-6
"""An area that reaches no further into a pixel was drawn along its edge."""
LONGITUDE_LATITUDE = "EPSG:4326"


@dataclass(frozen=True)
class Batch:
    """An image on one grid: at one resolution, turned by one angle.

    Attributes:
        lattice: its windows have the chips' size.
    """

    number: int
    data: LabelledImage
    lattice: Lattice
    gsd_m: float
    rotation: float

    @property
    def grid(self) -> Grid:
        """The grid that ground truth is burned onto."""
        return Grid(self.lattice.crs, self.lattice.transform, self.lattice.width_px, self.lattice.height_px)


class Place(NamedTuple):
    """Where to cut a chip."""

    batch: int
    window: Window
    split: Split


class Zone(NamedTuple):
    """A part of a grid whose chips belong to one split.

    Attributes:
        polygon: in pixels of the grid.
        closed: chips lie inside it; otherwise they may extend beyond it, where nothing is known.
    """

    split: Split
    polygon: shapely.Geometry
    closed: bool


class Plan(NamedTuple):
    """All chips to be cut.

    Attributes:
        places: by batch, then row by row.
        splits: those that have an area or a block.
        crossing: number of chips left out because they touch another split.
    """

    batches: tuple[Batch, ...]
    places: tuple[Place, ...]
    splits: tuple[Split, ...]
    crossing: int
    warnings: tuple[str, ...]


def make_plan(request: ChipsRequest) -> Plan:
    """Place the chips of a request without reading any pixels.

    Raises:
        OrthomaskError: an image, its labels or its areas cannot be read.
    """
    batches: list[Batch] = []
    places: list[Place] = []
    splits: set[Split] = set()
    warnings: list[str] = []
    crossing = 0
    for data in request.data:
        with open_image(data.image) as source:
            found = list(_batches(source, data, request, len(batches)))
            base, _ = grid_at(source, max(request.gsd_m, default=0.0), 0.0, request.chip_px)
            warnings += _stretched(source, request)
        blocks = [] if data.areas else deal_blocks(data, base, request)
        splits |= {split for split, share in zip(SPLITS, request.shares) if share and not data.areas}
        for batch in found:
            zones = _areas(batch, data.areas) if data.areas else _blocks(batch, base, blocks)
            splits |= {zone.split for zone in zones}
            for zone in zones:
                inside, outside = windows(zone, batch.lattice, request.stride_px)
                places += [Place(batch.number, window, zone.split) for window in inside]
                crossing += outside
        batches += found
    places = sorted(dict.fromkeys(places), key=lambda place: (place.batch, place.window.y, place.window.x))
    kept = separated(batches, places)
    there = tuple(split for split in SPLITS if split in splits)
    return Plan(tuple(batches), kept, there, crossing + len(places) - len(kept), tuple(warnings))


def _batches(source: Source, data: LabelledImage, request: ChipsRequest, first: int) -> Iterator[Batch]:
    resolutions = list(dict.fromkeys(request.gsd_m)) or [0.0]
    turns = list(dict.fromkeys(rotation % 360 for rotation in request.rotations))
    for number, (gsd_m, rotation) in enumerate(product(resolutions, turns), start=first):
        lattice, actual_m = grid_at(source, gsd_m, rotation, request.chip_px)
        yield Batch(number, data, lattice, actual_m, rotation)


def grid_at(source: Source, gsd_m: float, rotation: float, chip_px: int) -> tuple[Lattice, float]:
    """The grid of an image at a resolution, rotated clockwise by degrees, and its real resolution in metres.

    With a `gsd_m` of 0 and no rotation it is the image's own, even if its pixels are not square.
    """
    dataset = source.dataset
    own_m = math.sqrt(source.gsd_m[0] * source.gsd_m[1])
    if not gsd_m and not rotation:
        crs = source.crs.to_wkt()
        return Lattice(crs, source.transform, dataset.width, dataset.height, chip_px, 0), own_m
    lattice = source.lattice(gsd_m or own_m, chip_px, 0)
    return turned(lattice, rotation), own_m if source.fits(gsd_m or own_m) else gsd_m or own_m


def turned(lattice: Lattice, degrees: float) -> Lattice:
    """A lattice rotated clockwise about its centre, enlarged to cover its former extent."""
    if not degrees:
        return lattice
    width, height = lattice.width_px, lattice.height_px
    cosine, sine = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    across, down = (math.ceil(size - 1e-6) for size in (width * cosine + height * sine, width * sine + height * cosine))
    move = Affine.translation(width / 2, height / 2) @ Affine.rotation(degrees)
    transform = lattice.transform @ move @ Affine.translation(-across / 2, -down / 2)
    return Lattice(lattice.crs, transform, across, down, lattice.window_px, lattice.overlap_px)


def _stretched(source: Source, request: ChipsRequest) -> list[str]:
    east, north = source.gsd_m
    if request.gsd_m or abs(east / north - 1) <= 0.05:
        return []
    return [
        tr(
            "The pixels of “{}” are not square on the ground ({:.3g} m x {:.3g} m), so the chips are not square "
            "either; set a resolution to get square ones."
        ).format(source.name, east, north)
    ]


def deal_blocks(data: LabelledImage, base: Lattice, request: ChipsRequest) -> list[tuple[Split, shapely.Geometry]]:
    """Equal blocks of a grid, in its CRS, dealt to the splits by their shares; the rest of 1 goes to none.

    There is a gap between blocks. A block fits a chip at any of the rotations. Blocks with labels are dealt first, then
    those without, so that every split gets its share of the labels.
    """
    turns = [math.radians(rotation) for rotation in request.rotations]
    chip_px = request.chip_px * max(abs(math.cos(turn)) + abs(math.sin(turn)) for turn in turns)
    chips = base.width_px * base.height_px / chip_px**2
    side = min(max(1, math.isqrt(int(chips / BLOCKS))), BLOCK_CHIPS)
    if max(request.shares) == 1:  # one split: one block
        side = max(base.width_px, base.height_px)
    left, right = _edges(base.width_px, chip_px, side)
    top, bottom = _edges(base.height_px, chip_px, side)
    x, y = (index.ravel() for index in np.meshgrid(range(len(left)), range(len(top))))
    boxes = np.random.default_rng(request.seed).permutation(shapely.box(left[x], top[y], right[x], bottom[y]))
    boxes = boxes[np.argsort(~_labelled(boxes, data, base, request), kind="stable")]
    blocks = regions.transformed(shapely.segmentize(boxes, chip_px), base.transform)
    return [(split, block) for split, block in zip(dealt(len(boxes), request.shares), blocks) if split]


def _labelled(boxes: np.ndarray, data: LabelledImage, base: Lattice, request: ChipsRequest) -> np.ndarray:
    """Whether each box of a grid contains labels."""
    grid = Grid(base.crs, base.transform, base.width_px, base.height_px)
    bounds = shapely.bounds(shapely.intersection(boxes, grid.box)).astype(int)
    inside = [Window(left, top, right - left, bottom - top) for left, top, right, bottom in bounds.tolist()]
    with open_truth(data.labels, None, request.classes, grid, data.touch) as truth:
        return np.array([bool(truth.polygons(window)) for window in inside])


def _edges(size_px: int, chip_px: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end pixels of the blocks along one axis, at least `side` chips long, with gaps between them.

    The number of blocks is chosen so that chips overlap and miss as little as possible.
    """
    room = chip_px + 2 * GAP_PX + 2
    most = max(1, min(round(size_px / chip_px) // side, int(size_px / room)))

    def mismatch(count: int) -> float:
        chip = math.ceil(chip_px)
        return abs(count * len(starts(0, int(size_px / count) - 2 * GAP_PX, chip, chip, size_px)) * chip - size_px)

    count = min(range(most, most // 2, -1), key=mismatch)
    edges = np.linspace(0, size_px, count + 1)
    left, right = edges[:-1] + GAP_PX, edges[1:] - GAP_PX
    beyond = room if size_px < room else 0.0  # a chip larger than the image extends beyond it
    left[0], right[-1] = -beyond, size_px + beyond
    return left, right


def dealt(count: int, shares: Sequence[float]) -> list[Split | None]:
    """The splits of `count` blocks, evenly mixed, so that any first few are shared out as well.

    Each split gets at least one; if there are too few, earlier splits come first. None is a block left over.
    """
    limit = round(count * sum(shares))
    parts = [max(1, round(count * share)) if share else 0 for share in shares]
    while sum(parts) > limit:
        parts[max(range(len(parts)), key=lambda i: (parts[i], i))] -= 1
    parts[int(np.argmax(shares))] += limit - sum(parts)
    numbered = zip((*SPLITS, None), (*parts, count - limit))
    mixed = [((index + 0.5) / part, split) for split, part in numbered for index in range(part)]
    return [split for _, split in sorted(mixed, key=lambda item: item[0])]


def _areas(batch: Batch, areas: Areas) -> list[Zone]:
    found, _ = read_areas(areas, batch.grid)
    return [Zone(area.split, area.polygon, False) for area in found if area.split is not Split.TODO]


def _blocks(batch: Batch, base: Lattice, blocks: Sequence[tuple[Split, shapely.Geometry]]) -> list[Zone]:
    lattice = batch.lattice
    moved = [regions.reprojected(block, base.crs, lattice.crs) for _, block in blocks]
    pixels = regions.transformed(np.array(moved, object), ~lattice.transform)
    return [Zone(split, polygon, True) for (split, _), polygon in zip(blocks, pixels)]


def windows(zone: Zone, lattice: Lattice, stride_px: int) -> tuple[list[Window], int]:
    """The chips of a zone, one every `stride_px` and the last at its end, and how many cross a closed zone's edge."""
    side = lattice.window_px
    left, top, right, bottom = zone.polygon.bounds
    outward, inward, slack = (math.ceil, math.floor, 0.0) if zone.closed else (math.floor, math.ceil, ROUNDING_PX)
    columns = starts(outward(left + slack), inward(right - slack), side, stride_px, lattice.width_px)
    rows = starts(outward(top + slack), inward(bottom - slack), side, stride_px, lattice.height_px)
    x, y = (start.ravel() for start in np.meshgrid(columns, rows))
    boxes = shapely.box(x, y, x + side, y + side)
    shapely.prepare(zone.polygon)
    overlapping = shapely.area(shapely.intersection(zone.polygon, boxes)) > ROUNDING_PX
    chosen = overlapping & shapely.covers(zone.polygon, boxes) if zone.closed else overlapping
    found = [Window(int(x), int(y), side, side) for x, y in zip(x[chosen], y[chosen])]
    return found, int(overlapping.sum()) - len(found)


def starts(first: int, end: int, side: int, stride: int, size: int) -> list[int]:
    """Where chips start along one axis: every `stride` pixels from `first` on, and one more that ends at `end`.

    If the extra chip would add little, it is omitted and the others are centred. A chip longer than the space is
    centred on it, as far as the image of `size` pixels allows.
    """
    first, end = max(0, first), min(end, size)
    room = end - first - side
    if room < 0:
        return [max(0, min(first + room // 2, size - side))]
    steps, missing = divmod(room, stride)
    more = missing > stride * MISSING_SHARE
    start = first if more else first + missing // 2
    return [*(start + step * stride for step in range(steps + 1)), *([end - side] if more else [])]


def separated(batches: Sequence[Batch], places: Sequence[Place]) -> tuple[Place, ...]:
    """The places, minus those that touch a split that matters more."""
    outlines = footprints(batches, places)
    kept = np.zeros(len(places), bool)
    for split in GIVING_WAY:
        mine = np.array([number for number, place in enumerate(places) if place.split is split], int)
        touching, _ = shapely.STRtree(outlines[kept]).query(outlines[mine], predicate="intersects")
        kept[np.delete(mine, np.unique(touching))] = True
    return tuple(place for place, keep in zip(places, kept) if keep)


def footprints(batches: Sequence[Batch], places: Sequence[Place]) -> np.ndarray:
    """The ground under each chip plus a margin, in longitude and latitude, so that images can be compared."""
    outlines = np.empty(len(places), object)
    for batch in batches:
        mine = np.array([number for number, place in enumerate(places) if place.batch == batch.number], int)
        x, y = (np.array([place.window[axis] for place in (places[n] for n in mine)], float) for axis in (0, 1))
        side = batch.lattice.window_px
        boxes = shapely.box(x - MARGIN_PX, y - MARGIN_PX, x + side + MARGIN_PX, y + side + MARGIN_PX)
        bent = regions.transformed(shapely.segmentize(boxes, side / 4), batch.lattice.transform)
        outlines[mine] = regions.reprojected(bent, batch.lattice.crs, LONGITUDE_LATITUDE)
    return outlines
