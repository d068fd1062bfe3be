"""Cut images and their labels into chips: read, check, write, catalogue; all or nothing."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyproj
from affine import Affine

from ...engine.compute.devices import version
from ...engine.images.grid import Window
from ...engine.images.raster import Reader, Source, open_image, open_reader
from ...engine.outputs import building, write_atomically, writing
from ...engine.progress import Progress
from ...protocol import (
    BACKGROUND,
    UNKNOWN,
    Catalogue,
    ChipsRequest,
    ChipsResult,
    ErrorCode,
    Existing,
    OrthomaskError,
    Split,
)
from ...protocol.words import mark, tr
from ..truth.labels import Truth, open_truth, resolve_classes
from .catalogues import ArcGis, Coco, Entry
from .formats import ChipWriter, Cut, Style
from .manifest import LAYOUT, MANIFEST, Chip, Manifest, dump_manifest, image_place, load_manifest, nodata_text, stem_of
from .plan import Batch, Place, Plan, make_plan

CATALOGUES = {Catalogue.COCO: Coco, Catalogue.ARCGIS: ArcGis}
EMPTY, FAULTY, CONSTANT, CROSSING = "empty", "faulty", "constant", "crossing"
REASONS = {
    EMPTY: mark("empty"),
    FAULTY: mark("faulty"),
    CONSTANT: mark("constant"),
    CROSSING: mark("touching another split"),
}


def run(request: ChipsRequest, progress: Progress) -> ChipsResult:
    """Cut chips and write them, with a manifest and catalogues, into a folder that appears only when complete.

    Raises:
        OrthomaskError: the folder exists, an image, labels or areas cannot be read, the format cannot hold the image,
            no chip is left, or the disk is full. The folder is then not created.
    """
    started = time.monotonic()
    target = Path(request.output_dir).resolve()
    with building(target) as folder:
        _refuse_existing(target, request.existing)
        progress.report(0.0, tr("Placing chips"))
        style = _style(request)
        plan = make_plan(request)
        with writing(folder), _Export(request, plan, style, folder) as export:
            export.cut_all(progress)
        manifest = export.manifest()
        write_atomically(folder / MANIFEST, dump_manifest(manifest))
    seconds = time.monotonic() - started
    return ChipsResult(str(target / MANIFEST), manifest.counts, manifest.left_out, seconds, manifest.warnings)


class _Read(NamedTuple):
    """A chip as read: pixels `(bands, H, W)`, whether each has image data `(H, W)`, and mask `(H, W)`."""

    pixels: np.ndarray
    valid: np.ndarray
    mask: np.ndarray

    def fault(self, max_unknown_share: float) -> str:
        """Why it is unusable; empty if usable."""
        if np.mean(self.mask == UNKNOWN) > max_unknown_share:
            return FAULTY
        row, column = np.unravel_index(self.valid.argmax(), self.valid.shape)
        first = self.pixels[:, row, column, None, None]
        varies = bool(((self.pixels != first) & self.valid).any())
        return CONSTANT if not varies else "" if self.shows_class else EMPTY

    @property
    def shows_class(self) -> bool:
        """Whether there is any foreground."""
        return bool(((self.mask != BACKGROUND) & (self.mask != UNKNOWN)).any())


class _Export(ExitStack):
    """An export under way; files are closed on leaving it."""

    def __init__(self, request: ChipsRequest, plan: Plan, style: Style, folder: Path) -> None:
        super().__init__()
        self._request, self._plan, self._style = request, plan, style
        self._writer = self.enter_context(ChipWriter(folder, style))
        self._catalogues = [self.enter_context(CATALOGUES[kind](folder, style)) for kind in request.catalogues]
        self._chips: list[Chip] = []
        self._positive: Counter[Split] = Counter()
        self._left_out = Counter({CROSSING: plan.crossing, EMPTY: 0, FAULTY: 0, CONSTANT: 0})
        self._warnings = dict.fromkeys(plan.warnings)

    def cut_all(self, progress: Progress) -> None:
        """Cut every chip of the plan; then the requested number of chips without objects."""
        all_kept = self._request.empty_share == 1
        empty = self._cut(self._plan.places, not all_kept, progress.part(0, 0.9))
        chosen = self._chosen(empty)
        self._left_out[EMPTY] = len(empty) - len(chosen)
        self._cut(chosen, False, progress.part(0.9, 1))

    def _chosen(self, empty: Sequence[Place]) -> list[Place]:
        """A sample of the chips without objects, drawn per split with the seed."""
        rng = np.random.default_rng(self._request.seed)
        chosen: list[int] = []
        for split in Split:
            found = [number for number, place in enumerate(empty) if place.split is split]
            count = min(len(found), int(self._request.empty_share * self._positive[split]))
            chosen += rng.permutation(found)[:count].astype(int).tolist()
        return [empty[number] for number in sorted(chosen)]

    def _cut(self, places: Sequence[Place], set_aside: bool, progress: Progress) -> list[Place]:
        """Cut chips and write the usable ones. Return those without objects unwritten if `set_aside`."""
        empty = []
        done = 0
        for number, group in groupby(places, key=lambda place: place.batch):
            batch = self._plan.batches[number]
            with _opened(batch, self._style) as (reader, truth):
                self._warnings |= dict.fromkeys(truth.warnings)
                for place in group:
                    done += 1
                    progress.report(done / len(places), tr("Chip {} of {}").format(done, len(places)))
                    read = _read(reader, truth, place.window)
                    fault = read.fault(self._request.max_unknown_share)
                    if fault == EMPTY and set_aside:
                        empty.append(place)
                    elif fault in {FAULTY, CONSTANT}:
                        self._left_out[fault] += 1
                    else:
                        self._write(place, batch, truth, read)
        return empty

    def _write(self, place: Place, batch: Batch, truth: Truth, read: _Read) -> None:
        lattice, window, data = batch.lattice, place.window, batch.data
        nodata = self._style.nodata
        pixels = read.pixels if nodata is None else np.where(read.valid, read.pixels, nodata).astype(self._style.dtype)
        name = f"{stem_of(data.image.path)}_{batch.number}_{window.x}_{window.y}"
        transform = lattice.transform @ Affine.translation(window.x, window.y)
        cut = Cut(name, place.split, pixels, read.mask, _crs_text(lattice.crs), transform)
        stored = self._writer.write(cut)
        for catalogue in self._catalogues:
            catalogue.add(Entry(cut, stored, truth, window))
        counts = np.bincount(read.mask.ravel())
        shares = {str(value): int(counts[value]) for value in np.flatnonzero(counts)}
        self._positive[place.split] += read.shows_class
        self._chips.append(
            Chip(
                name, place.split, stored.image, stored.mask, stored.number, data.image.path, image_place(data),
                cut.crs, tuple(transform[:6]), batch.gsd_m, batch.rotation,
                shares, _sha256(pixels), _sha256(read.mask),
            )
        )  # fmt: skip

    def manifest(self) -> Manifest:
        """What was written.

        Raises:
            OrthomaskError: no chip was.
        """
        if not self._chips:
            raise OrthomaskError(
                ErrorCode.CHIPS_EMPTY,
                tr("No chips remain ({}).").format(_listed(self._left_out)),
                tr("Make the chips smaller, allow more unknown pixels, or draw larger areas further apart."),
            )
        counts = Counter(chip.split for chip in self._chips)
        for split in self._plan.splits:
            if not counts[split]:
                told = tr("There are no chips for {}; try smaller chips, another seed or more areas.").format(
                    split.value
                )
                self._warnings[told] = None
            elif not self._positive[split]:
                self._warnings[tr("No chip for {} contains any class.").format(split.value)] = None
        style = self._style
        return Manifest(
            LAYOUT, version(), self._request, style.classes, style.bands, style.dtype, nodata_text(style.nodata),
            {split.value: counts[split] for split in Split if counts[split]}, dict(self._left_out),
            tuple(self._warnings), tuple(self._chips),
        )  # fmt: skip


@contextmanager
def _opened(batch: Batch, style: Style) -> Iterator[tuple[Reader, Truth]]:
    """The image and the ground truth of a batch, on its grid."""
    data = batch.data
    with (
        open_image(data.image) as source,
        open_reader(source, batch.lattice, source.bands(style.bands)) as reader,
        open_truth(data.labels, data.areas, style.classes, batch.grid, data.touch) as truth,
    ):
        yield reader, truth


def _read(reader: Reader, truth: Truth, window: Window) -> _Read:
    """A chip; pixels outside the image are unknown."""
    pixels, valid = reader.read(window)
    width = min(window.width, truth.grid.width_px - window.x)
    height = min(window.height, truth.grid.height_px - window.y)
    mask = np.full((window.height, window.width), UNKNOWN, np.uint8)
    mask[:height, :width] = truth.mask(Window(window.x, window.y, width, height))
    mask[~valid] = UNKNOWN
    return _Read(pixels, valid, mask)


def _style(request: ChipsRequest) -> Style:
    """What the chips have in common.

    Raises:
        OrthomaskError: the images differ in bands or type, or the format cannot hold them.
    """
    classes = resolve_classes([labels for data in request.data for labels in data.labels], request.classes)
    found: Style | None = None
    for data in request.data:
        with open_image(data.image) as source:
            style = _style_of(source, request)._replace(classes=classes)
        if found and (len(style.bands), style.dtype) != (len(found.bands), found.dtype):
            raise OrthomaskError(
                ErrorCode.IMAGE_BANDS,
                tr("“{}” has {} bands of type {}, but the first image has {} of type {}.").format(
                    source.name, len(style.bands), style.dtype, len(found.bands), found.dtype
                ),
                tr("Export them separately, or choose bands that all of them have."),
            )
        found = style if found is None or (found.nodata is None and style.nodata is not None) else found
    common = cast(Style, found)  # a request has at least one image
    common.check()
    return common


def _style_of(source: Source, request: ChipsRequest) -> Style:
    dataset, numbers = source.dataset, source.bands(source.asked_bands())
    names = source.band_names()
    bands, colours = zip(*((names[number - 1], dataset.colorinterp[number - 1]) for number in numbers))
    nodata = None if source.image.stretch else dataset.nodatavals[numbers[0] - 1]
    return Style(request.format, request.chip_px, (), bands, colours, source.pixel_type(numbers[0]), nodata)


@lru_cache
def _crs_text(wkt: str) -> str:
    """`EPSG:n` if the CRS is exactly that, else its WKT."""
    crs = pyproj.CRS.from_wkt(wkt)
    code = crs.to_epsg(min_confidence=100)
    return f"EPSG:{code}" if code and pyproj.CRS.from_epsg(code).equals(crs, ignore_axis_order=True) else wkt


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _listed(left_out: Counter[str]) -> str:
    """Numbers of chips left out, by reason, as text."""
    told = [f"{count} {tr(REASONS[reason])}" for reason, count in left_out.items() if count]
    return tr("left out: {}").format(", ".join(told)) if told else tr("none fits into the areas")


def _refuse_existing(target: Path, existing: Existing) -> None:
    """Raise if the target exists and must not be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” already exists.").format(target),
            tr("Choose another folder, or overwrite it."),
        )
    try:
        load_manifest(target)
    except OrthomaskError as error:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("“{}” contains files other than chips and is not replaced.").format(target),
            tr("Choose another folder, or empty this one."),
            error.sentence,
        ) from error
