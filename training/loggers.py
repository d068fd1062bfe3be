"""Where curves go: TensorBoard's files always, Weights & Biases and MLflow where they are asked for and installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ..protocol import ErrorCode, OrthomaskError, Tracker, TrainRequest


def loggers(request: TrainRequest) -> list[Logger]:
    """The loggers of a training; `WANDB_MODE=offline` and `MLFLOW_TRACKING_URI` are respected.

    Raises:
        OrthomaskError: a tracker is not installed.
    """
    folder = Path(request.output_dir)
    made: list[Logger] = [TensorBoardLogger(folder, name="tensorboard", version="")]
    for tracker in request.trackers:
        if not find_spec(tracker.value):
            raise OrthomaskError(
                ErrorCode.BAD_REQUEST,
                f"The tracker “{tracker.value}” is not installed.",
                f"Install it in the engine's environment with “pip install {tracker.value}”, or train without it.",
            )
        if tracker is Tracker.WANDB:
            made.append(WandbLogger(name=request.name, project="orthomask", save_dir=folder))
        else:
            made.append(MLFlowLogger("orthomask", run_name=request.name, save_dir=str(folder / "mlruns")))
    return made
