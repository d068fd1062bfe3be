"""The card of a model that comes from elsewhere, as far as a person or its file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...protocol import BACKGROUND_NAMES, ClassInfo, ErrorCode, ImportModelRequest, OrthomaskError, is_named
from ...protocol.words import tr
from ..models.bundle import BandStatistics, Card
from ..models.unet import UNetArguments
from .deepness import WHITE

COLOURS = ("#d62728", "#2ca02c", "#1f77b4", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#7f7f7f")
HIGHEST = {"uint8": 255.0, "uint16": 65535.0, "int16": 32767.0, "float32": 1.0}
"""Pixel values that are shown white."""
NAMES = ("red", "green", "blue", "nir")


def plain(title: str, bands: int, classes: tuple[ClassInfo, ...]) -> Card:
    """A card that says only what can be assumed."""
    return Card(
        name="",
        title=title,
        architecture=UNetArguments(bands, len(classes) + 1),
        bands=(),
        dtype="uint8",
        gsd_m=1.0,
        classes=classes,
        threshold=0.5,
        licence="",
        attribution="",
    )


def gsd_of(file: str, given: float | None) -> float:
    """The resolution, metres per pixel.

    Raises:
        OrthomaskError: it is not known.
    """
    if given is None:
        sentence = tr("“{}” does not say its resolution.").format(file)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Give it, in metres per pixel."))
    return given


def usual_bands(count: int) -> tuple[str, ...]:
    """Names for the bands of a model that does not name them: colours, or numbers in the image's order."""
    return NAMES[:count] if count in (3, 4) else tuple(str(number) for number in range(1, count + 1))


def classes_of(file: str, count: int, names: Sequence[str]) -> tuple[tuple[ClassInfo, ...], bool]:
    """The foreground classes, and whether the output's first channel is the background.

    A single channel is one class. Of several, the first is the background if it is called so, or has no name.
    """
    if not is_named(count, names):
        sentence = tr("“{}” has {} channels in its output, and {} names of classes.")
        several = tr("Give a name for each channel, or for all but the first if that is the background.")
        remedy = several if count > 1 else tr("Give the name of its class.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence.format(file, count, len(names)), remedy)
    has_background = count > 1 and (len(names) < count or names[0].casefold() in BACKGROUND_NAMES)
    found = names[-1:] if count == 1 else names[count == len(names) and has_background :]
    infos = (
        ClassInfo(value, name or tr("class {}").format(value), COLOURS[(value - 1) % len(COLOURS)])
        for value, name in enumerate(found, start=1)
    )
    return tuple(infos), has_background


def bands_of(
    file: str, count: int, request: ImportModelRequest, mean: tuple[float, ...], std: tuple[float, ...],
    said: tuple[BandStatistics, ...], dtype: str,
) -> tuple[BandStatistics, ...]:  # fmt: skip
    """The bands with their names and how they are normalised.

    Args:
        mean, std: what the file says, of pixels divided by 255; empty if it does not.
        said: the bands that Orthomask itself wrote to the file.
    """
    names = request.bands or (tuple(band.name for band in said) or usual_bands(count))
    mean, std = request.mean or mean or (0.0,), request.std or std or (1.0,)
    if len(mean) == 1:
        mean, std = mean * count, std * count
    if len(names) != count or len(mean) != count:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” reads {} bands, but {} names and {} means are given.").format(file, count, len(names), len(mean)),
            tr("Give a name, a mean and a standard deviation for each band."),
        )
    if said and not request.mean and len(said) == count:  # as measured: through the file they would be rounded
        return tuple(replace(band, name=name) for band, name in zip(said, names))
    return tuple(
        BandStatistics(name, one * WHITE, spread * WHITE, 0.0, HIGHEST[dtype])
        for name, one, spread in zip(names, mean, std)
    )
