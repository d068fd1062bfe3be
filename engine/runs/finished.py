"""Finished runs, read from their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from ...protocol import ErrorCode, OrthomaskError, PredictRequest, from_json
from ...protocol.words import tr
from ..images.raster import Source
from ..models import bundle as bundles
from ..models.bundle import Bundle
from .provenance import image_changed

RECORD, PROBABILITIES = "run.json", "probabilities.tif"


class Finished(NamedTuple):
    """A finished run, as its record tells.

    Attributes:
        model_sha256: of the bundle it ran with.
        gsd_m: of that model.
        stamp: of the image it ran on; empty in the records of older versions.
    """

    folder: Path
    run_id: str
    request: PredictRequest
    model_sha256: str
    gsd_m: float
    stamp: str

    @property
    def probabilities(self) -> Path:
        """Its raster of probabilities."""
        return self.folder / PROBABILITIES

    def bundle(self) -> Bundle:
        """The model it ran with.

        Raises:
            OrthomaskError: it is gone, or another one has its place.
        """
        return same_bundle(self.request.model, self.model_sha256)

    def refuse_changed(self, source: Source) -> None:
        """Raise if the image is no longer the one of the run."""
        if self.stamp and source.stamp() != self.stamp:
            raise image_changed(self.request.image)


def read(run_dir: str) -> Finished:
    """The finished run in a folder.

    Raises:
        OrthomaskError: there is none, or its probabilities are gone.
    """
    folder = Path(run_dir)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        (folder / PROBABILITIES).stat()
        model = record["model"]
        return Finished(
            folder, str(record["run_id"]), from_json(PredictRequest, record["request"]),
            str(model["sha256"]), float(model["gsd_m"]), str(record.get("source", {}).get("stamp", "")),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OrthomaskError) as error:
        raise no_run(folder, error) from error


def same_bundle(model: str, sha256: str) -> Bundle:
    """The model of a run.

    Raises:
        OrthomaskError: it is gone, or another one has its place.
    """
    bundle = bundles.load(model)
    if bundle.sha256 != sha256:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("The model “{}” has changed since the run.").format(model),
            tr("Run it again first."),
        )
    return bundle


def no_record(run_dir: str, error: Exception) -> OrthomaskError:
    """The error for a folder without a run's record, whatever else is to be read from it."""
    return OrthomaskError(
        ErrorCode.IMAGE_UNREADABLE,
        tr("The folder {} contains no finished run.").format(run_dir),
        tr("Choose a folder with a run.json, or run again."),
        str(error),
    )


def no_run(folder: Path, error: Exception) -> OrthomaskError:
    """The error for a folder that holds no finished run."""
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("“{}” is not the folder of a finished run.").format(folder),
        tr("Choose a folder that contains run.json and probabilities.tif."),
        str(error),
    )
