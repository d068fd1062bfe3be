"""A model card as STAC Machine Learning Model properties."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from ...protocol import ClassInfo
from .unet import UNet, UNetArguments

if TYPE_CHECKING:
    from .bundle import Card

MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"


def mlm(card: Card) -> dict[str, Any]:
    """The model as STAC Machine Learning Model properties (MLM 1.5.2)."""
    bands = [band.name for band in card.bands]
    classes = [ClassInfo(0, "background", "#000000"), *card.classes]
    return {
        "stac_extensions": [MLM_SCHEMA],
        "mlm:name": card.name,
        "mlm:architecture": "ONNX graph" if card.graph else "Ensemble of U-Nets" if card.members else "U-Net",
        "mlm:tasks": ["semantic-segmentation"],
        **_framework(card),
        "mlm:pretrained": bool(card.training),
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


def _framework(card: Card) -> dict[str, Any]:
    """What runs the network, its size and what it is built from."""
    if card.graph:
        parameters, hyperparameters = card.graph.parameters, asdict(card.graph)
        return {
            "mlm:framework": "onnx",
            "mlm:total_parameters": parameters,
            "mlm:hyperparameters": hyperparameters,
        }
    networks = card.members or (card.architecture,)
    described = [_hyperparameters(network) for network in networks]
    with torch.device("meta"):
        parameters = sum(parameter.numel() for network in map(UNet, networks) for parameter in network.parameters())
    members = {
        "members": described,
        "statistics": [[asdict(band) for band in bands] for bands in card.statistics],
    }
    return {
        "mlm:framework": "pytorch",
        "mlm:framework_version": torch.__version__.split("+")[0],
        "mlm:total_parameters": parameters,
        "mlm:hyperparameters": members if card.members else described[0],
    }


def _hyperparameters(network: UNetArguments) -> dict[str, Any]:
    """What a network is built from, without what the card alone has; nothing of a second encoder if it has none."""
    left = {"foreign", *(() if network.second_bands else ("second_bands", "second_scale"))}
    return {name: value for name, value in asdict(network).items() if name not in left}
