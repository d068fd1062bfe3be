"""A model in one `.safetensors` file: weights, and in its metadata everything needed to run them again.

Opening a bundle runs no code: safetensors holds numbers and text, nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ...protocol import (
    ClassInfo,
    Encoder,
    ErrorCode,
    ModelsRequest,
    ModelsResult,
    ModelSummary,
    OrthomaskError,
    from_json,
    to_json,
)
from ...protocol.words import mark, tr
from ..files import is_meant
from ..progress import Progress
from ..shortage import out_of_memory
from . import efficientnet
from .stages import drawings
from .unet import Ensemble, UNet, UNetArguments

FIRST, FORMAT = 1, 2
"""Versions of the metadata: the first one, and the highest that is read; a bundle with a higher one is refused."""
LATER = {
    field.name: field.default for field in fields(UNetArguments) if field.name in ("merges", "separable", "finish")
}
"""Arguments of a network that only version 2 can name, and their values in version 1."""
KEY = "orthomask"
SEAL, UNSEALED = "orthomask_seal", "0" * 64
"""Metadata that holds the SHA-256 of the whole file, computed with zeros in its place."""
MOST_LEVELS, MOST_WIDTH, MOST_BLOCKS = 10, 8192, 64
"""Of a network: building one from a damaged description must terminate."""
MODELS_DIR = Path(__file__).resolve().parents[2] / "resources" / "models"
EMBEDDED_TITLES = (mark("Buildings, aerial, 0.3 m"), mark("Farmland, aerial, 2 m"))
"""Titles in the embedded bundles, shown in the user's language."""
MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"


@dataclass(frozen=True)
class BandStatistics:
    """A band of the training images: its name and the distribution of its values, in the image's own units."""

    name: str
    mean: float
    std: float
    percentile_2: float
    percentile_98: float


@dataclass(frozen=True)
class Card:
    """Everything known about a model besides its weights.

    Attributes:
        name: short name, the file's stem for embedded models.
        architecture: of the network; of an ensemble, of its first member.
        bands: the bands it reads, in order, with the statistics that normalise them.
        dtype: numpy name of the pixel type it was trained on.
        gsd_m: ground sampling distance, metres per pixel.
        classes: foreground classes; background is 0.
        threshold: default probability from which a pixel belongs to a class.
        training: summary of the training set, free JSON.
        accuracy: measured scores by name of the data set.
        members: architecture of each member of an ensemble; empty for a single network.
        statistics: the bands that each member was trained on, if they are not the same for all; else empty.
    """

    name: str
    title: str
    architecture: UNetArguments
    bands: tuple[BandStatistics, ...]
    dtype: str
    gsd_m: float
    classes: tuple[ClassInfo, ...]
    threshold: float
    licence: str
    attribution: str
    training: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    members: tuple[UNetArguments, ...] = ()
    statistics: tuple[tuple[BandStatistics, ...], ...] = ()
    format: int = FIRST


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle. `sha256` is the hash of the file."""

    path: Path
    sha256: str
    card: Card

    def model(self) -> UNet | Ensemble:
        """The network with its weights, in fp32, on the CPU, in evaluation mode."""
        card = self.card
        network = Ensemble(card.members, *_changes(card)) if card.members else UNet(card.architecture)
        try:
            weights = safetensors.torch.load_file(self.path)
            network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            if out_of_memory(error):
                raise
            raise _unreadable(self.path, tr("its weights do not match its description"), error) from error
        return network.eval()

    def normalise(self, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Pixels `(bands, H, W)` of any type as float32 in standard deviations from the mean; 0 where not valid.

        Training and prediction both call this, so both see the same values.
        """
        return normalise(pixels, valid, self.card.bands)

    def summary(self) -> ModelSummary:
        """What a user chooses a model by."""
        card = self.card
        return ModelSummary(
            name=card.name,
            title=tr(card.title) if self.path.parent == MODELS_DIR else card.title,
            path=str(self.path),
            sha256=self.sha256,
            gsd_m=card.gsd_m,
            bands=tuple(band.name for band in card.bands),
            classes=card.classes,
            threshold=card.threshold,
            licence=card.licence,
            attribution=card.attribution,
            card=to_json(card),
            networks=drawings(card.members or (card.architecture,)),
        )


def _changes(card: Card) -> tuple[Tensor, Tensor] | tuple[()]:
    """What an image normalised by the card's bands is multiplied with, and what is added, for each member."""
    if not card.statistics:
        return ()
    mean, std = (np.array([getattr(band, name) for band in card.bands]) for name in ("mean", "std"))
    means, stds = (
        np.array([[getattr(band, name) for band in bands] for bands in card.statistics]) for name in ("mean", "std")
    )
    return torch.tensor(std / stds, dtype=torch.float32), torch.tensor((mean - means) / stds, dtype=torch.float32)


def normalise(pixels: np.ndarray, valid: np.ndarray, bands: Sequence[BandStatistics]) -> np.ndarray:
    """Pixels `(bands, H, W)` of any type as float32 in standard deviations from the mean; 0 where not `valid`.

    Args:
        valid: `(H, W)`.
    """
    mean = np.array([band.mean for band in bands], np.float32)[:, None, None]
    scale = np.array([1 / band.std for band in bands], np.float32)[:, None, None]
    normalised = pixels.astype(np.float32)
    normalised -= mean
    normalised *= scale
    if not valid.all():
        normalised[:, ~valid] = 0
    return normalised


def save(path: Path, network: UNet | Ensemble, card: Card) -> None:
    """Write a bundle with fp16 weights, atomically."""
    weights = {
        name: tensor.detach().cpu().half().contiguous() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in network.state_dict().items()
    }
    write(path, weights, card)


def write(path: Path, weights: dict[str, Tensor], card: Card) -> None:
    """Write a bundle with unchanged weights, atomically."""
    from ..outputs import write_atomically  # reading one needs no rasterio (benchmarks/gpu.py)

    metadata = {KEY: json.dumps(_described(card)), "stac_mlm": json.dumps(mlm(card))}
    content = safetensors.torch.save(weights, {**metadata, SEAL: UNSEALED})
    write_atomically(path, _resealed(content, UNSEALED, hashlib.sha256(content).hexdigest()))


def _described(card: Card) -> dict[str, Any]:
    """A card in the lowest version of the metadata that can hold it: older versions refuse what they do not know."""
    data = to_json(card)
    for name in ("members", "statistics"):
        if not data[name]:
            del data[name]
    networks = [data["architecture"], *data.get("members", [])]
    later = any(network[name] != value for network in networks for name, value in LATER.items())
    for network in networks if not later else ():
        for name in LATER:
            del network[name]
    return {**data, "format": FORMAT if later else FIRST}


def _resealed(content: bytes, old: str, new: str) -> bytes:
    return content.replace(f'"{SEAL}":"{old}"'.encode(), f'"{SEAL}":"{new}"'.encode(), 1)


def load(model: str) -> Bundle:
    """Open an embedded model by name, or a bundle by path.

    Raises:
        OrthomaskError: there is none, it is damaged, a pickle, of another format, or from a newer version.
    """
    path = MODELS_DIR / f"{model}.safetensors"
    if not os.path.isfile(path):  # also False if it cannot be a path
        path = Path(model)
    if not os.path.isfile(path):
        names = ", ".join(found.stem for found in _bundles(MODELS_DIR))
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNREADABLE,
            tr("There is no model “{}”.").format(model),
            tr("Choose one of {}, or the path of a .safetensors file.").format(names),
        )
    status = path.stat()
    return _load(path, (status.st_mtime_ns, status.st_size))


def run(request: ModelsRequest, progress: Progress) -> ModelsResult:
    """List the embedded models and those in folders, or describe one model."""
    progress.report(0)
    if request.model:
        return ModelsResult((load(request.model).summary(),))
    embedded = [load(path.stem).summary() for path in _bundles(MODELS_DIR)]
    own = [summary for folder in request.folders for summary in _readable(Path(folder))]
    return ModelsResult((*embedded, *own))


def _bundles(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.safetensors")) if is_meant(path)]


def _readable(folder: Path) -> Iterator[ModelSummary]:
    """The bundles of a folder, without damaged files and files that are not bundles."""
    for path in _bundles(folder):
        with contextlib.suppress(OrthomaskError, OSError):
            yield load(str(path)).summary()


@functools.lru_cache(maxsize=8)
def _load(path: Path, _changed: tuple[int, int]) -> Bundle:
    content = path.read_bytes()
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        if content[:4] == b"PK\x03\x04" or (content[:1] == b"\x80" and content[8:9] not in (b"", b"{")):
            raise OrthomaskError(
                ErrorCode.BUNDLE_UNSAFE,
                tr("“{}” is a pickled PyTorch file, which can run code when it is opened.").format(path.name),
                tr("Ask its author for a .safetensors bundle written by Orthomask."),
            ) from error
        raise _unreadable(path, tr("it is damaged or incomplete"), error) from error
    seal = metadata.get(SEAL, "")
    if seal and hashlib.sha256(_resealed(content, seal, UNSEALED)).hexdigest() != seal:
        raise _unreadable(path, tr("it has changed since it was written"), ValueError("the checksum differs"))
    return Bundle(path, hashlib.sha256(content).hexdigest(), _card(path, metadata))


def _card(path: Path, metadata: dict[str, str]) -> Card:
    try:
        data = json.loads(metadata[KEY])
        version = int(data["format"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, tr("it does not say how to run it"), error) from error
    if version > FORMAT:
        raise OrthomaskError(
            ErrorCode.BUNDLE_NEWER,
            tr("“{}” was made by a newer version of Orthomask.").format(path.name),
            tr("Update the plugin, or choose another model."),
            f"bundle format {version}, this version reads up to {FORMAT}",
        )
    try:
        card = from_json(Card, data)
        _refuse_unsound(card)
    except (OrthomaskError, ValueError, OverflowError) as error:
        raise _unreadable(path, tr("its description is incomplete"), error) from error
    return card


def _refuse_unsound(card: Card) -> None:
    """Raise a `ValueError` for what no training writes: a run would give nonsense, or never end."""
    bands = [*card.bands, *chain.from_iterable(card.statistics)]
    numbers = [card.gsd_m, card.threshold, *(n for band in bands for n in (band.mean, band.std))]
    values = [info.value for info in card.classes]
    sound = {
        "numbers": all(map(math.isfinite, numbers)),
        "resolution": 1e-3 <= card.gsd_m <= 1e5,
        "threshold": 0 < card.threshold < 1,
        "bands": bool(card.bands) and all(1e-30 < band.std < 1e30 for band in bands),
        "statistics": [len(each) for each in card.statistics] in ([], [len(card.bands)] * len(card.members)),
        "classes": values == list(range(1, len(values) + 1)) and len(values) < 255,  # a model to start from needs none
        "colours": all(re.fullmatch("#[0-9a-fA-F]{6}", info.color) for info in card.classes),
        "networks": all(_is_sound(card, network) for network in (card.architecture, *card.members)),
    }
    if wrong := [name for name, holds in sound.items() if not holds]:
        raise ValueError(", ".join(wrong))


def _is_sound(card: Card, network: UNetArguments) -> bool:
    widths = (network.detail, *network.widths)
    fits = network.bands == len(card.bands) and network.classes == len(card.classes) + 1
    levels = network.encoder is Encoder.RESIDUAL or len(network.widths) == len(efficientnet.WIDTHS)
    return (
        fits
        and levels
        and 1 < len(widths) <= MOST_LEVELS
        and all(0 < width <= MOST_WIDTH for width in widths)
        and (0 < network.blocks <= MOST_BLOCKS)
        and (0 < network.merges <= MOST_BLOCKS)
    )


def _unreadable(path: Path, why: str, error: Exception) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BUNDLE_UNREADABLE,
        tr("“{}” cannot be used as a model: {}.").format(path.name, why),
        tr("Copy or download the file again, or choose another model."),
        str(error),
    )


def mlm(card: Card) -> dict[str, Any]:
    """The model as STAC Machine Learning Model properties (MLM 1.5.2)."""
    bands = [band.name for band in card.bands]
    classes = [ClassInfo(0, "background", "#000000"), *card.classes]
    networks = card.members or (card.architecture,)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for network in map(UNet, networks) for parameter in network.parameters())
    return {
        "stac_extensions": [MLM_SCHEMA],
        "mlm:name": card.name,
        "mlm:architecture": "Ensemble of U-Nets" if card.members else "U-Net",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "pytorch",
        "mlm:framework_version": torch.__version__.split("+")[0],
        "mlm:total_parameters": parameters,
        "mlm:pretrained": bool(card.training),
        "mlm:hyperparameters": {
            "members": [asdict(member) for member in card.members],
            "statistics": [[asdict(band) for band in bands] for bands in card.statistics],
        }
        if card.members
        else asdict(card.architecture),
        "mlm:input": [
            {
                "name": "image",
                "bands": bands,
                "input": {
                    "shape": [-1, len(bands), -1, -1],
                    "dim_order": ["batch", "bands", "height", "width"],
                    "data_type": "float32",
                },
                "value_scaling": [{"type": "z-score", "mean": band.mean, "stddev": band.std} for band in card.bands],
                "resize_type": None,
                "pre_processing_function": None,
            }
        ],
        "mlm:output": [
            {
                "name": "logits",
                "tasks": ["semantic-segmentation"],
                "result": {
                    "shape": [-1, len(classes), -1, -1],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": [
                    {"value": c.value, "name": c.name, "color_hint": c.color.lstrip("#")} for c in classes
                ],
                "post_processing_function": None,
            }
        ],
    }
