"""Which bands of a raster a model reads: by name, never by order if their names say otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import rasterio.shutil
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader, DatasetWriter, MemoryFile

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import SECOND, band_in_words, tr
from .spectral import Meaning, by_code, by_wavelength, meaning, wavelength_um

NAMELESS = ("undefined", "gray", "palette")
"""Colours that say nothing about a band."""
VRT_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "float32": "Float32", "float64": "Float64",
}  # fmt: skip
"""GDAL's names of numpy's types."""


class BandName(NamedTuple):
    """What is known of a band.

    Attributes:
        name: its description, else its colour, else its number.
        colour: what it shows, such as `red` or `nir`; empty where that is not known.
        is_sure: whether its name can mean no other colour.
        is_told: whether a description or a wavelength says so; GDAL flags colours even in files that do not.
        is_mask: whether it marks valid data, instead of showing anything.
    """

    number: int
    name: str
    colour: str
    is_sure: bool
    is_told: bool
    is_mask: bool

    @property
    def is_nameless(self) -> bool:
        """Whether nothing is known of it but its number."""
        return self.name == str(self.number) and not self.colour and not self.is_mask

    @property
    def in_second(self) -> bool:
        """Whether it is a band of the second image."""
        return self.name.startswith(SECOND)


class Choice(NamedTuple):
    """Bands for a model, by number.

    Attributes:
        assumption: what was assumed, as a sentence; empty if the bands are known.
    """

    numbers: tuple[int, ...]
    assumption: str = ""


def named_bands(dataset: DatasetReader) -> tuple[BandName, ...]:
    """What is known of each band of a raster."""
    descriptions = [_description(dataset, number) for number in dataset.indexes]
    about = " ".join([os.path.basename(dataset.name), *map(str, dataset.tags().values())])
    wavelengths = [_wavelength(dataset, number) for number in dataset.indexes]
    return understood(descriptions, [flag.name for flag in dataset.colorinterp], wavelengths, about)


def understood(
    descriptions: Sequence[str], flags: Sequence[str], wavelengths: Sequence[float | None] = (), about: str = ""
) -> tuple[BandName, ...]:
    """What is known of bands from words, wavelengths and satellite codes in their descriptions, else from their flags.

    Those of a second image, by their descriptions, come last.

    Args:
        flags: GDAL's colours.
        wavelengths: micrometres; None where they are not known.
        about: what else may name the satellite.
    """
    count = next((n for n, text in enumerate(descriptions) if text.startswith(SECOND)), len(descriptions))
    if count < len(descriptions):
        others = [text.removeprefix(SECOND) for text in descriptions[count:]]
        return joined(understood(descriptions[:count], flags[:count]), understood(others, flags[count:]))
    meanings = [meaning(description) for description in descriptions]
    waves = by_wavelength(wavelengths) or [""] * len(descriptions)
    flagged = ["" if flag in NAMELESS else flag for flag in flags]
    names = [next(filter(None, known), "") for known in zip(descriptions, waves, flagged)]
    bands = zip(names, meanings, flags, waves, by_code(meanings, about))
    found = []
    for number, (name, said, flag, wave, (code, is_sure)) in enumerate(bands, 1):
        told = said.colour or wave or code
        is_mask = told == "alpha" or (flag == "alpha" and not _is_picture(said, wave))
        by_flag = meaning(flag).colour if said.generic and flag not in (*NAMELESS, "alpha") else ""
        unique = name if name and names.count(name) == 1 else str(number)
        colour = "" if is_mask else told or by_flag
        found.append(BandName(number, unique, colour, is_sure or bool(said.colour or wave), bool(told), is_mask))
    return tuple(found)


def joined(first: Sequence[BandName], second: Sequence[BandName]) -> tuple[BandName, ...]:
    """The bands of two images as those of one."""
    count = len(first)
    return (*first, *(band._replace(number=count + band.number, name=SECOND + band.name) for band in second))


def _description(dataset: DatasetReader, number: int) -> str:
    """The description of a band; some programs write it to the metadata."""
    return str(dataset.descriptions[number - 1] or dataset.tags(number).get("DESCRIPTION", ""))


def _wavelength(dataset: DatasetReader, number: int) -> float | None:
    tags = {**dataset.tags(number), **dataset.tags(number, ns="IMAGERY")}
    return wavelength_um(_description(dataset, number), tags)


def _is_picture(said: Meaning, wave: str) -> bool:
    """Whether a band that GDAL flags as transparency is named like an image band: GDAL flags every fourth one."""
    return bool(wave) or not (said.generic or said.colour == "alpha")


def choose(
    found: Sequence[BandName], asked: Sequence[str], wanted: Sequence[str], image: str, second: str = ""
) -> Choice:
    """Choose the raster's bands for those that a model wants: of each of two images for those of each.

    Args:
        asked: names or numbers of the request; empty for the best match.
        image, second: the rasters' names, for messages.

    Raises:
        OrthomaskError: an image has too few bands, or none of that name; the second one is missing, or not wanted.
    """
    own, theirs = ([band for band in found if band.in_second is there] for there in (False, True))
    ours, others = by_image(wanted)
    if theirs and others:
        alone = [band._replace(number=n, name=band.name.removeprefix(SECOND)) for n, band in enumerate(theirs, 1)]
        asked_here, asked_there = by_image(asked)
        first = _choose(own, asked_here, ours, image)
        other = _choose(alone, _bare(asked_there), _bare(others), second)
        places = iter(first.numbers), iter([theirs[number - 1].number for number in other.numbers])
        numbers = tuple(next(places[name.startswith(SECOND)]) for name in wanted)
        return Choice(numbers, " ".join(filter(None, [first.assumption, other.assumption])))
    if others and not asked:
        raise _without_second(others, image)
    choice = _choose(found if asked else own, asked, wanted, image)
    if theirs and not {band.number for band in theirs} & set(choice.numbers):
        raise _with_second(second)
    return choice


def by_image(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The bands of the first image among these, and those of the second."""
    first, second = ([name for name in names if name.startswith(SECOND) is there] for there in (False, True))
    return first, second


def _bare(names: Sequence[str]) -> list[str]:
    """What the second image itself calls its bands."""
    return [name.removeprefix(SECOND) for name in names]


def _choose(found: Sequence[BandName], asked: Sequence[str], wanted: Sequence[str], image: str) -> Choice:
    """The bands of one image.

    The request's own choice comes first, then bands with the wanted names, colours or numbers. Those without a match
    are taken from the unnamed bands, in order, or else all are, which is an assumption.
    """
    matched = [match(found, name) for name in asked or wanted]
    numbers = [band.number for band in matched if band]
    if len(numbers) == len(wanted) and len(matched) == len(wanted):
        return Choice(tuple(numbers), _assumed_codes([band for band in matched if band]))
    if asked or len(wanted) > len(found):
        raise _missing(found, asked, wanted, image)
    nameless = [band for band in found if band.is_nameless and band.number not in numbers]
    if numbers and len(numbers) + len(nameless) >= len(wanted):
        spare = iter(nameless)
        taken = [band or next(spare) for band in matched]
    else:
        taken = list(found[: len(wanted)])
    for name, band in zip(wanted, taken):
        if band.is_told and meaning(name).colour not in ("", band.colour):
            raise _missing(found, asked, wanted, image)
    pairs = zip(map(band_in_words, wanted), taken)
    listed = ", ".join(tr("{} from band {}").format(name, band.number) for name, band in pairs)
    words = tr("The image does not name its bands; assumed by their order: {}.").format(listed)
    return Choice(tuple(band.number for band in taken), words)


def match(found: Sequence[BandName], wanted: str) -> BandName | None:
    """The band with this name, else with the colour it means, preferably by description, else with this number."""
    named = [band for band in found if band.name.casefold() == wanted.casefold()]
    colour = meaning(wanted).colour or _code_colour(wanted)
    coloured = sorted((band for band in found if colour and band.colour == colour), key=lambda band: not band.is_told)
    numbered = [band for band in found if wanted == str(band.number)]
    return next(iter((*named, *coloured, *numbered)), None)


def _code_colour(wanted: str) -> str:
    """The colour of a satellite's code, if it has only one."""
    colour, is_sure = by_code([meaning(wanted)], "")[0]
    return colour if is_sure else ""


def _assumed_codes(bands: Sequence[BandName]) -> str:
    unsure = [band for band in bands if not band.is_sure]
    listed = ", ".join(tr("“{}” is {}").format(band.name, band_in_words(band.colour)) for band in unsure)
    return tr("Satellites number their bands differently. Assumed: {}.").format(listed) if unsure else ""


def _missing(found: Sequence[BandName], asked: Sequence[str], wanted: Sequence[str], image: str) -> OrthomaskError:
    names = ", ".join(_described(band) for band in found)
    sentence = tr("The model reads {} bands ({}), but “{}” has {}: {}.")
    if asked:
        sentence = tr("The model reads {} bands ({}), but “{}” has {} ({}), and bands {} were requested.")
    return OrthomaskError(
        ErrorCode.IMAGE_BANDS,
        sentence.format(len(wanted), ", ".join(map(band_in_words, wanted)), image, len(found), names, ", ".join(asked)),
        tr("Choose an image with these bands, or specify the bands to use."),
    )


def _without_second(wanted: Sequence[str], image: str) -> OrthomaskError:
    listed = ", ".join(map(band_in_words, _bare(wanted)))
    return OrthomaskError(
        ErrorCode.IMAGE_SECOND,
        tr("The model also reads a second image ({}), but only “{}” was given.").format(listed, image),
        tr("Choose a second image of the same place, or a model that reads a single one."),
    )


def _with_second(second: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.IMAGE_BANDS,
        tr("The model reads no second image, but “{}” was given.").format(second),
        tr("Leave out the second image, or choose a model that reads two."),
    )


def _described(band: BandName) -> str:
    """The name of a band, and what it means."""
    name, colour = band_in_words(band.name), band_in_words(band.colour)
    return f"{name} ({colour})" if colour and band.colour != band.name.casefold() else name


def corrected(dataset: DatasetReader, found: Sequence[BandName], nodata: float | None) -> str:
    """A virtual raster, as XML, that corrects how GDAL reads a raster's mask; empty if nothing needs correcting.

    Image bands flagged as transparency become plain bands, and `nodata` applies if the raster itself has no mask.

    Args:
        found: what is known of its bands.
        nodata: the value; None for none.

    Raises:
        OrthomaskError: no pixel of this type can have that value.
    """
    flags = dataset.colorinterp
    pictures = {band.number for band, flag in zip(found, flags) if flag is ColorInterp.alpha and not band.is_mask}
    masks = [kinds for kinds in dataset.mask_flag_enums if not (pictures and MaskFlags.alpha in kinds)]
    if not pictures and (nodata is None or not is_whole(masks)):
        return ""
    with MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(dataset, memory.name, driver="VRT")
        with rasterio.open(memory.name, "r+") as virtual:
            undefined = ColorInterp.undefined
            virtual.colorinterp = [undefined if number in pictures else flags[number - 1] for number in dataset.indexes]
            if nodata is not None and is_whole(masks):
                _set_nodata(virtual, nodata)
        return bytes(memory.read()).decode()


def is_whole(masks: Iterable[Sequence[MaskFlags]]) -> bool:
    """Whether no pixel of a raster can be missing, by its bands' mask flags."""
    return all(MaskFlags.all_valid in kinds for kinds in masks)


def _set_nodata(virtual: DatasetWriter, nodata: float) -> None:
    kinds = {np.dtype(dtype) for dtype in virtual.dtypes}
    whole = all(kind.kind == "f" or np.iinfo(kind).min <= nodata <= np.iinfo(kind).max for kind in kinds)
    if not whole or (nodata != int(nodata) and any(kind.kind != "f" for kind in kinds)):
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("No pixel of type {} can have the value {:g}.").format(virtual.dtypes[0], nodata),
            tr("Use the value that means no data in this image."),
        )
    virtual.nodata = nodata


def require_one_type(dataset: DatasetReader, numbers: Sequence[int], image: str) -> None:
    """Raise if bands that are read together have different pixel types.

    Raises:
        OrthomaskError: they do.
    """
    kinds = sorted({dataset.dtypes[number - 1] for number in numbers})
    if len(kinds) > 1:
        raise OrthomaskError(
            ErrorCode.IMAGE_TYPE,
            tr("The bands of “{}” have different pixel types: {}.").format(image, " and ".join(kinds)),
            tr("Convert them to one type first (in QGIS: Raster ‣ Conversion ‣ Translate), or specify other bands."),
        )
