"""How much an answer depends on what is seen where: parts of the image are hidden one after the other.

What they are hidden with matters. Roofs hidden whole by the mean colours of the training images keep a mean probability
of 0.84 or more in six of seven cases on the sample image: a grey square looks like a roof. Dark ones keep 0.02 or less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, Union

import numpy as np
import torch
from scipy import ndimage

from ...protocol.words import mark, tr
from ..compute.batches import Batches, Read
from ..compute.devices import Predictor
from ..images.grid import Window
from ..progress import Progress
from .subject import Subject, View

STEPS = 12
"""Patches along each side of the surroundings, where there is time for them."""
MOST_PX = 40 * 512 * 512
"""Pixels that are predicted at most: those of 40 windows."""
MARGIN_PX = 32
"""Of the image around the surroundings, so that the model sees more than what is hidden."""
FILLS = {0.0: mark("the mean colours of the training images"), -2.0: mark("dark colours"), 2.0: mark("bright colours")}
"""What parts can be hidden with, in standard deviations from the mean, and what that is called."""
EDGE_PX = 4
"""An object is hidden with so much of what is around it, so that its outline is hidden, too."""
Hidden = Union[np.ndarray, tuple[slice, slice]]
"""The pixels of a part that are hidden: a mask, or rows and columns."""


class Occluded(NamedTuple):
    """What hiding has shown.

    Attributes:
        drop: how much the object's mean probability falls when a place is hidden `(H, W)`.
        patch_px: side of what was hidden.
        fill: what it was hidden with, in words.
    """

    drop: np.ndarray
    patch_px: int
    fill: str


class _Part(NamedTuple):
    """The part of a view that is predicted, and what is looked at in it."""

    pixels: np.ndarray
    valid: np.ndarray
    inside: np.ndarray
    value: int
    predictor: Predictor


def occlusion(view: View, subject: Subject, predictor: Predictor, divisor: int, progress: Progress) -> Occluded:
    """Hide patches of the object's surroundings (Zeiler and Fergus 2014), and measure what the model makes of the rest.

    They are hidden with the one of `FILLS` that looks least like the class: in which the object, hidden whole, is the
    least probable. Patches overlap by half; a pixel's value is the mean over the patches that cover it.

    Args:
        divisor: of the network.

    Raises:
        OrthomaskError: a window does not fit into memory, or `Cancelled`.
    """
    core, window = subject.around, _window(view, subject.around, divisor)
    pixels, inside = view.pixels[(slice(None), *window.slices)], subject.inside[window.slices]
    part = _Part(pixels, view.valid[window.slices], inside, subject.info.value, predictor)
    nothing, whole = np.zeros_like(inside), ndimage.binary_dilation(inside, iterations=EDGE_PX)
    before, *filled = _means(part, [(nothing, 0.0), *((whole, fill) for fill in FILLS)], progress.part(0, 0.05))
    fill = min(zip(filled, FILLS), key=lambda pair: pair[0])[1]
    step = _step(core, window)
    patches = _patches(core, window, step)
    after = _means(part, [(patch, fill) for patch in patches], progress.part(0.05, 1))
    total, count = np.zeros(inside.shape), np.zeros(inside.shape)
    for patch, mean in zip(patches, after):
        total[patch] += before - mean
        count[patch] += 1
    drop = np.zeros(view.valid.shape, np.float32)
    drop[window.slices] = total / np.maximum(count, 1)
    return Occluded(drop, 2 * step, tr(FILLS[fill]))


def _means(part: _Part, hides: Sequence[tuple[Hidden, float]], progress: Progress) -> Iterator[float]:
    """The mean probability of the class in the object, with each of these pixels hidden by a value."""
    device = part.predictor.device
    inside = torch.from_numpy(part.inside).to(device.torch)

    def windows() -> Iterator[Read]:
        for hidden, fill in hides:
            pixels = part.pixels.copy()
            pixels[(slice(None), *hidden) if isinstance(hidden, tuple) else (slice(None), hidden)] = fill
            yield pixels, part.valid

    with device.shared() as lanes:
        batches = Batches(part.predictor, device.batch, lanes, device.torch)
        with closing(batches(windows(), progress)) as answers:
            for done, (probabilities, _) in enumerate(answers, 1):
                progress.report(done / len(hides), tr("Hiding part {} of {}").format(done, len(hides)))
                yield 0.0 if probabilities is None else float(probabilities[part.value - 1][inside].mean())


def _window(view: View, core: Window, divisor: int) -> Window:
    """The part of a view to predict: the surroundings and a margin, at whole steps of the network's coarsest level."""
    x, y = (max(0, math.floor((start - MARGIN_PX) / divisor) * divisor) for start in (core.x, core.y))
    ends = (core.x + core.width, view.window.width), (core.y + core.height, view.window.height)
    right, bottom = (min(most, math.ceil((end + MARGIN_PX) / divisor) * divisor) for end, most in ends)
    return Window(x, y, right - x, bottom - y)


def _step(core: Window, window: Window) -> int:
    """Pixels from patch to patch: the surroundings' side over `STEPS`, or more where that would take too long."""
    patches = min(STEPS, math.isqrt(MOST_PX // (window.width * window.height)) - 1)
    return max(1, math.ceil(max(core.width, core.height) / max(1, patches)))


def _patches(core: Window, window: Window, step: int) -> list[tuple[slice, slice]]:
    """Rows and columns of squares of two steps, one every step, all over the surroundings, in pixels of the window."""
    tops, lefts = (
        [start - before for start in range(first - step, first + size, step)]
        for first, size, before in ((core.y, core.height, window.y), (core.x, core.width, window.x))
    )
    return [np.s_[max(0, y) : y + 2 * step, max(0, x) : x + 2 * step] for y in tops for x in lefts]
