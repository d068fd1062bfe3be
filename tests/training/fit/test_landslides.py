"""The recipes of landslides read the published layouts: HDF5 patches of 14 bands, and NumPy stacks of radar."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

from orthomask.cli import commands
from orthomask.engine.models import bundle
from orthomask.training.fit import recipe as recipes

RECIPES = Path(recipes.__file__).resolve().parents[2] / "resources" / "recipes"


def patches(count: int, size: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `(N, H, W, bands)`, far from 0 to 255, whose last band shows the landslides `(N, H, W)`."""
    random = np.random.default_rng(count)
    mask = np.stack([ndimage.gaussian_filter(random.normal(size=(size, size)), 6) > 0.02 for _ in range(count)])
    images = random.normal(1.0, 0.1, (count, size, size, bands))
    images[..., -1] -= mask
    return images, mask


def landslide4sense(folder: Path) -> tuple[str, str]:
    for part, count in (("TrainData", 5), ("TestData", 1)):
        for number, (image, mask) in enumerate(zip(*patches(count, 128, 14)), 1):
            for kind, name, values in (("img", "image", image), ("mask", "mask", mask.astype(np.uint8))):
                path = folder / part / kind / f"{name}_{number}.h5"
                path.parent.mkdir(parents=True, exist_ok=True)
                with h5py.File(path, "w") as file:
                    file[kind] = values
    return "TestData/img", "TestData/mask"


def radar(folder: Path) -> tuple[str, str]:
    for part, count in (("train", 5), ("test", 2)):
        images, mask = patches(count, 64, 4)
        np.save(folder / f"{part}X.npy", images.astype(np.float32))
        np.save(folder / f"{part}Y.npy", mask[..., None].astype(np.float64))
    return "testX.npy", "testY.npy"


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(commands, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("name", "write", "bands", "channels", "threshold"),
    [
        ("landslides", landslide4sense, [str(number) for number in range(1, 15)], (4, 8, 16, 32, 64), 0.5),
        ("landslides-sar", radar, ["VV before", "VV after", "VV later", "slope"], (4, 4, 8, 8, 16), 0.9),
    ],
)
def test_a_grid_is_searched_and_its_best_is_scored(tmp_path, name, write, bands, channels, threshold):
    images, masks = write(tmp_path)
    grid = tmp_path / "grid"
    invoke("search", RECIPES / f"{name}.toml", "--data", tmp_path, "--out", grid, "--epochs", 1, "--steps", 2,
           "--option", "network.width_factor=4", "--option", "schedule.learning_rate=0.001,0.0005",
           "--set", "schedule.workers=0")  # fmt: skip
    with (grid / "trials.csv").open() as file:
        first, second = csv.DictReader(file)
    assert {first["schedule.learning_rate"], second["schedule.learning_rate"]} == {"0.001", "0.0005"}
    assert {"precision", "recall", "f1"} < set(first)
    best = grid / first["folder"] / f"{name}.safetensors"
    card = bundle.load(str(best)).card
    assert [band.name for band in card.bands] == bands
    assert (card.architecture.detail, *card.architecture.widths) == channels
    assert card.architecture.attention
    assert (card.threshold, card.gsd_m) == (0.5, 10)
    told = invoke("evaluate", "--model", best, "--images", tmp_path / images, "--masks", tmp_path / masks,
                  "--gsd-m", 10, "--threshold", threshold, "--out", tmp_path / "test")  # fmt: skip
    assert f"threshold {threshold}" in told
