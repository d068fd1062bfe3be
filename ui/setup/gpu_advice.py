"""Why the computer's GPU is not used, in one sentence, and what to do about it."""

from __future__ import annotations

import enum
import platform
import sys
from dataclasses import dataclass, replace
from typing import Optional

from ...protocol import GpuProblem, InfoResult
from ..installer.graphics import NVIDIA, Graphics
from ..toolkit.words import mark, tr


class Cure(enum.Enum):
    """What the button next to the sentence does; its text."""

    NONE = ""
    SET_UP = mark("Set up for the GPU…")
    USE_GPU = mark("Use the GPU")
    LOOK_AGAIN = mark("Look again")


@dataclass(frozen=True)
class Advice:
    """One sentence or two, and the button that helps.

    Args:
        is_warning: whether a GPU could be used; else it is only information.
    """

    sentence: str
    cure: Cure = Cure.NONE
    is_warning: bool = True


_BY_PROBLEM = {
    GpuProblem.BUILD: Advice(mark("{} is not used: the engine was set up for the CPU only."), Cure.SET_UP),
    GpuProblem.DRIVER: Advice(
        mark("{} is not used: its driver is too old for the engine's PyTorch build."), Cure.SET_UP
    ),
    GpuProblem.AGE: Advice(mark("{} is not used: the engine's PyTorch build does not support it."), Cure.SET_UP),
    GpuProblem.MEMORY: Advice(
        mark("{} is not used: other programs are using its memory. Close them."), Cure.LOOK_AGAIN
    ),
    GpuProblem.ABSENT: Advice(
        mark("{} is not used: it is hidden from the engine. Is CUDA_VISIBLE_DEVICES set?"), Cure.LOOK_AGAIN
    ),
    GpuProblem.START: Advice(
        mark("{} is not used: it could not be started. Restart the computer, or update its driver."), Cure.LOOK_AGAIN
    ),
    GpuProblem.CHOSEN: Advice(
        mark("{} is not used: the CPU is chosen in the settings."), Cure.USE_GPU, is_warning=False
    ),
}
"""For GPUs and drivers that a build of PyTorch supports."""


def advice(info: InfoResult, graphics: Graphics) -> Optional[Advice]:
    """Advice on GPUs that are not used; None if there is nothing to say."""
    if info.device != "cpu":
        return None
    if graphics.gpu is not None:
        if not graphics.gpu_fits:
            return Advice(graphics.why)
        found = _BY_PROBLEM.get(info.gpu_problem)
        return replace(found, sentence=tr(found.sentence).format(graphics.gpu.name)) if found else None
    if NVIDIA in graphics.makers:
        return Advice(
            tr("The NVIDIA GPU is not used: its driver does not answer. Install NVIDIA's driver, then restart.")
        )
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return _of_apple(info)
    if graphics.makers:
        words = tr("GPUs by {} are not used: the engine supports NVIDIA and Apple GPUs only.")
        return Advice(words.format(", ".join(graphics.makers)), is_warning=False)
    return None


def _of_apple(info: InfoResult) -> Advice:
    if info.gpu_problem is GpuProblem.CHOSEN:
        words = tr("The Apple GPU is not used: the CPU is chosen in the settings.")
        return Advice(words, Cure.USE_GPU, is_warning=False)
    return Advice(tr("The Apple GPU is not used: PyTorch needs a newer macOS for it."))
