"""How far the content of one picture lies from the same content in another: correlation of their edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

EDGE_PX = 1.0
"""Standard deviation of the Gaussian whose derivatives find edges."""
CLEAR_PX = 4
"""Edges this close to missing data are those of its outline."""
FLAT = 1e-3
"""A window whose pixels differ by less than this, relative to their size, shows nothing."""
PEAK_PX = 4
"""Sidelobes of a peak lie within this; other peaks beyond."""
FINE = 10
"""Samples of a pixel around a peak, between which a parabola is fitted."""


class Peak(NamedTuple):
    """Where two windows agree best.

    Attributes:
        shift_px: columns and rows by which the second one's content lies further.
        reliability: 0 to 1: how much lower than the peak the next one is, relatively. Noise, repeated patterns and flat
            ground have next ones that are nearly as high.
    """

    shift_px: tuple[float, float]
    reliability: float


NOTHING = Peak((0.0, 0.0), 0.0)


def edges(pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Directions of edges `(H, W)`, as complex numbers of twice their angle, whose length nears 1 for strong ones.

    Brightness and contrast do not matter, even where they are reversed (crop and bare soil, red and infrared): Fitch et
    al. 2002 (orientation correlation) with the doubled angle of Bigün and Granlund 1987. Weaker edges than the window's
    median count for less, so that noise on plain ground does not outvote outlines.

    Args:
        pixels: `(bands, H, W)`.
        valid: `(H, W)`; there is no edge where it is False, nor near.
    """
    grey = pixels.mean(axis=0, dtype=np.float32)
    grey = np.where(valid, grey, grey[valid].mean() if valid.any() else 0)
    if np.ptp(grey) <= FLAT * np.abs(grey).max():
        return np.zeros(grey.shape, np.complex64)
    across, down = (ndimage.gaussian_filter(grey, EDGE_PX, order=order) for order in ((0, 1), (1, 0)))
    gradient = across + 1j * down
    strength = np.abs(gradient)
    clear = valid if valid.all() else ndimage.binary_erosion(valid, iterations=CLEAR_PX, border_value=1)
    usual = np.median(strength[clear]) if clear.any() else 0.0
    scale = strength * (strength + usual)
    return np.where(clear & (scale > 0), gradient**2 / np.where(scale > 0, scale, 1), 0).astype(np.complex64)


def correlate(before: np.ndarray, after: np.ndarray, reach_px: float) -> Peak:
    """Where two windows of `edges` `(H, W)` agree best, within `reach_px` along rows and along columns.

    Their cross-power spectrum is partly whitened, which sharpens the peak of phase correlation (Kuglin and Hines 1975)
    without giving noise the same voice. The peak is refined by a Fourier transform of its surroundings at 1/10 pixel
    (Guizar-Sicairos et al. 2008), and a parabola through those.
    """
    taper = np.outer(*(np.hanning(size + 2)[1:-1] for size in before.shape))
    spectra = [fft.fft2((part - np.average(part, weights=taper)) * taper) for part in (before, after)]
    product = spectra[1] * spectra[0].conj()
    size = np.abs(product)
    if not size.any():
        return NOTHING
    product /= np.sqrt(size) + 1e-3 * np.sqrt(size.max())
    surface = fft.fftshift(fft.ifft2(product).real)
    middle = np.array(surface.shape) // 2
    reach = np.minimum(np.ceil(reach_px), middle - 1).astype(int)
    near = surface[middle[0] - reach[0] : middle[0] + reach[0] + 1, middle[1] - reach[1] : middle[1] + reach[1] + 1]
    place = np.array(np.unravel_index(near.argmax(), near.shape))
    if (place == 0).any() or (place == np.array(near.shape) - 1).any() or near.max() <= 0:
        return NOTHING
    row, column = place - reach + _finer(product, place - reach)
    return Peak((float(column), float(row)), _reliability(surface, place - reach + middle))


def _reliability(surface: np.ndarray, place: np.ndarray) -> float:
    """How much lower the next peak of the whole surface is than the one at `place`, 0 to 1."""
    rows, columns = np.ogrid[: surface.shape[0], : surface.shape[1]]
    elsewhere = np.maximum(np.abs(rows - place[0]), np.abs(columns - place[1])) > PEAK_PX
    return float(np.clip(1 - surface[elsewhere].max() / surface[tuple(place)], 0, 1))


def _finer(product: np.ndarray, place: np.ndarray) -> np.ndarray:
    """How far `(2,)` the highest point around a peak is from its pixel, rows and columns."""
    steps = np.arange(-FINE, FINE + 1) / FINE
    down, across = (
        np.exp(2j * np.pi * np.outer(start + steps, fft.fftfreq(size))) for start, size in zip(place, product.shape)
    )
    surface = (down @ product @ across.T).real
    row, column = np.unravel_index(surface.argmax(), surface.shape)
    return np.array(
        (steps[row] + _top(surface[:, column], row) / FINE, steps[column] + _top(surface[row], column) / FINE)
    )


def _top(heights: np.ndarray, index: int) -> float:
    """How far the top of the parabola through a highest sample and its neighbours is from it, in samples."""
    if index in (0, len(heights) - 1):
        return 0.0
    left, middle, right = heights[index - 1 : index + 2]
    bend = left - 2 * middle + right
    return float((left - right) / (2 * bend)) if bend < 0 else 0.0
