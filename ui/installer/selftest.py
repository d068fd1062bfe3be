"""Tests the new environment: runs the embedded model on a built-in image through the real engine."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qgis.core import QgsRasterLayer

from ...protocol import Existing, Image, InfoRequest, InfoResult, ModelsRequest, PredictRequest, PredictResult
from ..client.engine_client import EngineClient
from ..client.environment import WORKER
from ..toolkit.words import in_digits, time_in_words, tr_n
from .progress import Watcher

PICTURE = WORKER.parent / "resources" / "sample" / "banepa.tif"


@dataclass(frozen=True)
class SelfTest:
    """Result of the self-test: the device, the time of a warm run, and how much it found."""

    device: str
    reason: str
    seconds: float
    megapixels: float
    polygons: int

    def in_words(self) -> str:
        """One sentence."""
        words = tr_n(
            "{} found {} object in the built-in image ({} megapixels) in {}.",
            "{} found {} objects in the built-in image ({} megapixels) in {}.",
            self.polygons,
        )
        size = in_digits(self.megapixels, 2)
        return words.format(self.device, self.polygons, size, time_in_words(self.seconds))


class _Feedback:
    """Passes on cancellation; ignores progress."""

    def __init__(self, watcher: Watcher) -> None:
        self.isCanceled = watcher.isCanceled

    def setProgress(self, percent: float) -> None:
        """Show nothing."""

    def setProgressText(self, text: str) -> None:
        """Show nothing."""


def run(python: str, watcher: Watcher) -> SelfTest:
    """Start an engine with this Python, and segment the built-in image.

    Raises:
        Cancelled: the engine was ended.
        OrthomaskError: the engine does not work.
    """
    client = EngineClient(lambda: [python, "-s", "-u", str(WORKER)])
    feedback: Any = _Feedback(watcher)
    try:
        info: InfoResult = client.call(InfoRequest(), feedback)
        model = client.call(ModelsRequest(), feedback).models[0]
        with tempfile.TemporaryDirectory(prefix="orthomask") as folder:
            request = PredictRequest(image=Image(str(PICTURE)), model=model.path, output_dir=str(Path(folder) / "run"))
            client.call(request, feedback)  # the first run loads and calibrates the model
            result: PredictResult = client.call(replace(request, existing=Existing.OVERWRITE), feedback)
    finally:
        client.close()
    layer = QgsRasterLayer(str(PICTURE), "")
    megapixels = layer.width() * layer.height() / 1e6
    return SelfTest(info.device_name, info.device_reason, round(result.seconds, 2), megapixels, result.polygon_count)
