"""The engine for runs on non-file images: renders the picture into the run's folder first, deletes it afterwards."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ...protocol import ErrorCode, Existing, Image, OrthomaskError, PredictRequest, PredictResult, from_json, to_json
from ..client.engine_client import EngineClient, Feedback, NoFeedback
from ..client.stages import Stage, told
from ..toolkit.words import tr
from .images import FrozenImage, written
from .rendering import Picture

PICTURE_DIR, RECORD = ".picture", "picture.json"
WORK_DIR = ".orthomask"
"""In a run's folder, as in `engine/runs/runs.py`: exists while the run is unfinished."""
RENDERING_PERCENT = 40.0


@dataclass(frozen=True)
class FrozenRun:
    """A prediction, perhaps with an image still to render; the request then holds its key."""

    request: PredictRequest
    image: FrozenImage


class PictureClient:
    """Has the `call` of `EngineClient`, for a `FrozenRun`, in any thread.

    The picture is kept until the run is finished, so that a cancelled run resumes without the service.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def call(self, run: FrozenRun, feedback: Optional[Feedback] = None) -> PredictResult:
        """Render the picture and run the model; raises what either raises."""
        watcher, folder = feedback or NoFeedback(), Path(run.request.output_dir)
        if not isinstance(run.image, Picture):  # a file, or the picture of a resumed run
            result: PredictResult = told(run.request, self._client.call(run.request, watcher))
            shutil.rmtree(folder / PICTURE_DIR, ignore_errors=True)
            return result
        _refuse_finished(folder, run.request)
        try:
            image = _picture(folder / PICTURE_DIR, run.image, Stage(watcher, 0, RENDERING_PERCENT))
            request = replace(run.request, image=image)
            result = told(request, self._client.call(request, Stage(watcher, RENDERING_PERCENT, 100)))
        except OrthomaskError:
            if not (folder / WORK_DIR).exists():
                _remove(folder)
            raise
        shutil.rmtree(folder / PICTURE_DIR, ignore_errors=True)
        return result


def _picture(folder: Path, picture: Picture, feedback: Feedback) -> Image:
    """The picture in the folder: the resumed run's, or a new one."""
    record, key = folder / RECORD, to_json(picture.key)
    with contextlib.suppress(OSError, ValueError, KeyError, OrthomaskError):
        kept = json.loads(record.read_text(encoding="utf-8"))
        if kept["key"] == key and Path(kept["image"]["path"]).exists():
            return from_json(Image, kept["image"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        image = written(picture, folder, feedback)
        record.write_text(json.dumps({"key": key, "image": to_json(image)}), encoding="utf-8")
    except OSError as error:
        sentence, remedy = tr("The folder {} cannot be written."), tr("Choose a folder that you can write to.")
        raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence.format(folder.parent), remedy, str(error)) from error
    return image


def _refuse_finished(folder: Path, request: PredictRequest) -> None:
    """Raise if the folder already holds a run, before requesting a picture in vain."""
    if request.existing is Existing.OVERWRITE or not (folder / "run.json").exists():
        return
    sentence = tr("The folder “{}” already contains a run.").format(folder)
    raise OrthomaskError(ErrorCode.OUTPUT_EXISTS, sentence, tr("Choose another folder, or overwrite it."))


def _remove(folder: Path) -> None:
    """Remove the picture, and the run's folder if nothing else is in it."""
    shutil.rmtree(folder / PICTURE_DIR, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
