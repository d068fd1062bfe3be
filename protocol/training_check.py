"""The preflight of a training: can these data teach, and how long will it take?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .prediction import Light
from .training import TrainRequest
from .values import Level


@dataclass(frozen=True)
class CheckTrainingRequest:
    """Look at a training's data without reading pixels, and estimate its time; nothing is written."""

    training: TrainRequest


@dataclass(frozen=True)
class CheckTrainingResult:
    """The lights, and what the training is expected to take.

    Attributes:
        seconds: None if a light is red.
    """

    lights: tuple[Light, ...]
    seconds: Optional[float]
    device: str

    @property
    def level(self) -> Level:
        """The worst of the lights."""
        levels = [light.level for light in self.lights]
        return next((level for level in (Level.RED, Level.AMBER) if level in levels), Level.GREEN)
