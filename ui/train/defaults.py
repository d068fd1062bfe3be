"""Default numbers for a training, in the dock and the toolbox."""

from __future__ import annotations

from ...protocol import Augmentation, Schedule

FROM_SCRATCH = Schedule()
"""For a training that starts from random weights."""
NO_AUGMENTATION = Augmentation(
    scale=(1.0, 1.0), flip=False, rotate=False, brightness=0.0, contrast=(1.0, 1.0), gamma=(1.0, 1.0),
    saturation=(1.0, 1.0), colour=0.0, blur=0.0, noise=0.0, shade=0.0, cutout=0.0, blank=0.0,
)  # fmt: skip
STRONG_AUGMENTATION = Augmentation(
    scale=(0.45, 2.2), brightness=0.14, contrast=(0.6, 1.6), gamma=(0.6, 1.6), saturation=(0.2, 1.6), colour=0.12,
    blur=0.8, noise=0.03, shade=0.25, cutout=0.3,
)  # fmt: skip
