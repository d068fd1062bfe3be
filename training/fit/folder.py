"""The folder of a training: its files, and when a training may begin or resume there."""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ...engine.outputs import claimed, write_atomically, writing
from ...protocol import ErrorCode, Existing, OrthomaskError, TrainRequest, TrainResult, from_json, to_json
from ...protocol.words import tr


class TrainingFolder:
    """Paths of a run, and its record.

    Attributes:
        leads: whether this process writes; of several training together, only one does.
    """

    def __init__(self, request: TrainRequest) -> None:
        self.path, self._request = Path(request.output_dir), request
        self.request = self.path / "request.json"
        self.metrics = self.path / "metrics.csv"
        self.preview = self.path / "preview.png"
        self.checkpoint = self.path / "last.ckpt"
        self.bundle = self.path / f"{request.name}.safetensors"
        self.run = self.path / "run.json"
        self.leads = not getattr(rank_zero_only, "rank", 0)

    def claimed(self) -> AbstractContextManager[None]:
        """Lock the folder for this process and those that train with it.

        Raises:
            OrthomaskError: another process has it, or it is not writable.
        """
        return claimed(self.path) if self.leads else nullcontext()

    def open(self) -> TrainResult | None:
        """Check that this training may begin or resume here; return the result if it has already ended.

        Raises:
            OrthomaskError: it holds another training.
        """
        if not self.leads:
            return None
        begun = [path.name for path in (self.request, self.run, self.bundle) if path.exists()]
        if begun and self._request.existing is Existing.REFUSE:
            raise OrthomaskError(
                ErrorCode.OUTPUT_EXISTS,
                tr("The folder “{}” already contains a training run.").format(self.path),
                tr("Choose another folder, overwrite it, or resume it."),
                ", ".join(begun),
            )
        if begun and self._request.existing is Existing.RESUME:
            self._refuse_others()
            if self.run.exists():
                return from_json(TrainResult, _read(self.run))
        return None

    def begin(self) -> None:
        """Prepare the folder, once there is something to learn from.

        Raises:
            OrthomaskError: it cannot be written.
        """
        if not self.leads:
            return
        if self._request.existing is Existing.OVERWRITE:
            self._discard()
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.request, _written(to_json(self._request)))

    def finished_epochs(self) -> int:
        """Number of epochs in the checkpoint; 0 without one."""
        if not self.checkpoint.exists():
            return 0
        return len(torch.load(self.checkpoint, map_location="cpu", weights_only=True)["scores"])

    def finish(self, result: TrainResult) -> None:
        """Record that the training has ended."""
        if self.leads:
            write_atomically(self.run, _written(to_json(result)))

    def _discard(self) -> None:
        with writing(self.path):
            for path in (self.run, self.request, self.metrics, self.preview, self.checkpoint, self.bundle):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.path / "tensorboard", ignore_errors=True)

    def _refuse_others(self) -> None:
        """Raise if the folder's training has other settings."""
        wanted = _comparable(to_json(replace(self._request, existing=Existing.REFUSE)))
        there = _comparable(self._begun())
        if there == wanted:
            return
        different = sorted(name for name in wanted if wanted[name] != there.get(name))
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("The training run in “{}” was started with other settings: {}.").format(self.path, ", ".join(different)),
            tr("Use the same settings to resume it, or choose another folder."),
        )

    def _begun(self) -> dict[str, Any]:
        """The request of the folder's training, with defaults for fields added since."""
        record = _read(self.request)
        try:
            return to_json(from_json(TrainRequest, record))
        except OrthomaskError:
            return record


def _comparable(request: dict[str, Any]) -> dict[str, Any]:
    """A request's values by dotted name, without those that do not affect the training."""
    flat: dict[str, Any] = {}
    for name, value in request.items():
        if name in {"output_dir", "existing"}:
            continue
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": innermost for inner, innermost in value.items()})
        else:
            flat[name] = value
    return flat


def _read(path: Path) -> dict[str, Any]:
    """A record of the folder; empty if missing or damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _written(record: dict[str, Any]) -> bytes:
    return json.dumps(record, indent=1, ensure_ascii=False).encode()
