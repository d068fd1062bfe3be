"""Files with PyTorch state dicts, read without running what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from ..shortage import out_of_memory

INSIDE = ("state_dict", "model_state_dict", "model")
"""Entries of checkpoints that hold the state dict; Lightning's and torchgeo's have the first."""
CODE = ("GLOBAL", "Unsupported class", "unsupported class")
"""In PyTorch's message where a pickle names something to be called; other messages are of damaged files."""
PREFIXES = ("model.", "module.")
"""Of the names in checkpoints: the network is a part of Lightning's module, or of what trains on several devices."""


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch file that holds nothing but values, by name.

    A name has no prefix that a training framework has put before it; tensors without it belong to the framework.

    Raises:
        OrthomaskError: the file is missing, damaged, could run code, or has no tensors.
    """
    if not path.is_file():
        sentence = tr("There is no file “{}”.").format(path)
        raise OrthomaskError(ErrorCode.BUNDLE_UNREADABLE, sentence, tr("Choose a file with a model's weights."))
    content = _content(path)
    while found := [content[name] for name in INSIDE if isinstance(content.get(name), Mapping)]:
        content = found[0]
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    while prefix := next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if not tensors:
        raise _unreadable(path, "no tensors")
    return tensors


def _content(path: Path) -> Mapping[Any, Any]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind, if the file is damaged
        if out_of_memory(error):
            raise
        if not any(word in str(error) for word in CODE):
            raise _unreadable(path, str(error)) from error
        raise OrthomaskError(
            ErrorCode.BUNDLE_UNSAFE,
            tr("“{}” holds more than weights, and opening that could run code.").format(path.name),
            tr("Ask its author for the state dict alone, as a safetensors file or from torch.save."),
            str(error),
        ) from error
    return content if isinstance(content, Mapping) else {}


def _unreadable(path: Path, details: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BUNDLE_UNREADABLE,
        tr("“{}” holds no weights that can be read.").format(path.name),
        tr("Copy or download the file again, or ask its author for a safetensors file."),
        details,
    )


def refuse_different(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: str, network: str) -> None:
    """Raise unless tensors have the names and shapes of a network's; the sentence names the first that differs.

    Args:
        file: name of their file.
        network: what it was said to be.
    """
    for name, tensor in wanted.items():
        if name not in given:
            found = tr("it has no tensor “{}”").format(name)
        elif given[name].shape != tensor.shape:
            sizes = (" × ".join(map(str, shape)) or "1" for shape in (given[name].shape, tensor.shape))
            found = tr("its tensor “{}” has the size {} instead of {}").format(name, *sizes)
        else:
            continue
        raise not_of(file, network, found)
    if more := [name for name in given if name not in wanted]:
        raise not_of(file, network, tr("it has a tensor “{}”").format(more[0]))


def not_of(file: str, network: str, found: str) -> OrthomaskError:
    """The error for weights of another network than was said."""
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("“{}” does not hold the weights of {}: {}.").format(file, network, found),
        tr("Name the architecture and the encoder that its author used."),
    )
