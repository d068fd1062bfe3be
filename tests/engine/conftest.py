from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import settings

from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import Cancelled, ClassInfo, Outline

UTM = "EPSG:32645"
settings.register_profile("fuzz", max_examples=2800, deadline=None)  # `make fuzz`: 2,450 damaged files and messages


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured in a test is kept for that test alone."""
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A small network with random weights, as a bundle."""

    def make(
        classes: int = 1, bands: int = 3, dtype: str = "uint8", outline: Outline = Outline.SQUARED, second: int = 0
    ) -> Path:
        torch.manual_seed(classes + 1)
        arguments = UNetArguments(bands, classes + 1, widths=(8, 8), blocks=1, detail=8, second_bands=second)
        names = ("red", "green", "blue", "nir")[: bands - second] + tuple(f"second:{n + 1}" for n in range(second))
        card = bundle.Card(
            name="tiny",
            title="Tiny",
            architecture=arguments,
            bands=tuple(bundle.BandStatistics(name, 120.0, 60.0, 5.0, 250.0) for name in names),
            dtype=dtype,
            gsd_m=0.3,
            classes=tuple(
                ClassInfo(i + 1, f"class {i + 1}", f"#{i * 40 + 20:02x}5030", outline) for i in range(classes)
            ),
            threshold=0.5,
            licence="CC0",
            attribution="nobody",
        )
        path = tmp_path_factory.mktemp("bundle") / "tiny.safetensors"
        network = UNet(arguments)
        torch.nn.init.normal_(network.head.weight, std=2.0)  # so that the classes differ from place to place
        bundle.save(path, network, card)
        return path

    return make


@pytest.fixture(scope="session")
def tiny(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle()


@pytest.fixture
def make_raster(tmp_path: Path) -> Callable[..., Path]:
    """A GeoTIFF of the given pixels `(bands, H, W)`, or of noise with structure."""

    def make(
        pixels: np.ndarray | tuple[int, int] = (100, 120),
        *,
        name: str = "image.tif",
        crs: str | None = UTM,
        transform: Affine = Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000),  # noqa: B008
        mask: np.ndarray | None = None,
        **profile: Any,
    ) -> Path:
        if isinstance(pixels, tuple):
            pixels = scene(*pixels)
        path = tmp_path / name
        with rasterio.open(
            path, "w", driver="GTiff", count=pixels.shape[0], height=pixels.shape[1], width=pixels.shape[2],
            dtype=pixels.dtype, crs=crs, transform=transform, **profile,
        ) as dataset:  # fmt: skip
            dataset.write(pixels)
            if mask is not None:
                dataset.write_mask(mask)
        return path

    return make


def scene(height: int, width: int, bands: int = 3) -> np.ndarray:
    """Blocks of colour under noise, uint8 `(bands, H, W)`."""
    random = np.random.default_rng(height * 10_007 + width)
    blocks = random.integers(20, 230, (bands, -(-height // 16), -(-width // 16)))
    large = np.kron(blocks, np.ones((1, 16, 16)))[:, :height, :width]
    return np.clip(large + random.normal(0, 15, large.shape), 0, 255).astype(np.uint8)


class CancelAfter(Progress):
    """Cancels once the given fraction has been reported."""

    def __init__(self, fraction: float) -> None:
        self.fraction, self.reached = fraction, 0.0

    def show(self, fraction: float, message: str) -> None:
        self.reached = max(self.reached, fraction)

    def check_cancelled(self) -> None:
        if self.reached >= self.fraction:
            raise Cancelled
