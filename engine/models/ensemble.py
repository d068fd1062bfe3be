"""Several bundles joined into one that predicts the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from ...protocol import EnsembleRequest, ErrorCode, ModelSummary, OrthomaskError, why_not_joined
from ...protocol.words import tr
from ..outputs import writing
from ..progress import Progress
from . import bundle
from .bundle import BandStatistics, Bundle, Card
from .copies import refuse_existing
from .unet import Ensemble, UNet


def run(request: EnsembleRequest, progress: Progress) -> ModelSummary:
    """Join bundles into one. An ensemble among them contributes each of its members.

    Raises:
        OrthomaskError: a model is missing or does not fit the others, or the output exists or cannot be written.
    """
    progress.report(0, tr("Joining the models"))
    target = Path(request.output_path)
    bundles = [bundle.load(model) for model in request.models]
    for other in bundles[1:]:
        refuse_different(bundles[0], other)
    refuse_existing(target, request.existing)
    networks = list(chain.from_iterable(map(_members, bundles)))
    ensemble = Ensemble([network.arguments for network in networks])
    for member, network in zip(ensemble.members, networks):
        member.load_state_dict(network.state_dict())
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    bundle.save(target, ensemble, _card(target.stem, request.title, bundles, networks))
    return bundle.load(str(target)).summary()


def refuse_different(first: Bundle, other: Bundle) -> None:
    """Raise unless both read the same images and find the same classes."""
    if sentence := why_not_joined(first.summary(), other.summary()):
        remedy = tr("Join models that were trained for the same bands, resolution and classes.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)


def _statistics(opened: Bundle) -> Sequence[tuple[BandStatistics, ...]]:
    """The bands that each member was trained on."""
    card = opened.card
    return card.statistics or [card.bands] * (len(card.members) or 1)


def _members(opened: Bundle) -> list[UNet]:
    network = opened.model()
    members = network.members if isinstance(network, Ensemble) else [network]
    return [member for member in members if isinstance(member, UNet)]


def _card(name: str, title: str, bundles: Sequence[Bundle], networks: Sequence[UNet]) -> Card:
    cards = [opened.card for opened in bundles]
    first = cards[0]
    statistics = tuple(chain.from_iterable(map(_statistics, bundles)))
    return Card(
        name=name,
        title=title or "Ensemble of " + ", ".join(card.title for card in cards),
        architecture=networks[0].arguments,
        bands=first.bands,
        dtype=first.dtype,
        gsd_m=first.gsd_m,
        classes=first.classes,
        threshold=round(sum(card.threshold for card in cards) / len(cards), 3),
        licence="; ".join(dict.fromkeys(card.licence for card in cards if card.licence)),
        attribution="; ".join(dict.fromkeys(card.attribution for card in cards if card.attribution)),
        training={
            "ensemble": [
                {"name": opened.card.name, "sha256": opened.sha256, "training": opened.card.training}
                for opened in bundles
            ]
        },
        members=tuple(network.arguments for network in networks),
        statistics=statistics if any(bands != first.bands for bands in statistics) else (),
    )
