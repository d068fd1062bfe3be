"""Log curves to TensorBoard's files, and to Weights & Biases and MLflow if requested and installed."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ...protocol import ErrorCode, OrthomaskError, Tracker, TrainRequest
from ...protocol.words import tr


def loggers(request: TrainRequest) -> list[Logger]:
    """The loggers of a training; `WANDB_MODE=offline` and `MLFLOW_TRACKING_URI` are respected.

    Raises:
        OrthomaskError: a tracker is not installed.
    """
    folder = Path(request.output_dir)
    trackers = [_tracker(tracker, request.name, folder) for tracker in request.trackers]
    return [TensorBoardLogger(folder, name="tensorboard", version=""), *trackers]


def _tracker(tracker: Tracker, name: str, folder: Path) -> Logger:
    try:
        if tracker is Tracker.WANDB:
            return WandbLogger(name=name, project="orthomask", save_dir=folder)
        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.resolve() / 'mlflow.db'}")
        return MLFlowLogger("orthomask", run_name=name, tracking_uri=uri)
    except ImportError as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The tracker “{}” is not installed.").format(tracker.value),
            tr("Install it in the engine's environment with “pip install {}”, or train without it.").format(
                tracker.value
            ),
            str(error),
        ) from error
