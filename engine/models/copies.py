"""Copies of bundles under another name and title."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import safetensors.torch

from ...protocol import CopyModelRequest, ErrorCode, Existing, ModelSummary, OrthomaskError
from ...protocol.words import tr
from ..outputs import writing
from ..progress import Progress
from . import bundle


def run(request: CopyModelRequest, progress: Progress) -> ModelSummary:
    """Copy a bundle: the same weights, with the name of the new file and, if one is given, another title.

    Raises:
        OrthomaskError: there is no such model, or the copy exists or cannot be written.
    """
    progress.report(0, tr("Copying the model"))
    target = Path(request.output_path)
    source = bundle.load(request.model)
    source.running(source.card.graph) if source.card.graph else source.model()  # a damaged bundle is not copied
    refuse_existing(target, request.existing)
    # Read, not mapped: the target may be the source itself, under another title.
    weights = safetensors.torch.load(source.path.read_bytes())
    card = replace(source.card, name=target.stem, title=request.title or source.card.title)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    bundle.write(target, weights, card)
    return bundle.load(str(target)).summary()


def refuse_existing(target: Path, existing: Existing) -> None:
    """Raise if a bundle exists that must not be replaced."""
    if target.exists() and existing is not Existing.OVERWRITE:
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("The model “{}” already exists.").format(target),
            tr("Choose another name, or overwrite it."),
        )
