"""Weights of U-Nets of segmentation_models_pytorch as models: they compute the same, or a sentence says why not."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from foreign import smp, unsettled

from orthomask.cli import commands
from orthomask.engine import check
from orthomask.engine.compute import devices
from orthomask.engine.interop import imports
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    CheckRequest,
    ErrorCode,
    Image,
    ImportModelRequest,
    Level,
    OrthomaskError,
)

GIVEN = {"architecture": "unet", "encoder": "resnet18", "gsd_m": 0.3, "classes": ("roof",)}


SMALL = {"encoder_depth": 3, "decoder_channels": (48, 32, 16)}


@functools.cache
def unet(encoder: str = "resnet18", bands: int = 3, classes: int = 1, **shape: Any) -> torch.nn.Module:
    torch.manual_seed(classes)
    return unsettled(smp.Unet(encoder, encoder_weights=None, in_channels=bands, classes=classes, **shape))


def saved(path: Path, network: torch.nn.Module) -> Path:
    """As Lightning's checkpoints hold it, with tensors of a loss."""
    names = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": {**names, "criterion.weight": torch.ones(2)}, "epoch": 3}, path)
    return path


def imported(path: Path, **given: Any) -> bundle.Bundle:
    out = path.with_name("imported.safetensors")
    imports.run(ImportModelRequest(str(path), str(out), **{**GIVEN, **given}), Progress())
    return bundle.load(str(out))


def refusal(path: Path, **given: Any) -> OrthomaskError:
    with pytest.raises(OrthomaskError) as caught:
        imported(path, **given)
    assert not path.with_name("imported.safetensors").exists()
    assert caught.value.sentence.endswith(".")
    assert caught.value.remedy.endswith(".")
    return caught.value


VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...], int]] = {
    "classes without background": ({"classes": 2, "bands": 5}, ("field", "wood"), 1),
    "fewer levels, with gates": (
        {"classes": 3, **SMALL, "decoder_attention_type": "scse"}, ("background", "a", "b"), 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", VARIANTS)
def test_its_logits_are_the_librarys_own(kind: str, tmp_path: Path) -> None:
    shape, classes, first = VARIANTS[kind]
    network = unet(**shape)
    path = saved(tmp_path / "w.ckpt", network)
    opened = imported(path, classes=classes)
    image = torch.randn(2, len(opened.card.bands), 96, 64)
    with torch.inference_mode():
        found, wanted = opened.model()(image), network(image)
    torch.testing.assert_close(found[:, first:], wanted, atol=1e-5, rtol=1e-5)
    probabilities = found.softmax(dim=1)[:, first:]
    torch.testing.assert_close(probabilities, wanted.softmax(dim=1), atol=1e-6, rtol=0)
    assert [info.name for info in opened.card.classes] == [name for name in classes if name != "background"]


def test_a_run_with_it_needs_no_library(tmp_path: Path, make_raster: Callable[..., Path]) -> None:
    """In another process, where it cannot be imported. One channel is the logit of one class."""
    network, image = unet(**SMALL), make_raster((96, 128))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "w.safetensors")
    words = f"models import {tmp_path}/w.safetensors --out {tmp_path}/m.safetensors --gsd 0.3 --classes roof".split()
    words += ["--architecture", "unet", "--encoder", "resnet18", "--mean", "0.4", "--std", "0.2"]
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 0, done.output
    opened = bundle.load(str(tmp_path / "m.safetensors"))
    assert opened.card.training["imported"] == {
        "format": "PyTorch", "file": "w.safetensors", "network": "Unet resnet18",
    }  # fmt: skip
    request = {"image": {"path": str(image)}, "model": str(opened.path), "output_dir": str(tmp_path / "run")}
    code = (
        "import json, sys; from orthomask.engine import predict; from orthomask.engine.progress import Progress\n"
        "from orthomask.protocol import PredictRequest, from_json\n"
        "predict.run(from_json(PredictRequest, json.loads(sys.argv[1])), Progress())\n"
        "sys.exit(any(name in sys.modules for name in ('timm', 'segmentation_models_pytorch', 'torchvision')))"
    )
    asked = json.dumps({**request, "device": "cpu"})
    subprocess.run([sys.executable, "-c", code, asked], check=True, timeout=300)
    assert (tmp_path / "run" / "polygons.gpkg").exists()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 96))
    windows = torch.from_numpy(opened.normalise(pixels, np.ones((64, 96), bool)))[None]
    found = devices.prepare(opened, devices.choose("cpu"), "fp32")(windows)
    with torch.inference_mode():
        wanted = network(torch.from_numpy((pixels / 255 - 0.4) / 0.2).float()[None]).sigmoid()
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    lights = check.run(CheckRequest(Image(str(image)), str(opened.path)), Progress()).lights
    assert next(light.level for light in lights if light.name == "values") is Level.AMBER


def test_weights_of_another_network_are_refused_by_the_first_tensor_that_differs(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", unet(**SMALL))
    assert refusal(path, encoder="resnet34").sentence == (
        "“w.pth” does not hold the weights of Unet resnet34: it has no tensor “encoder.layer1.2.conv1.weight”."
    )
    assert "has no such U-Net with the encoder “resnet19”" in refusal(path, encoder="resnet19").sentence
    other = saved(tmp_path / "fpn.pth", smp.FPN("resnet18", encoder_weights=None))
    assert "it has no tensor “decoder.blocks.0.conv1.0.weight”" in refusal(other).sentence
    weights = unet(**SMALL).state_dict()
    torch.save({**weights, "encoder.layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}, tmp_path / "one.pt")
    assert "“encoder.layer1.0.conv1.weight” has the size 64 × 64 × 1 × 1 instead of 64 × 64 × 3 × 3" in refusal(
        tmp_path / "one.pt"
    ).sentence  # fmt: skip
    torch.save({**weights, "classification_head.3.weight": torch.zeros(1)}, tmp_path / "more.pt")
    assert "it has a tensor “classification_head.3.weight”" in refusal(tmp_path / "more.pt").sentence


def test_what_weights_do_not_say_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", unet(**SMALL))
    assert "does not say its resolution" in refusal(path, gsd_m=None).sentence
    assert refusal(path, classes=("a", "b", "c")).sentence == (
        "“w.pth” has 1 channels in its output, and 3 names of classes."
    )
    assert "reads 3 bands, but 2 names" in refusal(path, bands=("red", "nir")).sentence
    assert "not the network that they belong to" in refusal(path, architecture="", encoder="").sentence
    assert "not an architecture" in refusal(path, architecture="fpn").sentence
    assert "belong together" in refusal(path, encoder="").sentence


def test_a_file_that_could_run_code_is_refused_unopened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
            return Path(tmp_path / "sprung").touch, ()

    torch.save({"state_dict": unet(**SMALL).state_dict(), "hyper_parameters": Trap()}, tmp_path / "trap.ckpt")
    error = refusal(tmp_path / "trap.ckpt")
    assert error.code is ErrorCode.BUNDLE_UNSAFE
    assert "could run code" in error.sentence
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04" + bytes(99), b"\x80\x02]q\x00."])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_damaged_files_are_refused(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name).code is ErrorCode.BUNDLE_UNREADABLE
    assert "There is no file" in refusal(tmp_path / "none.pt").sentence


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    error = refusal(tmp_path / "w.pth")
    assert error.code is ErrorCode.ENGINE_PART
    assert "pip install segmentation-models-pytorch" in error.remedy
