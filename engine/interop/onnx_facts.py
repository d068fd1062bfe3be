"""What an ONNX file says about itself, before it is imported."""

from __future__ import annotations

from pathlib import Path

from ...protocol import OnnxFacts, OnnxRequest
from ...protocol.words import tr
from ..progress import Progress
from .onnx_file import opened


def run(request: OnnxRequest, progress: Progress) -> OnnxFacts:
    """Read an ONNX file and run it once.

    Raises:
        OrthomaskError: it cannot be imported.
    """
    progress.report(0, tr("Reading the ONNX file"))
    return opened(Path(request.path)).facts()
