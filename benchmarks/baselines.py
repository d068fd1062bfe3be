"""Plain models for comparison, trained on the pictures of a recipe: two typical U-Nets, and a random forest.

    .venv/engine/bin/python benchmarks/baselines.py buildings --data ../shared/data

- `s3` is the U-Net of a workshop on images of Dubai: 1.94 million parameters, patches of 256 px at the pictures' own
  resolution, each scaled by its own minimum and maximum, Dice and focal loss. There prediction omitted the scaling;
  here it scales as training did.
- `s4` is a U-Net from scratch (Ronneberger et al. 2015) on tiles of 256 px, batches of one zoom level each, values
  divided by 255, binary cross-entropy.
- `forest` is a random forest on colours and filters of single pixels at the resolution of the recipe's model.

None of them augments its pictures or blends its patches. Epoch and threshold are chosen on the recipe's validation
pictures. The networks use one core, keep a checkpoint of every epoch in `.venv/benchmarks/baselines`, and resume from
it, so that `--minutes 60` continues a training of 12.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import click
import joblib
import numpy as np
import torch
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn
from torch.nn import functional

from orthomask.benchmarks.places import laid_back, resampled, resampled_mask
from orthomask.engine.runs.runs import SCALE
from orthomask.protocol import UNKNOWN, Split
from orthomask.training.accuracy.calibration import Histogram
from orthomask.training.chips.pictures import Tile, read_pictures
from orthomask.training.fit import recipe

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".venv" / "benchmarks" / "baselines"
PATCH_PX = 256
BATCH = 16
WIDTHS = (16, 32, 64, 128, 256)
LEARNING_RATE = 1e-3
LEAST_KNOWN = 0.5
"""Patches with a smaller share of known pixels are left out."""
SAMPLES = 200_000
TREES = 100
SIGMAS_PX = (1, 2, 4, 8)


class Convolutions(nn.Sequential):
    """Two convolutions of 3 x 3 with ReLU, and dropout between them."""

    def __init__(self, bands: int, width: int, dropout: float) -> None:
        first, second = nn.Conv2d(bands, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        super().__init__(first, nn.ReLU(), nn.Dropout(dropout), second, nn.ReLU())


class PlainUNet(nn.Module):
    """U-Net of five levels: `(B, 3, H, W)` to logits `(B, outputs, H, W)`; H and W are multiples of 16."""

    def __init__(self, outputs: int, dropout: float) -> None:
        super().__init__()
        steps = list(pairwise((3, *WIDTHS)))
        self.down = nn.ModuleList(Convolutions(bands, width, dropout) for bands, width in steps)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in steps[1:])
        self.join = nn.ModuleList(Convolutions(2 * width, width, dropout) for width in WIDTHS[:-1])
        self.head = nn.Conv2d(WIDTHS[0], outputs, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of the pixels."""
        skips = [self.down[0](pixels)]
        for down in self.down[1:]:
            skips.append(down(functional.max_pool2d(skips[-1], 2)))
        features = skips.pop()
        for up, join in zip(reversed(self.up), reversed(self.join)):
            features = join(torch.cat([skips.pop(), up(features)], dim=1))
        return self.head(features)


def min_max(pixels: Tensor) -> Tensor:
    """Every band of every patch `(B, 3, H, W)` from 0 to 1."""
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    return (pixels - low) / (high - low).clamp(min=1)


def by_255(pixels: Tensor) -> Tensor:
    """Bytes from 0 to 1."""
    return pixels / 255


def softmax(logits: Tensor) -> Tensor:
    """Probability `(B, H, W)` of the second of two classes."""
    return logits.softmax(dim=1)[:, 1]


def sigmoid(logits: Tensor) -> Tensor:
    """Probability `(B, H, W)` of the only class."""
    return logits.sigmoid()[:, 0]


def dice_and_focal(probability: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Dice loss, mean of object and background, plus focal loss (Lin et al. 2017, alpha 0.25, gamma 2)."""
    dice = sum(
        1 - (2 * (p * t * known).sum() + 1) / (((p + t) * known).sum() + 1)
        for p, t in ((probability, truth), (1 - probability, 1 - truth))
    )
    right = torch.where(truth > 0, probability, 1 - probability).clamp(min=1e-6)
    focal = -0.25 * (1 - right) ** 2 * right.log() * known
    return dice / 2 + focal.sum() / known.sum().clamp(min=1)


def cross_entropy(probability: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy, mean of the known pixels."""
    loss = functional.binary_cross_entropy(probability, truth, reduction="none") * known
    return loss.sum() / known.sum().clamp(min=1)


@dataclass(frozen=True)
class Way:
    """How a U-Net is built, fed and trained.

    Attributes:
        by_zoom: each batch holds patches of one resolution only.
    """

    outputs: int
    dropout: float
    scale: Callable[[Tensor], Tensor]
    probability: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    by_zoom: bool


WAYS = {
    "s3": Way(2, 0.2, min_max, softmax, dice_and_focal, by_zoom=False),
    "s4": Way(1, 0.0, by_255, sigmoid, cross_entropy, by_zoom=True),
}
FOREST = "forest"
NAMES = (*WAYS, FOREST)


class Patch(NamedTuple):
    """A patch of 256 px: `(3, H, W)` and `(H, W)`, uint8."""

    pixels: np.ndarray
    mask: np.ndarray
    gsd_m: float


class Data(NamedTuple):
    """The pictures of a recipe, and the resolution of its model."""

    train: list[Tile]
    validation: list[Tile]
    gsd_m: float


@dataclass(frozen=True)
class UNetBaseline:
    """A trained U-Net and the threshold that validation chose."""

    name: str
    way: Way
    network: PlainUNet
    threshold: float

    def __call__(self, pixels: np.ndarray, gsd_m: float) -> np.ndarray:  # noqa: ARG002 (knows no resolution)
        """Probability `(H, W)`, 0 to `SCALE`, of a picture `(3, H, W)`: patch by patch, laid side by side."""
        return predicted(self.network, self.way, pixels)


@dataclass(frozen=True)
class ForestBaseline:
    """A trained forest, the resolution that it works at, and the threshold that validation chose."""

    name: str
    forest: RandomForestClassifier
    gsd_m: float
    threshold: float

    def __call__(self, pixels: np.ndarray, gsd_m: float) -> np.ndarray:
        """Probability `(H, W)`, 0 to `SCALE`, of a picture `(3, H, W)`."""
        looked_at = resampled(pixels, gsd_m, self.gsd_m)
        rows = features(looked_at).reshape(-1, looked_at.shape[1] * looked_at.shape[2]).T
        found = stored(self.forest.predict_proba(rows)[:, 1]).reshape(looked_at.shape[1:])
        return laid_back(found, self.gsd_m, gsd_m, pixels.shape[1:])


Baseline = UNetBaseline | ForestBaseline


def stored(probability: np.ndarray) -> np.ndarray:
    """Probabilities from 0 to 1 as the engine stores them, 0 to `SCALE`."""
    return np.round(probability * SCALE).astype(np.uint8)


def predicted(network: PlainUNet, way: Way, pixels: np.ndarray) -> np.ndarray:
    """Probability `(H, W)`, 0 to `SCALE`: patches side by side, the last ones padded with a mirror image."""
    height, width = pixels.shape[1:]
    filled = np.pad(pixels, ((0, 0), (0, -height % PATCH_PX), (0, -width % PATCH_PX)), "symmetric")
    rows, columns = filled.shape[1] // PATCH_PX, filled.shape[2] // PATCH_PX
    cut = filled.reshape(3, rows, PATCH_PX, columns, PATCH_PX).transpose(1, 3, 0, 2, 4)
    patches = torch.from_numpy(cut.reshape(-1, 3, PATCH_PX, PATCH_PX).copy())
    network.eval()
    with torch.inference_mode():
        found = torch.cat([way.probability(_logits(network, way, batch)) for batch in patches.split(BATCH)])
    laid = found.reshape(rows, columns, PATCH_PX, PATCH_PX).transpose(1, 2).reshape(filled.shape[1:])
    return stored(laid[:height, :width].numpy())


def _logits(network: PlainUNet, way: Way, pixels: Tensor) -> Tensor:
    scaled = way.scale(pixels.float()).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        return network(scaled).float()


def features(pixels: np.ndarray) -> np.ndarray:
    """Colours and filters `(27, H, W)` of a picture `(3, H, W)` uint8.

    RGB, and at each of four scales: smoothed RGB, gradient magnitude, difference of Gaussians, local deviation of grey.
    """
    colours = pixels.astype(np.float32)
    grey = colours.mean(axis=0)
    found = [*colours]
    for sigma in SIGMAS_PX:
        smooth = ndimage.gaussian_filter(grey, sigma)
        variance = ndimage.gaussian_filter(grey**2, sigma) - smooth**2
        found += [ndimage.gaussian_filter(band, sigma) for band in colours]
        found += [
            ndimage.gaussian_gradient_magnitude(grey, sigma),
            smooth - ndimage.gaussian_filter(grey, 1.6 * sigma),
            np.sqrt(np.maximum(variance, 0)),
        ]
    return np.stack(found)


def read(recipe_path: Path, data: Path) -> Data:
    """The pictures that a recipe trains and validates on."""
    request = recipe.load(recipe_path, "-", str(data))
    tiles = [tile for pictures in request.data.pictures for tile in read_pictures(pictures, request.data.root)]
    parts = [[tile for tile in tiles if tile.split is split] for split in (Split.TRAIN, Split.VALIDATION)]
    return Data(*parts, request.gsd_m)


def patches_of(tiles: Iterable[Tile]) -> Iterator[Patch]:
    """Cut pictures into patches without overlap; what is left at right and bottom edges is dropped."""
    for tile in tiles:
        for row in range(tile.mask.shape[0] // PATCH_PX):
            for column in range(tile.mask.shape[1] // PATCH_PX):
                box = np.s_[..., row * PATCH_PX : (row + 1) * PATCH_PX, column * PATCH_PX : (column + 1) * PATCH_PX]
                if (tile.mask[box] != UNKNOWN).mean() >= LEAST_KNOWN:
                    yield Patch(tile.pixels[box], tile.mask[box], tile.gsd_m)


def batches(patches: Sequence[Patch], by_zoom: bool, random: np.random.Generator) -> list[list[Patch]]:
    """The patches of an epoch in random order."""
    zooms = sorted({patch.gsd_m for patch in patches}) if by_zoom else [None]
    dealt = []
    for zoom in zooms:
        chosen = [patch for patch in patches if zoom in (None, patch.gsd_m)]
        order = random.permutation(len(chosen))
        dealt += [[chosen[i] for i in order[start : start + BATCH]] for start in range(0, len(order), BATCH)]
    return [dealt[i] for i in random.permutation(len(dealt))]


def best_threshold(tiles: Iterable[Tile], predict: Callable[[Tile], np.ndarray]) -> tuple[float, float]:
    """The threshold with the highest IoU over all pixels of some pictures, and that IoU."""
    histogram = Histogram.empty()
    for tile in tiles:
        known = tile.mask != UNKNOWN
        histogram.add(predict(tile)[None, known], tile.mask[known])
    best = histogram.best()
    return best.threshold, best.iou


def train_unet(name: str, data: Data, folder: Path, minutes: float) -> None:
    """Train whole epochs for about `minutes` of CPU time, including what a checkpoint has had already."""
    way, path = WAYS[name], folder / f"{name}.pt"
    torch.manual_seed(1)
    network = PlainUNet(way.outputs, way.dropout).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    state: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "iou": -1.0}
    if path.exists():
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    patches = list(patches_of(data.train))
    click.echo(f"{name}: {len(patches)} patches")
    while state["seconds"] + state["seconds"] / max(2 * state["epoch"], 1) < minutes * 60:
        started = time.process_time()
        loss = _epoch(network, optimizer, way, batches(patches, way.by_zoom, np.random.default_rng(state["epoch"])))
        threshold, iou = best_threshold(data.validation, lambda tile: predicted(network, way, tile.pixels))
        if iou > state["iou"]:
            best = {key: value.clone() for key, value in network.state_dict().items()}
            state |= {"best": best, "best_epoch": state["epoch"] + 1, "iou": iou, "threshold": threshold}
        state |= {
            "epoch": state["epoch"] + 1, "seconds": state["seconds"] + time.process_time() - started,
            "network": network.state_dict(), "optimizer": optimizer.state_dict(),
        }  # fmt: skip
        _keep(path, state)
        click.echo(
            f"{name}: epoch {state['epoch']}, {state['seconds'] / 60:.1f} min, loss {loss:.4f}, "
            f"validation IoU {iou:.3f} at {threshold:.2f}"
        )


def _epoch(network: PlainUNet, optimizer: torch.optim.Adam, way: Way, dealt: Sequence[Sequence[Patch]]) -> float:
    """Train on each batch once; returns the mean loss."""
    network.train()
    total = 0.0
    for batch in dealt:
        mask = torch.from_numpy(np.stack([patch.mask for patch in batch]))
        logits = _logits(network, way, torch.from_numpy(np.stack([patch.pixels for patch in batch])))
        truth, known = (mask == 1).float(), (mask != UNKNOWN).float()
        loss = way.loss(way.probability(logits), truth, known)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(dealt)


def _keep(path: Path, state: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)


def train_forest(data: Data, folder: Path) -> None:
    """Train on equally many pixels of objects and background, spread evenly over all pictures' known pixels."""
    started = time.process_time()
    random = np.random.default_rng(1)
    known = [resampled_mask(tile.mask, tile.gsd_m, data.gsd_m) for tile in data.train]
    share = [SAMPLES / 2 / sum((mask == value).sum() for mask in known) for value in (0, 1)]
    rows, values = [], []
    for tile, mask in zip(data.train, known):
        chance = np.select([mask == 0, mask == 1], share, 0.0)
        chosen = random.random(mask.shape) < chance
        rows.append(features(resampled(tile.pixels, tile.gsd_m, data.gsd_m))[:, chosen].T)
        values.append(mask[chosen])
    forest = RandomForestClassifier(TREES, min_samples_leaf=20, n_jobs=1, random_state=1)
    forest.fit(np.concatenate(rows), np.concatenate(values))
    trained = ForestBaseline(FOREST, forest, data.gsd_m, 0.5)
    threshold, iou = best_threshold(data.validation, lambda tile: trained(tile.pixels, tile.gsd_m))
    joblib.dump({"forest": forest, "gsd_m": data.gsd_m, "threshold": threshold, "iou": iou}, folder / "forest.joblib")
    minutes = (time.process_time() - started) / 60
    click.echo(f"{FOREST}: {minutes:.1f} min, validation IoU {iou:.3f} at {threshold:.2f}")


def load(name: str, folder: Path) -> Baseline:
    """A trained baseline."""
    if name == FOREST:
        kept = joblib.load(folder / "forest.joblib")
        return ForestBaseline(name, kept["forest"], kept["gsd_m"], kept["threshold"])
    state = torch.load(folder / f"{name}.pt", weights_only=True)
    network = PlainUNet(WAYS[name].outputs, 0.0).to(memory_format=torch.channels_last)
    network.load_state_dict(state["best"])
    return UNetBaseline(name, WAYS[name], network, state["threshold"])


@click.command()
@click.argument("what", type=click.Choice(["buildings", "farmland"]))
@click.option("--data", type=click.Path(path_type=Path, exists=True, resolve_path=True), required=True,
              help="The project's data folder.")  # fmt: skip
@click.option("--recipe", "recipe_path", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Another recipe than that of the embedded model.")  # fmt: skip
@click.option("--minutes", default=12.0, show_default=True, help="Of computing for each network.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Train this one; may be repeated.")
def main(what: str, data: Path, recipe_path: Path | None, minutes: float, only: tuple[str, ...]) -> None:
    """Train the baselines, or train them further."""
    torch.set_num_threads(1)
    folder = CACHE / what
    folder.mkdir(parents=True, exist_ok=True)
    material = read(recipe_path or ROOT / "resources" / "recipes" / f"{what}.toml", data)
    for name in only or NAMES:
        if name in WAYS:
            train_unet(name, material, folder, minutes)
        elif not (folder / "forest.joblib").exists():
            train_forest(material, folder)


if __name__ == "__main__":
    main()
