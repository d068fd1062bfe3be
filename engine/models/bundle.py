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
from dataclasses import dataclass, field, fields
from itertools import chain, product
from pathlib import Path
from typing import Any, Optional

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ...protocol import (
    ClassInfo,
    Encoder,
    ErrorCode,
    Finish,
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
from . import efficientnet, operations
from .graphs import TENSOR, Graph, GraphNetwork
from .mlm import mlm
from .stages import drawings
from .unet import Ensemble, UNet, UNetArguments

FIRST, FORMAT = 1, 4
"""Versions of the metadata: the first one, and the highest that is read; a bundle with a higher one is refused."""
DEFAULTS = {field.name: field.default for field in fields(UNetArguments)}
LATER = {
    2: {name: DEFAULTS[name] for name in ("merges", "separable", "finish")},
    4: {name: DEFAULTS[name] for name in ("second_bands", "second_scale", "foreign")},
}
"""Arguments of a network by the version that can name them first, and their values before; version 3 has graphs."""
KEY = "orthomask"
SEAL, UNSEALED = "orthomask_seal", "0" * 64
"""Metadata that holds the SHA-256 of the whole file, computed with zeros in its place."""
IMPORTED = "imported"
"""Entry of the training summary of a model that came from elsewhere."""
MOST_LEVELS, MOST_WIDTH, MOST_BLOCKS = 10, 8192, 64
"""Of a network: building one from a damaged description must terminate."""
MODELS_DIR = Path(__file__).resolve().parents[2] / "resources" / "models"
EMBEDDED_TITLES = (mark("Buildings, aerial, 0.3 m"), mark("Farmland, aerial, 2 m"))
"""Titles in the embedded bundles, shown in the user's language."""


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
        architecture: of the network; of an ensemble, of its first member; of a graph, only its bands and classes hold.
        bands: the bands it reads, in order, with the statistics that normalise them.
        dtype: numpy name of the pixel type it was trained on.
        gsd_m: ground sampling distance, metres per pixel.
        classes: foreground classes; background is 0.
        threshold: default probability from which a pixel belongs to a class.
        training: summary of the training set, free JSON.
        accuracy: measured scores by name of the data set.
        members: architecture of each member of an ensemble; empty for a single network.
        statistics: the bands that each member was trained on, if they are not the same for all; else empty.
        graph: how an imported ONNX graph is run; None for networks of our own.
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
    graph: Optional[Graph] = None
    format: int = FIRST

    @property
    def is_measured(self) -> bool:
        """Whether the bands' statistics are those of the training images; else they only normalise."""
        return self.graph.is_measured if self.graph else IMPORTED not in self.training


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle. `sha256` is the hash of the file."""

    path: Path
    sha256: str
    card: Card

    def model(self) -> UNet | Ensemble:
        """The network with its weights, in fp32, on the CPU, in evaluation mode.

        Raises:
            OrthomaskError: it is an imported ONNX graph, or damaged.
        """
        card = self.card
        refuse_imported(self)
        network = Ensemble(card.members, *_changes(card)) if card.members else UNet(card.architecture)
        try:
            weights = safetensors.torch.load_file(self.path)
            network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            if out_of_memory(error):
                raise
            raise _unreadable(self.path, tr("its weights do not match its description"), error) from error
        return network.eval()

    def running(self, graph: Graph) -> GraphNetwork:
        """The imported ONNX graph of the card, ready to run.

        Raises:
            OrthomaskError: it is damaged, or ONNX support is not installed.
        """
        try:
            content = safetensors.torch.load_file(self.path)[TENSOR].numpy().tobytes()
        except (OSError, RuntimeError, KeyError, safetensors.SafetensorError) as error:
            raise _unreadable(self.path, tr("it does not hold the graph that it describes"), error) from error
        return GraphNetwork(content, graph, self.card.title)

    def windows_px(self, window_px: int, overlap_px: int) -> tuple[int, int]:
        """Size and overlap of the windows in which it runs best: as wished, but an imported graph has its own size."""
        own = self.card.graph.core_px if self.card.graph else window_px
        return own, min(overlap_px, own // 2)

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
            networks=() if card.graph else drawings(card.members or (card.architecture,)),
        )


def refuse_imported(bundle: Bundle) -> None:
    """Raise if a bundle holds an imported ONNX graph, which only runs."""
    if bundle.card.graph:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("“{}” was imported from ONNX: it runs and can be evaluated, nothing else.").format(bundle.card.title),
            tr("To train, join, export or explain, choose a model made with Orthomask."),
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
    write(path, {name: _halved(tensor.detach().cpu()) for name, tensor in network.state_dict().items()}, card)


def _halved(tensor: Tensor) -> Tensor:
    """A tensor as fp16, unless it holds whole numbers, or some that are too large."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half().contiguous()
    return tensor.contiguous() if (half.isinf() & tensor.isfinite()).any() else half


def write(path: Path, weights: dict[str, Tensor], card: Card) -> None:
    """Write a bundle with unchanged weights, atomically."""
    from ..outputs import write_atomically  # reading one needs no rasterio (benchmarks/gpu.py)

    metadata = {KEY: json.dumps(described(card)), "stac_mlm": json.dumps(mlm(card))}
    content = safetensors.torch.save(weights, {**metadata, SEAL: UNSEALED})
    write_atomically(path, _resealed(content, UNSEALED, hashlib.sha256(content).hexdigest()))


def described(card: Card) -> dict[str, Any]:
    """A card in the lowest version of the metadata that can hold it: older versions refuse what they do not know."""
    data = to_json(card)
    for name in ("members", "statistics", "graph"):
        if not data[name]:
            del data[name]
    networks = [data["architecture"], *data.get("members", [])]
    version = 3 if card.graph else FIRST
    for number, usual in LATER.items():
        if any(network | usual != network for network in networks):
            version = max(version, number)
            continue
        for network, name in product(networks, usual):
            del network[name]
    return {**data, "format": version}


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
        refuse_unsound(card)
    except (OrthomaskError, ValueError, OverflowError) as error:
        raise _unreadable(path, tr("its description is incomplete"), error) from error
    return card


def refuse_unsound(card: Card) -> None:
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
        "graph": not card.graph or (card.graph.is_sound(len(values)) and not card.members),
        "networks": all(_is_sound(card, network) for network in (card.architecture, *card.members)),
    }
    if wrong := [name for name, holds in sound.items() if not holds]:
        raise ValueError(", ".join(wrong))


def _is_sound(card: Card, network: UNetArguments) -> bool:
    widths = (network.detail, *network.widths)
    fits = network.bands == len(card.bands) and network.classes == len(card.classes) + 1
    return (
        fits
        and _is_sound_encoder(network)
        and 1 < len(widths) <= MOST_LEVELS
        and all(0 < width <= MOST_WIDTH for width in widths)
        and (0 < network.blocks <= MOST_BLOCKS)
        and (0 < network.merges <= MOST_BLOCKS)
        and 0 <= network.second_bands < network.bands
        and network.second_scale in [2**level for level in range(len(network.widths))]
    )


def _is_sound_encoder(network: UNetArguments) -> bool:
    own, foreign = network.encoder in (Encoder.RESIDUAL, Encoder.EFFICIENTNET_LITE0), network.foreign
    if not foreign:
        return own and (network.encoder == Encoder.RESIDUAL or len(network.widths) == len(efficientnet.WIDTHS))
    operations.refuse_unsound(foreign, network.first_bands, network.classes)
    fits = len(network.widths) == len(foreign.widths) and (not foreign.decoder or network.finish is Finish.FULL)
    joins = not network.second_bands or (foreign.reduction == 2 and not foreign.decoder)
    return fits and joins and not own


def _unreadable(path: Path, why: str, error: Exception) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BUNDLE_UNREADABLE,
        tr("“{}” cannot be used as a model: {}.").format(path.name, why),
        tr("Copy or download the file again, or choose another model."),
        str(error),
    )
