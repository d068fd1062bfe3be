"""Encoders of timm as operations: they compute and learn what timm's own do, and what cannot be one is refused."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from foreign import timm, unsettled

from orthomask.engine.compute.devices import choose, prepare
from orthomask.engine.interop import onnx_out, timm_encoders
from orthomask.engine.models import bundle
from orthomask.engine.models.operations import Foreign
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, ExportModelRequest, Finish, Network, OrthomaskError

ENCODERS = ("resnet10t", "convnext_atto")
"""With pooling, and with norms over channels from 1/4 on; other operations: `test_traced.py`."""


@functools.cache
def made(name: str, bands: int = 4) -> tuple[torch.nn.Module, Foreign, dict[str, torch.Tensor]]:
    """timm's own encoder, the same as operations, and its tensors."""
    theirs = unsettled(timm_encoders._module(f"timm/{name}", bands))
    return theirs, *timm_encoders._traced(theirs, f"timm/{name}", bands)


def unet(name: str, **shape: object) -> UNet:
    _, foreign, tensors = made(name)
    widths = (16, 24, 32, 40, 48)[: len(foreign.widths)]
    network = UNet(UNetArguments(4, 2, widths, encoder=f"timm/{name}", foreign=foreign, **shape))
    network.encoder.load_state_dict(tensors, strict=False)
    return network


@pytest.fixture(scope="module")
def four(make_bundle: Callable[..., Path]) -> bundle.Card:
    return bundle.load(str(make_bundle(bands=4))).card


def by_hand(network: UNet, features: list[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """The logits of timm's features and our decoder."""
    levels = [network.stem(image), *features[:-1], network.encoder[-1][1](features[-1])]
    x = levels.pop()
    for up in network.decoder:
        x = up(x, levels.pop())
    return network.head(x)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_network_is_timms_encoder_with_our_decoder(name: str, four: bundle.Card, tmp_path: Path) -> None:
    """Also in a bundle, where batch normalisations are folded, and in ONNX."""
    network, image = unet(name).eval(), torch.randn(2, 4, 96, 160)
    with torch.inference_mode():
        logits = by_hand(network, made(name)[0](image), image)
        torch.testing.assert_close(network(image), logits, atol=1e-5, rtol=1e-5)
    path = tmp_path / "m.safetensors"
    bundle.save(path, network, replace(four, architecture=network.arguments))
    with torch.inference_mode():
        wanted = bundle.load(str(path)).model()(image).softmax(dim=1)[:, 1:]
    found = prepare(bundle.load(str(path)), choose("cpu"), "fp32")(image)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    exported = onnx_out.run(ExportModelRequest(str(path), str(path.with_suffix(".onnx")), 64), Progress())
    assert exported.difference < 1e-4


def test_it_learns_as_timms_own_does() -> None:
    """With the statistics of the batch, which it remembers, and the same gradients."""
    network, image = unet("resnet10t").train(), torch.randn(2, 4, 64, 96)
    theirs = copy.deepcopy(made("resnet10t")[0]).train()
    ours = [image]
    for stage in (*network.encoder[:-1], network.encoder[-1][0]):
        ours.append(stage(ours[-1]))
    results = (ours[-1], theirs(image)[-1])
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)
    filters, means = [], []
    for result, encoder in zip(results, (network.encoder, theirs)):
        result.square().mean().backward()
        filters.append(next(each for each in encoder.modules() if isinstance(each, torch.nn.Conv2d)).weight.grad)
        means.append(next(each for each in encoder.modules() if isinstance(each, torch.nn.BatchNorm2d)).running_mean)
    torch.testing.assert_close(*filters, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(*means)


@pytest.mark.parametrize("finish", [Finish.LIGHT, Finish.HALF])
def test_an_encoder_that_begins_at_a_quarter_has_any_finish(finish: Finish, four: bundle.Card, tmp_path: Path) -> None:
    network = unet("convnext_atto", finish=finish).eval()
    assert network.arguments.divisor == 32
    assert network(torch.zeros(1, 4, 64, 96)).shape == (1, 2, 64, 96)
    path = tmp_path / "quarter.safetensors"
    bundle.save(path, network, replace(four, architecture=network.arguments))
    exported = onnx_out.run(ExportModelRequest(str(path), str(path.with_suffix(".onnx")), 64), Progress())
    assert exported.difference < 1e-4


def refusal(encoder: str, bands: int = 3, source: str = "") -> OrthomaskError:
    with pytest.raises(OrthomaskError) as caught:
        timm_encoders.weights(encoder, bands, source)
    assert caught.value.sentence.endswith(".")
    assert caught.value.remedy.endswith(".")
    return caught.value


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("timm/resnet1000", "does not know the encoder “resnet1000”"),
        ("timm/vit_tiny_patch16_224", "“timm/vit_tiny_patch16_224” cannot be used: its levels are at 1/16, 1/16, 1/16"),
        ("timm/convnextv2_atto", "does not know all of its operations"),
    ],
)
def test_encoders_that_are_not_of_its_kind_are_refused(encoder: str, said: str) -> None:
    assert said in refusal(encoder).sentence


def test_without_timm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    error = refusal("timm/resnet14t")
    assert error.code is ErrorCode.ENGINE_PART
    assert "pip install timm" in error.remedy


@pytest.mark.parametrize(("encoder", "weights"), [("resnet18", ""), ("timm/resnet18", "x"), ("residual", "cache")])
def test_names_and_weights_are_checked_before_anything_is_read(encoder: str, weights: str) -> None:
    if encoder == "timm/resnet18":
        assert "no file “x”" in refusal(encoder, source=weights).sentence
        return
    with pytest.raises(OrthomaskError):
        Network(encoder=encoder, weights=weights)


def test_weights_are_taken_from_a_file_and_adapted_to_the_bands(tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = unsettled(timm.create_model("resnet10t")).state_dict()  # with the classifier
    torch.save({"state_dict": published}, tmp_path / "w.pth")
    image = torch.randn(1, 4, 64, 64)
    wanted = timm.create_model(
        "resnet10t", features_only=True, in_chans=4, pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "w.pth")},
    ).eval()(image)  # fmt: skip
    network = unet("resnet10t").eval()
    tensors = timm_encoders.weights("timm/resnet10t", 4, str(tmp_path / "w.pth"))
    network.encoder.load_state_dict(tensors, strict=False)
    torch.testing.assert_close(network.encoder[0](image), wanted[0], atol=1e-5, rtol=1e-5)


def test_weights_for_just_these_bands_are_taken_as_they_are(tmp_path: Path) -> None:
    eight = timm.create_model("resnet10t", in_chans=8).state_dict()
    safetensors.torch.save_file(eight, tmp_path / "8.safetensors")
    kept = timm_encoders._read("timm/resnet10t", 8, str(tmp_path / "8.safetensors"))
    assert torch.equal(kept["conv1.0.weight"], eight["conv1.0.weight"])


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file(timm.create_model("regnety_002").state_dict(), tmp_path / "w.safetensors")
    said = refusal("timm/resnet10t", source=str(tmp_path / "w.safetensors")).sentence
    assert said == ("“w.safetensors” does not hold the weights of timm/resnet10t: it has no tensor “conv1.0.weight”.")


def test_weights_that_timm_has_stored_are_found_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert "has not stored the weights of “resnet10t”" in refusal(
        "timm/resnet10t", source="cache"
    ).sentence  # fmt: skip
    model = tmp_path / f"models--{timm.get_pretrained_cfg('resnet10t').hf_hub_id.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("1" * 40)
    snapshot = model / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    published = timm.create_model("resnet10t").state_dict()
    safetensors.torch.save_file(published, snapshot / "model.safetensors")
    found = timm_encoders._read("timm/resnet10t", 3, "cache")
    assert torch.equal(found["conv1.0.weight"], published["conv1.0.weight"])
