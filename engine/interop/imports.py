"""Make a bundle of a model of another program: of an ONNX file, or of weights whose architecture is named."""

from __future__ import annotations

from ...protocol import ImportModelRequest, ModelSummary
from ..progress import Progress
from . import onnx_in, state_dict_in


def run(request: ImportModelRequest, progress: Progress) -> ModelSummary:
    """Make a bundle of a model of another program.

    Raises:
        OrthomaskError: it cannot be imported, something must be given that it does not say, or the output exists or
            cannot be written.
    """
    return state_dict_in.run(request, progress) if request.architecture else onnx_in.run(request, progress)
