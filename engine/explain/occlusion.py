"""How much an answer depends on what is seen where: parts of the image are hidden one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch

from ...protocol.words import tr
from ..compute.batches import Batches, Read
from ..compute.devices import Predictor
from ..images.grid import Window
from ..progress import Progress
from .subject import Subject, View

STEPS = 12
"""Patches along each side of the surroundings, where there is time for them."""
MOST_PX = 40 * 512 * 512
"""Pixels that are predicted at most: a few seconds on two cores (docs/performance.md)."""
MARGIN_PX = 32
"""Of the image around the surroundings, so that the model sees more than what is hidden."""


class Occluded(NamedTuple):
    """How much the object's mean probability falls when a place is hidden `(H, W)`, and how wide the patches are."""

    drop: np.ndarray
    patch_px: int


def occlusion(view: View, subject: Subject, predictor: Predictor, divisor: int, progress: Progress) -> Occluded:
    """Hide patches of the object's surroundings (Zeiler and Fergus 2014), and measure what the model makes of the rest.

    A hidden patch is 0 in all bands after normalisation: the mean of the training images, and what the model gets
    where an image has no data. Patches overlap by half; a pixel's value is the mean over the patches that cover it.

    Args:
        divisor: of the network.

    Raises:
        OrthomaskError: a window does not fit into memory, or `Cancelled`.
    """
    core, part = subject.around, _part(view, subject.around, divisor)
    pixels, valid, inside = (
        view.pixels[(slice(None), *part.slices)],
        view.valid[part.slices],
        subject.inside[part.slices],
    )
    step = _step(core, part)
    corners = [
        (y - part.y, x - part.x)
        for y in range(core.y - step, core.y + core.height, step)
        for x in range(core.x - step, core.x + core.width, step)
    ]
    patches = [np.s_[max(0, y) : y + 2 * step, max(0, x) : x + 2 * step] for y, x in corners]

    def windows() -> Iterator[Read]:
        yield pixels, valid
        for patch in patches:
            hidden = pixels.copy()
            hidden[:, patch[0], patch[1]] = 0
            yield hidden, valid

    answers = _means(windows(), len(patches) + 1, inside, subject.info.value, predictor, progress)
    whole, total, count = next(answers), np.zeros(valid.shape), np.zeros(valid.shape)
    for patch, mean in zip(patches, answers):
        total[patch] += whole - mean
        count[patch] += 1
    drop = np.zeros(view.valid.shape, np.float32)
    drop[part.slices] = total / np.maximum(count, 1)
    return Occluded(drop, 2 * step)


def _means(
    windows: Iterator[Read], count: int, inside: np.ndarray, value: int, predictor: Predictor, progress: Progress
) -> Iterator[float]:
    """The mean probability of a class in an object, in each of the windows."""
    device = predictor.device
    object_ = torch.from_numpy(inside).to(device.torch)
    with device.shared() as lanes:
        batches = Batches(predictor, device.batch, lanes, device.torch)
        with closing(batches(windows, progress)) as answers:
            for done, (probabilities, _) in enumerate(answers, 1):
                progress.report(done / count, tr("Hiding part {} of {}").format(done, count))
                assert probabilities is not None  # the object has data
                yield float(probabilities[value - 1][object_].mean())


def _part(view: View, core: Window, divisor: int) -> Window:
    """The part of a view to predict: the surroundings and a margin, at whole steps of the network's coarsest level."""
    x, y = (max(0, math.floor((start - MARGIN_PX) / divisor) * divisor) for start in (core.x, core.y))
    ends = (core.x + core.width, view.window.width), (core.y + core.height, view.window.height)
    right, bottom = (min(most, math.ceil((end + MARGIN_PX) / divisor) * divisor) for end, most in ends)
    return Window(x, y, right - x, bottom - y)


def _step(core: Window, part: Window) -> int:
    """Pixels from patch to patch: the surroundings' side over `STEPS`, or more where that would take too long."""
    patches = min(STEPS, math.isqrt(MOST_PX // (part.width * part.height)) - 1)
    return max(1, math.ceil(max(core.width, core.height) / max(1, patches)))
