"""Why a model says so: an explanation of an object as a raster of its surroundings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...protocol import WINDOW_PX, ErrorCode, ExplainRequest, ExplainResult, Explanation, OrthomaskError, to_json
from ...protocol.words import tr
from .. import check
from ..compute import devices, networks
from ..images.raster import open_image
from ..models import bundle as bundles
from ..models.bundle import Bundle
from ..models.unet import Ensemble, UNet
from ..progress import Progress
from ..runs.finished import same_bundle
from ..runs.provenance import Processor, origin
from . import features, layer
from .occlusion import occlusion
from .subject import Subject, View, find, locate, look


class Explained(NamedTuple):
    """What an explanation found.

    Attributes:
        bands: `(N, H, W)`, of the view.
        names: what each shows.
        stage: of the network; empty for the network as a whole.
        sentence: what they show, and what not.
    """

    bands: np.ndarray
    names: tuple[str, ...]
    stage: str
    sentence: str


class _Asked(NamedTuple):
    """What the methods work on. `network` is fp32 and can be looked into; `predictor` is the fast one."""

    request: ExplainRequest
    network: UNet | Ensemble
    predictor: devices.Predictor
    view: View
    subject: Subject
    gsd_m: float

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages to look at."""
        if self.request.stage:
            return (features.known_stage(self.network, self.request.stage),)
        return features.usual_stages(self.network)


def run(request: ExplainRequest, progress: Progress) -> ExplainResult:
    """Explain what a model says of an object, and write it as a GeoTIFF.

    Raises:
        OrthomaskError: bad input, no data at the place, an output that cannot be written, or `Cancelled`.
    """
    started, path = time.monotonic(), Path(request.output_path)
    progress.report(0, tr("Opening the image"))
    layer.refuse_existing(path, request.existing)
    sha256 = request.model_sha256
    bundle = same_bundle(request.model, sha256) if sha256 else bundles.load(request.model)
    device = devices.choose(request.device)
    _refuse_class(request.class_value, bundle)
    with open_image(request.image, progress) as source:
        check.refuse(source, bundle)
        lattice = source.lattice(bundle.card.gsd_m, WINDOW_PX, 0)
        place, notes = locate(request, source, lattice)
        progress.report(0.05, tr("Preparing the model"))
        network, predictor = networks.opened(bundle, device.torch), devices.prepare(bundle, device)
        progress.report(0.1, tr("Looking at the object"))
        view = look(place, source, lattice, bundle, predictor, network.divisor, progress)
        subject = find(view, place, bundle.card.classes, bundle.card.threshold, request.class_value)
        asked = _Asked(request, network, predictor, view, subject, bundle.card.gsd_m)
        explained = METHODS[request.method](asked, progress.part(0.2, 0.95))
        processor = Processor(str(device.torch), device.name, predictor.precision)
        record = {"request": to_json(request), "shows": explained.sentence, **origin(bundle, source, processor)}
        layer.write(path, view, subject.around, explained.bands, explained.names, record)
        warnings = (*source.notes, *notes, *_warnings(asked, explained))
    progress.show(1, tr("Done"))
    return ExplainResult(
        str(path), explained.sentence, subject.info.name, round(subject.confidence, 3), explained.stage,
        explained.names, round(time.monotonic() - started, 2), warnings,
    )  # fmt: skip


def _refuse_class(value: int, bundle: Bundle) -> None:
    known = ", ".join(f"{info.value} ({info.name})" for info in bundle.card.classes)
    if not bundle.card.classes:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The model “{}” finds no classes.").format(bundle.card.name),
            tr("Choose a trained model."),
        )
    if value and value not in {info.value for info in bundle.card.classes}:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The model “{}” has no class {}.").format(bundle.card.name, value),
            tr("Use one of {}, or leave it empty for the most probable one.").format(known),
        )


def _grad_cam(asked: _Asked, progress: Progress) -> Explained:
    progress.report(0, tr("Following the answer back"))
    view, subject = asked.view, asked.subject
    found, cell_px = features.grad_cam(asked.network, view.pixels, subject.inside, subject.info.value, asked.stages)
    strongest = float(found[subject.around.slices][view.valid[subject.around.slices]].max())
    shown = found / strongest if strongest > 0 else np.zeros_like(found)
    stage = ", ".join(asked.stages)
    sentence = tr(
        "Bright places hold features that raise the probability of {} {}, as the stage {} sees them, in cells of "
        "{:.3g} m. The map shows where the network looks, not what would change its answer: for that, use occlusion."
    ).format(subject.info.name, _where(subject), stage, cell_px * asked.gsd_m)
    return Explained(shown[None], (tr("Features that speak for {}").format(subject.info.name),), stage, sentence)


def _occlusion(asked: _Asked, progress: Progress) -> Explained:
    subject = asked.subject
    found = occlusion(asked.view, subject, asked.predictor, asked.network.divisor, progress)
    sentence = tr(
        "The value of a place is how much the probability of {} {} falls when {:.3g} m around it are hidden by {}: at "
        "most {:.2f}; below 0 it rises. The model has not learnt from hidden places, and may take one for something: "
        "small values say little."
    ).format(subject.info.name, _where(subject), found.patch_px * asked.gsd_m, found.fill, float(found.drop.max()))
    name = tr("Fall in the probability of {}").format(subject.info.name)
    return Explained(found.drop[None], (name,), "", sentence)


def _activations(asked: _Asked, progress: Progress) -> Explained:
    progress.report(0, tr("Looking into the network"))
    view, subject, stages = asked.view, asked.subject, asked.stages
    channels, cell_px = features.strongest(asked.network, view.pixels, subject.inside, stages, asked.request.channels)
    stage = ", ".join(stages)
    sentence = tr(
        "Each band is a channel of the stage {} that responds more strongly {} than elsewhere, in cells of {:.3g} m. "
        "That shows what the network notices, not whether it speaks for or against {}."
    ).format(stage, _where(subject), cell_px * asked.gsd_m, subject.info.name)
    names = tuple(tr("{}, channel {}").format(channel.stage, channel.number) for channel in channels)
    return Explained(np.stack([channel.activations for channel in channels]), names, stage, sentence)


METHODS: dict[Explanation, Callable[[_Asked, Progress], Explained]] = {
    Explanation.GRAD_CAM: _grad_cam,
    Explanation.OCCLUSION: _occlusion,
    Explanation.ACTIVATIONS: _activations,
}


def _where(subject: Subject) -> str:
    """What is explained, and how sure the model is of it."""
    words = tr("in this object (mean {:.2f})") if subject.is_object else tr("at this spot (mean {:.2f})")
    return words.format(subject.confidence)


def _warnings(asked: _Asked, explained: Explained) -> list[str]:
    subject, name = asked.subject, asked.subject.info.name
    found = []
    if not subject.is_object:
        found.append(
            tr("The model finds no object at this place: its probability of {} there is explained.").format(name)
        )
    if subject.is_cut:
        found.append(
            tr(
                "The object is larger than the {} pixels that the model sees at once: the part around the place is "
                "explained."
            ).format(asked.view.window.width)
        )
    if not explained.bands.any():
        found.append(tr("Nothing here speaks for {}: the layer is 0 everywhere.").format(name))
    return found
