"""Models as ONNX files: what Deepness makes of them is what the engine makes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from interop.onnx_models import DeepnessReader

from conftest import scene
from orthomask.cli import commands
from orthomask.engine.interop import onnx_out
from orthomask.engine.models import bundle, ensemble
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import Encoder, EnsembleRequest, ErrorCode, ExportModelRequest, Finish, OrthomaskError


def exported(path: Path, side_px: int = 64) -> Path:
    out = path.with_suffix(".onnx")
    onnx_out.run(ExportModelRequest(str(path), str(out), side_px), Progress())
    return out


def another(path: Path, copy: str, arguments: UNetArguments, **changes: object) -> Path:
    card = dataclasses.replace(bundle.load(str(path)).card, architecture=arguments, **changes)
    torch.manual_seed(4)
    network = UNet(arguments)
    torch.nn.init.normal_(network.head.weight, std=2.0)
    bundle.save(path.with_name(f"{copy}.safetensors"), network, card)
    return path.with_name(f"{copy}.safetensors")


NETWORKS = {
    "attention": UNetArguments(3, 3, widths=(8, 12, 16), blocks=1, detail=8, attention=True, separable=True),
    "light": UNetArguments(3, 3, widths=(8, 8), blocks=2, detail=8, finish=Finish.LIGHT, merges=1),
    "half": UNetArguments(3, 3, widths=(8, 8), blocks=1, detail=8, finish=Finish.HALF),
    "second": UNetArguments(3, 3, widths=(8, 12, 16), blocks=1, detail=8, second_bands=1, second_scale=2),
    "lite": UNetArguments(3, 3, (8, 8, 8, 8, 8), detail=8, encoder=Encoder.EFFICIENTNET_LITE0),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_deepness_computes_what_the_engine_computes(kind: str, make_bundle: Callable[..., Path]) -> None:
    path = another(make_bundle(classes=2), kind, NETWORKS[kind])
    compare(path, 3)


def test_one_class_is_one_channel(tiny: Path, make_bundle: Callable[..., Path]) -> None:
    reader = compare(tiny, 1)
    assert reader.names == ["background", "class 1"]


def test_an_ensemble_of_differently_normalised_members_is_one_file(make_bundle: Callable[..., Path]) -> None:
    first = make_bundle(classes=2)
    bands = tuple(dataclasses.replace(band, mean=80.0, std=40.0) for band in bundle.load(str(first)).card.bands)
    second = another(first, "second", NETWORKS["attention"], bands=bands)
    both = first.with_name("both.safetensors")
    ensemble.run(EnsembleRequest((str(first), str(second)), str(both)), Progress())
    compare(both, 3)


def compare(path: Path, channels: int) -> DeepnessReader:
    """Deepness reads the exported file, and finds the engine's probabilities in an image."""
    opened = bundle.load(str(path))
    out = exported(path)
    model = onnx.load(out)
    assert (model.ir_version, model.opset_import[0].version) == (8, 13)
    assert {entry.key for entry in model.metadata_props} >= {"tile_size", "tiles_size"}
    reader = DeepnessReader(out)
    assert (reader.tile_size, reader.resolution_cm, reader.threshold) == (64, 30, opened.card.threshold)
    pixels = scene(64, 64)
    with torch.inference_mode():
        image = torch.from_numpy(opened.normalise(pixels, np.ones((64, 64), bool)))[None]
        wanted = opened.model()(image).softmax(dim=1).numpy()
    found = reader.probabilities(pixels.transpose(1, 2, 0)[None])
    assert found.shape == (1, channels, 64, 64)
    np.testing.assert_allclose(found, wanted[:, -channels:], atol=1e-4)
    return reader


def test_the_command_says_how_far_the_file_is_from_the_model(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.onnx"
    words = ["models", "export", str(tiny), "--onnx", str(out), "--size", "64", "--json"]
    result = CliRunner().invoke(commands, words, catch_exceptions=False)
    assert json.loads(result.stdout)["difference"] < 1e-4
    again = CliRunner().invoke(commands, words)
    assert again.exit_code == 3
    assert "already exists" in again.stderr
    assert CliRunner().invoke(commands, [*words, "--overwrite"]).exit_code == 0


@pytest.mark.parametrize(
    ("name", "side_px", "words"),
    [("a.onnx", 66, "do not fit the network"), ("a.pt", 64, "not the name of an ONNX file"), ("a.onnx", 8, "8 px")],
)
def test_what_cannot_be_exported_is_refused(tiny: Path, tmp_path: Path, name: str, side_px: int, words: str) -> None:
    with pytest.raises(OrthomaskError, match=words) as caught:
        onnx_out.run(ExportModelRequest(str(tiny), str(tmp_path / name), side_px), Progress())
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert not list(tmp_path.iterdir())
