"""Synthetic labelled images on disk."""

import warnings
from pathlib import Path

import numpy as np
import rasterio


def write_tile(folder: Path, name: str, pixels: np.ndarray, mask: np.ndarray) -> None:
    """Write `images/NAME.png` from `(bands, H, W)` and `masks/NAME.png` from `(H, W)`."""
    for part, values in (("images", pixels), ("masks", mask[None])):
        path = folder / part / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        bands, height, width = values.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, "w", driver="PNG", width=width, height=height, count=bands, dtype="uint8") as png:
                png.write(values.astype(np.uint8))


def squares(seed: int, size: int = 96, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares, the class, on a darker noisy ground."""
    random = np.random.default_rng(seed)
    pixels = random.integers(40, 90, (3, size, size)).astype(np.uint8)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(count):
        top, left = random.integers(0, size - 28, 2)
        box = np.s_[..., top : top + 28, left : left + 28]
        pixels[box] = random.integers(170, 220, (3, 28, 28))
        mask[box] = 1
    return pixels, mask
