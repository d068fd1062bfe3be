"""Learn from the checked areas of a label project, and keep what is worth keeping.

Learning starts from the base each time, on all checked areas: first the decoder learns, then the whole network, while
it rehearses what the base says of its replay set (`training/fit/rehearsal.py`). Base and tuned weights are then
blended; the share is chosen on validation areas and on replayed chips that were kept out.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from torch import Tensor

from ...engine.compute import devices
from ...engine.models import bundle as bundles
from ...engine.models.bundle import BandStatistics, Bundle, Card
from ...engine.models.unet import UNet
from ...engine.outputs import write_atomically, writing
from ...engine.progress import Progress
from ...engine.shapes.vector_files import choose_layer, fields_of, read_column
from ...protocol import (
    AREA_SECONDS,
    Areas,
    ErrorCode,
    Existing,
    LearnRequest,
    LearnResult,
    OrthomaskError,
    VersionsRequest,
    from_json,
    to_json,
)
from ...protocol.words import tr
from ..accuracy.scores import ratio
from ..data import material as materials
from ..data.material import Material
from ..data.scenes import Scene, band_statistics
from ..fit import train
from ..fit.folder import TrainingFolder
from ..fit.start import begin, foreign_bands, parent_of
from ..truth.classes import is_project
from . import compare, verdict, versions
from .blend import SHARES, blended, choose
from .check import require_enough
from .replay import Replay, replay_of
from .requests import training_request

RECORD = "learn.json"
SUMMARY = "learning"
"""The entry of a candidate's card, in its training summary."""
DECIMALS = 4


class _Compared(NamedTuple):
    """The chosen share, its weights, and counts before and after on each area and kept-out chip."""

    share: float
    weights: dict[str, Tensor]
    here: tuple[np.ndarray, np.ndarray]
    home: tuple[np.ndarray, np.ndarray] | None
    learnt: tuple[np.ndarray, np.ndarray]


def run(request: LearnRequest, progress: Progress) -> LearnResult:
    """Learn, blend and compare; the candidate, its curves and the record go into the run folder.

    Cancelled, the folder keeps what was learnt: the same request with RESUME continues, with `stop` it ends there.

    Raises:
        OrthomaskError: too few areas are checked, the model has other classes or is an ensemble, the folder holds
            another learning, or memory or disk run out.
    """
    started = time.monotonic()
    training = training_request(request)
    base = cast(Bundle, parent_of(training))
    folder = TrainingFolder(training)
    with folder.claimed():
        tuned, recorded = folder.open(), _recorded(folder, request)
        if recorded:
            return recorded
        require_enough(training, base)
        material = materials.read(training, base, progress.part(0, 0.05), with_test=True)
        replay = replay_of(base)
        measured = _statistics(material, base.card)
        if request.stop and not folder.bundle.exists():
            raise _nothing_learnt()
        if not tuned and not request.stop:
            kept = replay.learnt if replay else ()
            with writing(folder.path):
                (folder.path / RECORD).unlink(missing_ok=True)
            train.trained(training, base, material, measured, folder, progress.part(0.05, 0.8), replay=kept)
        card, network, _ = begin(training, base, material, measured)
        compared = _compared(network, card, folder, material, replay, request.device, progress.part(0.8, 1))
        result = _saved(request, base, card, network, material, compared, folder, time.monotonic() - started)
    progress.show(1, tr("Done"))
    return result


def _recorded(folder: TrainingFolder, request: LearnRequest) -> LearnResult | None:
    """The result, if it has ended here already and its model is still there."""
    if request.existing is not Existing.RESUME:
        return None
    try:
        result = from_json(LearnResult, json.loads((folder.path / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, OrthomaskError):
        return None
    return result if Path(result.model_path).exists() else None


def _statistics(material: Material, base: Card) -> tuple[BandStatistics, ...]:
    """The bands' statistics over the areas; the base's where they are so foreign that its filters would not adapt."""
    measured = band_statistics(material.bands, material.sources)
    known = {band.name: band for band in base.bands}
    foreign = foreign_bands(replace(base, bands=measured, dtype=material.dtype), base)
    return tuple(known[band.name] if band.name in foreign else band for band in measured)


def _compared(
    network: UNet, card: Card, folder: TrainingFolder, material: Material, replay: Replay | None, device: str,
    progress: Progress,
) -> _Compared:  # fmt: skip
    """Try all shares, and choose."""
    base = {name: weight.clone() for name, weight in network.state_dict().items()}
    tuned = bundles.load(str(folder.bundle)).model().state_dict()
    chosen_on, kept_out = compare.each(material.validation, card), compare.each(replay.kept_out if replay else (), card)
    target = devices.choose(device).torch

    def counts(share: float, views: Sequence[Any], part: Progress) -> np.ndarray:
        network.load_state_dict(blended(base, tuned, share))
        return compare.counts(network, views, card.threshold, target, part)

    here, home = [], []
    for number, share in enumerate(SHARES):
        part = progress.part(0.8 * number / len(SHARES), 0.8 * (number + 1) / len(SHARES))
        here.append(counts(share, chosen_on, part.part(0, 0.5)))
        home += [counts(share, kept_out, part.part(0.5, 1))] if kept_out else []
    best = choose(here, home)
    apart = compare.each(material.test, card)
    learnt = compare.each([scene for source in material.sources for scene in source.scenes], card)
    pairs = [
        [counts(share, views, progress.part(0.8, 1)) for share in (0.0, last)]
        for views, last in ((apart, SHARES[best]), (learnt, 1.0))
    ]
    return _Compared(
        SHARES[best],
        blended(base, tuned, SHARES[best]),
        (np.concatenate([here[0], pairs[0][0]]), np.concatenate([here[best], pairs[0][1]])),
        (home[0], home[best]) if home else None,
        (pairs[1][0], pairs[1][1]),
    )


def _saved(
    request: LearnRequest, base: Bundle, card: Card, network: UNet, material: Material, compared: _Compared,
    folder: TrainingFolder, seconds: float,
) -> LearnResult:  # fmt: skip
    """Write the candidate and the record."""
    here, home = compare.gain(*compared.here), compare.gain(*compared.home) if compared.home else None
    predecessor, number = _versions(request)
    name = request.name or f"{base.card.name}-{number}"
    warnings = () if home else (tr("“{}” has no replay set: what it forgets is not known.").format(base.card.title),)
    better, words = verdict.of(here, home, compared.share, compare.gain(*compared.learnt))
    result = LearnResult(
        str(folder.path / f"{name}.safetensors"), str(folder.path), compared.share, here, home, better, words,
        fingerprint(material), round(seconds, 1), (*dict.fromkeys([*material.warnings, *warnings]),),
    )  # fmt: skip
    summary = {
        "base": {"name": base.card.name, "sha256": base.sha256, "path": str(base.path)},
        "predecessor": predecessor, "squares": result.squares, "share": result.share, "here": to_json(here),
        "home": to_json(home) if home else None, "areas": _areas(material), "minutes": _minutes(request),
        "image": request.data.image.path,
    }  # fmt: skip
    if compared.share:
        network.load_state_dict(compared.weights)
    else:  # the base itself, also at its edges: see `start.folded`
        network, card = base.model(), replace(base.card, training=card.training)  # type: ignore[assignment]
    finished = replace(
        card, name=name, title=tr("{} for {}").format(base.card.title, Path(request.data.image.path).stem),
        threshold=base.card.threshold, training={**card.training, SUMMARY: summary},
        accuracy={"checked areas": _accuracy(compared.here[1])},
    )  # fmt: skip
    bundles.save(Path(result.model_path), network, finished)
    write_atomically(folder.path / RECORD, json.dumps(to_json(result), indent=1, ensure_ascii=False).encode())
    return result


def _versions(request: LearnRequest) -> tuple[int, int]:
    """The number of the project's version in use, -1 if there is none, and the next number."""
    path = request.project or request.data.labels[0].path
    if not is_project(path):
        return -1, 1
    found = versions.run(VersionsRequest(path), Progress())
    return found.current, max((version.number for version in found.versions), default=0) + 1


def fingerprint(material: Material) -> str:
    """SHA-256 of all that was learnt from and chosen on: pixels and masks of the areas, in any order."""
    scenes = [*_scenes(material), *material.validation, *material.test]
    each = sorted(hashlib.sha256(scene.levels[0].tobytes() + scene.mask.tobytes()).digest() for scene in scenes)
    return hashlib.sha256(b"".join(each)).hexdigest()


def _scenes(material: Material) -> list[Scene]:
    return [scene for source in material.sources for scene in source.scenes]


def _areas(material: Material) -> int:
    return len(_scenes(material)) + len(material.validation) + len(material.test)


def _minutes(request: LearnRequest) -> float:
    """Minutes of review that the areas took, as far as they say."""
    areas = cast(Areas, request.data.areas)
    layer = choose_layer(areas.path, areas.layer, "areas")
    if AREA_SECONDS not in fields_of(areas.path, layer):
        return 0.0
    return round(sum(float(text or 0) for text in read_column(areas.path, layer, AREA_SECONDS)) / 60, 1)


def _accuracy(rows: np.ndarray) -> dict[str, float]:
    """Scores of the pixels for the card."""
    right, found, true = (int(number) for number in rows.sum(axis=0)[:3])
    scores = {
        "iou": ratio(right, found + true - right), "precision": ratio(right, found), "recall": ratio(right, true),
        "f1": ratio(2 * right, found + true), "images": float(len(rows)),
    }  # fmt: skip
    return {name: round(score, DECIMALS) for name, score in scores.items()}


def _nothing_learnt() -> OrthomaskError:
    sentence, remedy = tr("Nothing has been learnt yet."), tr("Let it run for an epoch, about half a minute.")
    return OrthomaskError(ErrorCode.TRAINING_DATA, sentence, remedy)
