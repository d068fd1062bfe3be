"""Read labelled pictures one by one, from folders of pictures and masks or from exported chips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from ...engine.files import is_meant
from ...protocol import BACKGROUND, UNKNOWN, ChipSet, ClassValue, ErrorCode, OrthomaskError, Pictures, Split
from ...protocol.words import SECOND, tr
from ..truth.mask_values import (
    CLEAR_SHARE,
    YES_NO,
    are_greys,
    blurred_note,
    has_colors,
    is_yes_no,
    packed,
    refuse_blurred,
    restored,
    true_values,
    yes_no_note,
)
from .formats import ARRAYS, IMAGE_KEYS, JPEGS, MASK_KEYS, RASTERS, ChipReader, is_chip_mask, read_arrays, read_raster
from .manifest import load_manifest
from .pairing import is_named_mask, partners

SHOWN = 5
"""How many values an error names."""


class Tile(NamedTuple):
    """An image and its mask.

    Attributes:
        name: stem of the file.
        pixels: `(bands, H, W)`, in the image's own type and units; 0 where there is no image.
        mask: `(H, W)` uint8 class values, 255 where unknown.
        gsd_m: ground sampling distance, metres per pixel.
        place: where it was taken, for tables of scores.
        origin: upper left corner in the image's CRS; None without georeference.
        file: name of the image's file, for messages.
        second_bands: how many of the last bands are those of a second picture.
    """

    name: str
    pixels: np.ndarray
    mask: np.ndarray
    gsd_m: float
    split: Split
    place: str
    origin: tuple[float, float] | None = None
    file: str = ""
    second_bands: int = 0

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of its bands: empty for those of a first picture, numbers for those of a second."""
        unnamed = len(self.pixels) - self.second_bands
        return ("",) * unnamed + tuple(f"{SECOND}{number}" for number in range(1, self.second_bands + 1))


class _Pair(NamedTuple):
    """The files of a picture, or of a stack of pictures, its mask, its boundary lines and its second picture if any."""

    image: Path
    mask: Path
    lines: Path | None = None
    second: Path | None = None


def _keep_quiet(_warning: str) -> None:
    pass


def read_pictures(pictures: Pictures, root: str, warn: Callable[[str], None] = _keep_quiet) -> Iterator[Tile]:
    """Read pictures with their masks, joined into larger ones if requested; relative paths start at `root`.

    Only one picture, or one group of joined ones, is in memory at a time.

    Args:
        warn: called with each warning about the masks, before the first picture.

    Raises:
        OrthomaskError: there are none, a file cannot be read, a mask is missing or differs in size from its picture,
            or a value in it is not mapped.
    """
    pairs = _pairs(Path(root), pictures)
    if pictures.boundaries:
        lines = _files(Path(root), pictures.boundaries)
        found = partners([pair.image for pair in pairs], lines, pictures.boundaries, whole=False)
        pairs = [pair._replace(lines=line) for pair, line in zip(pairs, found)]
    if pictures.second:
        others = {path.stem: path for path in _files(Path(root), pictures.second)}
        pairs = [pair._replace(second=_second_of(pair.image, others, pictures.second)) for pair in pairs]
    pictures = _understood(pictures, pairs, warn)
    if pictures.tile_step:
        yield from _join(pairs, pictures)
        return
    for pair in pairs:
        yield from _tiles(pair, pictures)


def _second_of(picture: Path, others: Mapping[str, Path], folder: str) -> Path:
    if picture.stem not in others:
        raise OrthomaskError(
            ErrorCode.IMAGE_UNREADABLE,
            tr("“{}” has no second picture in “{}”.").format(picture.name, folder),
            tr("Give each second picture the name of the first one."),
        )
    return others[picture.stem]


def read_chips(chips: ChipSet, root: str) -> Iterator[Tile]:
    """Read the chips of an export, in the order of their manifest; a relative path starts at `root`.

    Raises:
        OrthomaskError: there is no manifest, or a chip is missing or damaged.
    """
    folder = Path(root, chips.path)
    manifest = load_manifest(folder)
    with ChipReader(folder, manifest) as reader:
        for chip in manifest.chips:
            pixels, mask = reader.read(chip)
            origin = (chip.transform[2], chip.transform[5])
            yield Tile(
                chip.name,
                pixels,
                mask,
                chip.gsd_m,
                chip.split,
                chips.place or chip.place,
                origin,
                Path(chip.image).name,
            )


def place_of(name: str) -> str:
    """Where a picture was taken: the last part of its name that begins with a letter, without digits.

    `inria512_austin4_00061_481` gives `austin`.
    """
    named = [part for part in name.split("_") if part[:1].isalpha()]
    return named[-1].rstrip("0123456789") if named else "unknown"


def _files(root: Path, wanted: str) -> list[Path]:
    """The pictures of a folder, file name or pattern, sorted by name."""
    path = root / wanted
    if path.is_file():
        return [path]
    if path.is_dir():
        found = list(path.iterdir())
    else:
        found = list(path.parent.glob(path.name)) if path.parent.is_dir() else list(root.glob(wanted))
    return sorted(file for file in found if file.suffix.lower() in RASTERS | ARRAYS and is_meant(file))


def _understood(pictures: Pictures, pairs: Sequence[_Pair], warn: Callable[[str], None]) -> Pictures:
    """The pictures, with a mapping added if all masks together hold only 0 and 255."""
    blurred = next((pair.mask.name for pair in pairs if pair.mask.suffix.lower() in JPEGS), "")
    if blurred:
        warn(blurred_note(blurred))
    if pictures.mapping or not _are_yes_no(pairs):
        return pictures
    warn(yes_no_note(pictures.masks, 1))
    return replace(pictures, mapping=YES_NO)


def _are_yes_no(pairs: Sequence[_Pair]) -> bool:
    """Whether masks hold 0 and 255 and nothing else; never for masks of Orthomask chips, where 255 is unknown."""
    found: set[float] = set()
    try:
        for pair in pairs:
            if is_chip_mask(pair.mask):
                return False
            for mask in _masks(pair.mask, ()):
                values = np.unique(packed(mask))
                found |= set((values & 255 if len(mask) >= 3 and are_greys(values) else values).tolist())
                if not is_yes_no({*found, BACKGROUND, UNKNOWN}):
                    return False
    except OrthomaskError:
        return False  # reading that mask raises later
    return is_yes_no(found)


def _pairs(root: Path, pictures: Pictures) -> list[_Pair]:
    images, masks = _files(root, pictures.images), _files(root, pictures.masks)
    folder, of_masks = root / pictures.images, root / pictures.masks
    if folder.is_dir() and of_masks.is_dir() and folder.samefile(of_masks):
        images = [image for image in images if not is_named_mask(image)]
        masks = [mask for mask in masks if mask not in images or mask.suffix.lower() in ARRAYS]
    if not images:
        raise OrthomaskError(
            ErrorCode.IMAGE_UNREADABLE,
            tr("There are no images in “{}”.").format(pictures.images),
            tr("Choose a folder, a file name pattern, or an HDF5 or NPZ file."),
        )
    if folder.is_file() and of_masks.is_file():
        return [_Pair(folder, of_masks)]
    found = partners(images, masks, pictures.masks, whole=folder.is_dir() and of_masks.is_dir())
    return [_Pair(image, mask) for image, mask in zip(images, found)]


def _tiles(pair: _Pair, pictures: Pictures) -> Iterator[Tile]:
    """The pictures of two files, usually one."""
    place = pictures.place or place_of(pair.image.stem)
    for number, (pixels, values, second) in enumerate(_together(pair, pictures.mapping)):
        if pixels.shape[1:] != values.shape[1:]:
            raise _sizes(pair.mask, values.shape[1:], pixels.shape[1:])
        mask = class_values(values, pictures.mapping, pair.mask.name)
        if pair.lines:
            mask = _separated(mask, pair.lines, pictures.boundary_trim_px)
        name = f"{pair.image.stem}_{number}" if number else pair.image.stem
        whole, count = (pixels, 0) if second is None else (_stacked(pixels, second), len(second))
        yield Tile(name, whole, mask, pictures.gsd_m, pictures.split, place, file=pair.image.name, second_bands=count)


def _stacked(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The bands of two pictures `(bands, H, W)`, the second's resampled to the first's size."""
    values = torch.from_numpy(second.astype(np.float64))[None]
    sized = functional.interpolate(values, first.shape[1:], mode="bilinear", antialias=True)[0].numpy()
    kind = np.result_type(first, second)
    return np.concatenate([first.astype(kind), (sized if kind.kind == "f" else sized.round()).astype(kind)])


def _together(pair: _Pair, mapping: Sequence[ClassValue]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Each picture of a file, its mask, and the second picture if there is one."""
    parts = [(pair.image, _images(pair.image)), (pair.mask, _masks(pair.mask, mapping))]
    if pair.second:
        parts.append((pair.second, _images(pair.second)))
    for pixels, values, *others in zip_longest(*(each for _, each in parts)):
        missing = [path for (path, _), each in zip(parts, (pixels, values, *others)) if each is None]
        if missing:
            other = next((path for path in missing if path != pair.image), pair.mask)
            raise OrthomaskError(
                ErrorCode.LABELS_SIZE,
                tr("“{}” and “{}” hold different numbers of images.").format(pair.image.name, other.name),
                tr("Store one mask for each image, in the same order."),
            )
        yield pixels, values, next(iter(others), None)


def _sizes(path: Path, mask: Sequence[int], picture: Sequence[int]) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.LABELS_SIZE,
        tr("The mask “{}” has {} x {} px, but its image has {} x {} px.").format(
            path.name, mask[1], mask[0], picture[1], picture[0]
        ),
        tr("Export image and mask on the same grid."),
    )


def _separated(mask: np.ndarray, path: Path, trim_px: int) -> np.ndarray:
    """The mask `(H, W)` without the lines in the file `path`, each thinned on both sides."""
    lines = next(_masks(path, ()))[0]
    if lines.shape != mask.shape:
        raise _sizes(path, lines.shape, mask.shape)
    square = np.ones((2 * trim_px + 1, 2 * trim_px + 1))
    return np.where(ndimage.binary_erosion(lines != 0, square, border_value=1), np.uint8(0), mask)


def _images(path: Path) -> Iterator[np.ndarray]:
    """The pictures `(bands, H, W)` of a file."""
    if path.suffix.lower() in RASTERS:
        yield read_raster(path, ErrorCode.IMAGE_UNREADABLE)
        return
    for pixels in read_arrays(path, IMAGE_KEYS, 3, ErrorCode.IMAGE_UNREADABLE):
        yield np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _masks(path: Path, mapping: Sequence[ClassValue]) -> Iterator[np.ndarray]:
    """The masks `(1 or 3, H, W)` of a file; palettes are expanded to colours if the mapping names colours.

    Raises:
        OrthomaskError: it cannot be read, or is a JPEG whose values cannot be recovered.
    """
    suffix = path.suffix.lower()
    if suffix in JPEGS:
        mask = read_raster(path, ErrorCode.LABELS_UNREADABLE)[:3]
        values, clear = restored(mask, true_values(mapping, len(mask)))
        if clear < CLEAR_SHARE * values[0].size:
            raise refuse_blurred(path.name)
        yield values
    elif suffix in RASTERS:
        yield read_raster(path, ErrorCode.LABELS_UNREADABLE, has_colors(mapping))
    else:
        for values in read_arrays(path, MASK_KEYS, 2, ErrorCode.LABELS_UNREADABLE):
            yield values[None]


def class_values(values: np.ndarray, mapping: Sequence[ClassValue], name: str) -> np.ndarray:
    """The mask `(H, W)` of class values for stored values `(1, H, W)` or colours `(3, H, W)`.

    Greys are values, unless colours are mapped. Black is background, unless it is mapped.

    Args:
        mapping: what the values or colours mean; empty if they are class values.
        name: of the file, for messages.

    Raises:
        OrthomaskError: a value has no class.
    """
    codes = packed(values)
    colours = len(values) >= 3 and (has_colors(mapping) or not are_greys(codes))
    if len(values) >= 3 and not colours:
        codes = codes & 255
    known = {0.0: BACKGROUND} if colours else {}
    known |= {_code(entry.source, colours): entry.value for entry in mapping}
    if not mapping and not colours:
        known = {float(value): value for value in range(UNKNOWN + 1)}
    found, inverse = np.unique(codes, return_inverse=True)
    strange = [f"#{int(code):06x}" if colours else f"{code:g}" for code in found if float(code) not in known]
    if strange:
        sentence = tr("No class is assigned to the value {}{} in the mask “{}”.")
        if colours:
            sentence = tr("No class is assigned to the colour {}{} in the mask “{}”.")
        more = tr(" and {} others").format(len(strange) - SHOWN) if len(strange) > SHOWN else ""
        raise OrthomaskError(
            ErrorCode.LABELS_CLASSES,
            sentence.format(", ".join(strange[:SHOWN]), more, name),
            tr("Map every value to a class, to 0 for background or to 255 for unknown."),
        )
    table = np.array([known[float(code)] for code in found], np.uint8)
    return table[inverse].reshape(codes.shape)


def _code(source: str, colours: bool) -> float:
    """A mapped value as a number, a colour read as hexadecimal; NaN if it is neither."""
    try:
        return float(int(source.removeprefix("#"), 16) if colours else float(source))
    except ValueError:
        return float("nan")


def _join(pairs: Sequence[_Pair], pictures: Pictures) -> Iterator[Tile]:
    """Join tiles of equal size, whose names end in column and row times `tile_step`, by connected group."""
    positions = np.array([_position(pair.image) for pair in pairs])
    columns, rows = np.round((positions - positions.min(axis=0)) / pictures.tile_step).astype(int).T
    rows = rows.max() - rows if pictures.north_up else rows
    present = np.full((rows.max() + 1, columns.max() + 1), -1)
    present[rows, columns] = np.arange(len(pairs))
    groups, _ = ndimage.label(present >= 0)
    for number, box in enumerate(ndimage.find_objects(groups), start=1):
        layout = np.where(groups[box] == number, present[box], -1)
        yield _mosaic({member: next(_tiles(pairs[member], pictures)) for member in layout[layout >= 0]}, layout)


def _position(path: Path) -> tuple[float, float]:
    try:
        column, row = path.stem.split("_")[-2:]
        return float(column), float(row)
    except ValueError as error:
        raise OrthomaskError(
            ErrorCode.TRAINING_DATA,
            tr("The name of “{}” does not end with its column and row.").format(path.name),
            tr("Set the tile step to 0 to treat every image separately."),
        ) from error


def _mosaic(tiles: Mapping[int, Tile], layout: np.ndarray) -> Tile:
    """One tile from those numbered in `layout`; -1 is a gap: mask unknown, pixels 0.

    Raises:
        OrthomaskError: they differ in size.
    """
    first = tiles[layout.max()]
    bands, height, width = first.pixels.shape
    odd = next((tile for tile in tiles.values() if tile.pixels.shape != first.pixels.shape), None)
    if odd:
        raise OrthomaskError(
            ErrorCode.TRAINING_DATA,
            tr("“{}” and “{}” differ in size.").format(odd.name, first.name),
            tr("Set the tile step to 0 to treat every image separately."),
        )
    rows, columns = layout.shape
    pixels = np.zeros((bands, rows * height, columns * width), first.pixels.dtype)
    mask = np.full(pixels.shape[1:], UNKNOWN, np.uint8)
    for row, column in np.argwhere(layout >= 0):
        box = np.s_[..., row * height : (row + 1) * height, column * width : (column + 1) * width]
        tile = tiles[layout[row, column]]
        pixels[box], mask[box] = tile.pixels, tile.mask
    return first._replace(pixels=pixels, mask=mask)
