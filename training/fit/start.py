"""Start a training: the model card as far as known, and a network from scratch or from a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...engine.compute.devices import choose
from ...engine.images.bands import by_image
from ...engine.interop import timm_encoders
from ...engine.models import bundle as bundles
from ...engine.models.bundle import BandStatistics, Bundle, Card
from ...engine.models.operations import Foreign
from ...engine.models.unet import UNet, UNetArguments
from ...protocol import ClassInfo, Encoder, ErrorCode, Network, OrthomaskError, TrainRequest
from ...protocol.words import tr
from ..data.material import Material
from ..data.scenes import Source
from .recipe import digest

SHIFT = 2.0
"""Largest shift of a band's mean, in the parent's standard deviations, for which its filters are adapted."""
CONTRAST = 3.0
"""Largest ratio of the standard deviations."""


def parent_of(request: TrainRequest) -> Bundle | None:
    """The bundle a training starts from; None if from scratch.

    Raises:
        OrthomaskError: it cannot be opened, or is an ensemble.
    """
    parent = bundles.load(request.model) if request.model else None
    if parent:
        bundles.refuse_imported(parent)
    if parent and parent.card.members:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” is an ensemble, which cannot be trained further.").format(parent.card.title),
            tr("Start from one of its members."),
        )
    return parent


def begin(
    request: TrainRequest, parent: Bundle | None, material: Material, measured: Sequence[BandStatistics]
) -> tuple[Card, UNet, tuple[str, ...]]:
    """The card before training, the network, and a note on each part of the parent not kept.

    Args:
        measured: the bands' statistics over the training areas.

    Raises:
        OrthomaskError: the parent is an ensemble, or the chips do not fit the network.
    """
    _require_single(parent)
    card = Card(
        name=request.name,
        title=request.title or request.name,
        architecture=arguments(request, parent, [band.name for band in measured], len(material.classes) + 1),
        bands=tuple(measured),
        dtype=material.dtype,
        gsd_m=material.gsd_m,
        classes=material.classes,
        threshold=0.5,
        licence=request.licence or (parent.card.licence if parent else ""),
        attribution=request.attribution or (parent.card.attribution if parent else ""),
        training=_summary(request, parent, material),
    )
    _require_divisible(request.schedule.chip_px, card.architecture.divisor)
    network = UNet(card.architecture)
    if parent:
        return card, network, tuple(_inherit(network, card, parent))
    if card.architecture.foreign:
        tensors = timm_encoders.weights(request.network.encoder, card.architecture.first_bands, request.network.weights)
        network.encoder.load_state_dict(tensors, strict=False)  # not the convolution that follows it
    return card, network, ()


def arguments(request: TrainRequest, parent: Bundle | None, bands: Sequence[str], classes: int) -> UNetArguments:
    """The network's shape: the parent's, except for bands and classes.

    Raises:
        OrthomaskError: its second encoder would not read exactly the bands of the second image, or it names an encoder
            that cannot be used.
    """
    second = (parent.card.architecture if parent else request.network).second_bands
    there = by_image(bands)[1]
    if second >= len(bands) or (second and there and there != list(bands[-second:])):
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The network's second encoder reads {} bands; of {}, {} are of the second image.").format(
                second, len(bands), len(there)
            ),
            tr("Set network.second_bands to the number of bands of the second image."),
        )
    if parent:
        shape = parent.card.architecture
        foreign = shape.foreign.adapted(len(bands) - second, classes) if shape.foreign else None
        return replace(shape, bands=len(bands), classes=classes, foreign=foreign)
    network = request.network.scaled()
    own = {name: value for name, value in vars(network).items() if name not in ("weights", "width_factor")}
    if not network.encoder.startswith(Encoder.TIMM):
        return UNetArguments(len(bands), classes, **own)
    foreign = timm_encoders.described(network.encoder, len(bands) - second)
    _require_fit(network, foreign)
    return UNetArguments(len(bands), classes, **own, foreign=foreign)


def _require_fit(network: Network, foreign: Foreign) -> None:
    if len(foreign.widths) != len(network.widths):
        sentence = tr("“{}” has {} levels, but {} widths are given.")
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            sentence.format(network.encoder, len(foreign.widths), len(network.widths)),
            tr("Set network.widths to as many widths as it has levels, such as [48,96,160,224] for four."),
        )
    if network.second_bands and foreign.reduction != 2:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” begins at a quarter of the image's resolution, which a second encoder cannot join.").format(
                network.encoder
            ),
            tr("Use another encoder, or set network.second_bands to 0."),
        )


def foreign_bands(card: Card, before: Card) -> list[str]:
    """The parent's bands whose values now differ too much for its filters to be of use."""
    known = {band.name: band for band in before.bands}
    pairs = [(band, known[band.name]) for band in card.bands if band.name in known]
    comparable = before.is_measured
    return [
        band.name for band, old in pairs if card.dtype != before.dtype or (comparable and not _resembles(band, old))
    ]


def _resembles(band: BandStatistics, old: BandStatistics) -> bool:
    shift, contrast = abs(band.mean - old.mean) / old.std, band.std / old.std
    return shift <= SHIFT and 1 / CONTRAST <= contrast <= CONTRAST


def _require_single(parent: Bundle | None) -> None:
    if parent and parent.card.members:
        sentence = tr("“{}” is an ensemble, which cannot be trained further.").format(parent.card.name)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Start from one of its members."))


def _require_divisible(chip_px: int, divisor: int) -> None:
    if chip_px % divisor:
        sentence = tr("Chips of {} px do not fit the network.").format(chip_px)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Use a multiple of {} px.").format(divisor))


def _inherit(network: UNet, card: Card, parent: Bundle) -> list[str]:
    """Load the parent's weights: bands and classes by name, the rest unchanged."""
    old, new = parent.model().state_dict(), network.state_dict()
    head = _head(network)
    taken = {name: weight for name, weight in old.items() if name not in head}
    warnings = _band_notes(card, parent.card)
    for name, shift, sign in _readers(network, parent.card):
        taken[name], step = folded(old[name], _read_by(name, card), _read_by(name, parent.card))
        taken[shift] = old[shift] + sign * step
    rows = _class_rows(card.classes, parent.card.classes, warnings, parent.card.name)
    for name in head:
        taken[name] = new[name].clone()
        for row, before in rows.items():
            taken[name][row] = old[name][before]
    network.load_state_dict(taken)
    return warnings


def _read_by(name: str, card: Card) -> Card:
    """The card with only those bands that filters read."""
    first = card.architecture.first_bands
    return replace(card, bands=card.bands[first:] if name.startswith("second.") else card.bands[:first])


def _readers(network: UNet, before: Card) -> Iterator[tuple[str, str, int]]:
    """The names of filters that read the bands, `(out, bands, h, w)`, and what a step is added to, with its sign.

    That is the mean that batch normalisation subtracts from their output, or their bias.

    Raises:
        OrthomaskError: they have neither.
    """
    reading = ["encoder.0"] if network.arguments.encoder != Encoder.RESIDUAL else []
    reading += ["second.0"] if network.second is not None else []
    for part in reading if isinstance(network.stem, nn.Identity) else ["stem", *reading]:
        layers = [
            pair for pair in network.get_submodule(part).named_modules(prefix=part) if not list(pair[1].children())
        ]
        place = next((place for place, (_, layer) in enumerate(layers) if isinstance(layer, nn.Conv2d)), -1)
        name, layer = layers[place]
        after = layers[place + 1] if place + 1 < len(layers) else ("", None)
        if isinstance(after[1], nn.BatchNorm2d):
            yield f"{name}.weight", f"{after[0]}.running_mean", 1
        elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
            yield f"{name}.weight", f"{name}.bias", -1
        else:
            sentence = tr("“{}” cannot be trained further: its first step is no convolution.").format(before.title)
            raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Start from another model."))


def _head(network: UNet) -> tuple[str, str]:
    """The names of the output layer's weights and bias, `(classes, …)`."""
    layers = [name for name, layer in network.head.named_modules(prefix="head") if isinstance(layer, nn.Conv2d)]
    return f"{layers[-1]}.weight", f"{layers[-1]}.bias"


def folded(old: Tensor, card: Card, before: Card) -> tuple[Tensor, Tensor]:
    """Filters `(out, bands, 3, 3)` for the card's bands, and the step `(out,)` to add to the mean after them.

    A card holds the statistics of the images that its network now learns from, not of the parent's: the preflight
    compares images with them, so after fine-tuning the new area's images are no longer foreign. The network still
    computes the same from the same pixels. As pixel = std x + mean,
    x before = (std / std before) x + (mean - mean before) / std before: the factor goes into the filter; the constant,
    summed over the filter, goes into the mean that batch normalisation subtracts. The result differs only where there
    is no image, as at edges: the zeros there now mean the new mean.

    A foreign band keeps its filter, which gets values of the size it is used to. A band unknown to the parent gets the
    mean of all its filters.
    """
    places = {band.name: number for number, band in enumerate(before.bands)}
    foreign = foreign_bands(card, before)
    filters = [old[:, places[band.name]] if band.name in places else old.mean(dim=1) for band in card.bands]
    step = torch.zeros(len(old))
    for number, band in enumerate(card.bands):
        if band.name in places and band.name not in foreign:
            was = before.bands[places[band.name]]
            step -= filters[number].sum(dim=(1, 2)) * (band.mean - was.mean) / was.std
            filters[number] = filters[number] * (band.std / was.std)
    return torch.stack(filters, dim=1), step


def _band_notes(card: Card, before: Card) -> list[str]:
    """A warning for each band that only one of two models has, or whose values are foreign."""
    known, wanted = ([band.name for band in each.bands] for each in (before, card))
    foreign = foreign_bands(card, before)
    fresh, lost = [name for name in wanted if name not in known], [name for name in known if name not in wanted]
    return [
        *(
            tr("The values of {} differ from those that “{}” was trained on.").format(name, before.name)
            for name in foreign
        ),
        *(
            tr("The model does not know the band {}: its weights start as the mean of the other bands.").format(name)
            for name in fresh
        ),
        *(tr("The model knows a band {}, which is no longer used.").format(name) for name in lost),
    ]


def _class_rows(
    classes: Sequence[ClassInfo], before: Sequence[ClassInfo], warnings: list[str], model: str
) -> dict[int, int]:
    """For each class that the parent has by name, and background, its value now and its value there."""
    known = {_plain(info.name): info.value for info in before}
    new = [info.name for info in classes if _plain(info.name) not in known]
    warnings += [
        tr("“{}” does not know the class “{}”: it is learnt from scratch.").format(model, name) for name in new
    ]
    return {0: 0} | {info.value: known[_plain(info.name)] for info in classes if _plain(info.name) in known}


def shared_classes(card: Card, before: Card) -> set[str]:
    """The classes that two models have in common, by name."""
    known, wanted = ({_plain(info.name) for info in each.classes} for each in (before, card))
    return known & wanted


def _plain(name: str) -> str:
    """A class's name, ignoring case and a plural s."""
    return name.strip().casefold().removesuffix("s")


def _summary(request: TrainRequest, parent: Bundle | None, material: Material) -> dict[str, Any]:
    """The card's entry on the training, before it begins."""
    scenes = [scene for source in material.sources for scene in source.scenes]
    resolutions = [scene.gsd_m for scene in scenes]
    return {
        "places": list(dict.fromkeys(scene.place for scene in scenes)),
        "images": len(scenes),
        "megapixels": round(sum(scene.known_px for scene in scenes) / 1e6, 3),
        "square_kilometres": round(sum(scene.known_px * scene.gsd_m**2 for scene in scenes) / 1e6, 4),
        "square_kilometres_by_place": _by_place(material.sources),
        "gsd_m": [min(resolutions), max(resolutions)],
        "recipe_sha256": digest(request),
        "parent": {"name": parent.card.name, "sha256": parent.sha256} if parent else {},
        "seed": request.schedule.seed,
        "device": choose(request.hardware.device).name,
    }


def _by_place(sources: Sequence[Source]) -> dict[str, float]:
    """Labelled ground at each place and resolution, km²."""
    areas: dict[str, float] = {}
    for source in sources:
        for scene in source.scenes:
            name = f"{scene.place} {scene.gsd_m:.3g} m"
            areas[name] = areas.get(name, 0.0) + scene.known_px * scene.gsd_m**2 / 1e6
    return {name: round(area, 4) for name, area in areas.items()}
