"""The networks: what goes in and out, whatever the encoder and the decoder."""

import dataclasses
import json

import pytest
import safetensors.torch
import torch
from torch.utils.flop_counter import FlopCounterMode

from orthomask.engine.models import bundle, efficientnet
from orthomask.engine.models.unet import UNet, UNetArguments, fused
from orthomask.protocol import Encoder, ErrorCode, Finish, Network, OrthomaskError

PUBLISHED, HEAD, CLASSIFIER = 4_652_008, 1280 * 320 + 2 * 1280, 1280 * 1000 + 1000
"""Parameters of EfficientNet-Lite0, and of the parts of it that a U-Net has no use for."""


DECODERS = [
    {"merges": 1},
    {"separable": True, "finish": Finish.LIGHT},
    {"separable": True, "finish": Finish.HALF},
    {"merges": 3, "finish": Finish.LIGHT, "attention": True},
]


SECOND = [
    {"second_bands": 1},
    {"second_bands": 2, "second_scale": 4, "finish": Finish.LIGHT, "attention": True},
    {"second_bands": 1, "finish": Finish.HALF},
]


def lite(bands: int = 3, **decoder: object) -> UNet:
    return UNet(UNetArguments(bands, 2, (16, 16, 16, 16, 16), encoder=Encoder.EFFICIENTNET_LITE0, **decoder)).eval()


def residual(**decoder: object) -> UNet:
    return UNet(UNetArguments(3, 2, (16, 24, 32), blocks=1, detail=16, **decoder)).eval()


def multiplications(network: UNet) -> float:
    """Of each pixel."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(torch.zeros(1, 3, 64, 64))
    return counter.get_total_flops() / 2 / 64**2


def described(path) -> dict:
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()[bundle.KEY])


def test_the_encoder_is_efficientnet_lite0():
    stages = efficientnet.stages(3, torch.nn.Identity())
    assert sum(weight.numel() for weight in stages.parameters()) == PUBLISHED - HEAD - CLASSIFIER
    x = torch.zeros(1, 3, 64, 96)
    for level, (stage, width) in enumerate(zip(stages.eval(), efficientnet.WIDTHS), start=1):
        x = stage(x)
        assert x.shape == (1, width, 64 // 2**level, 96 // 2**level)


@pytest.mark.parametrize("bands", [1, 3, 8])
def test_every_pixel_gets_its_logits(bands):
    with torch.inference_mode():
        assert lite(bands)(torch.randn(2, bands, 64, 96)).shape == (2, 2, 64, 96)


def test_norms_are_folded_into_all_convolutions():
    network, image = lite(), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image)
        torch.testing.assert_close(fused(network)(image), before, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_a_bundle_keeps_the_encoder(tiny, tmp_path):
    card = bundle.load(str(tiny)).card
    network = lite()
    path = tmp_path / "lite.safetensors"
    bundle.save(path, network.half().float(), dataclasses.replace(card, architecture=network.arguments))
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(bundle.load(str(path)).model()(image), network(image), rtol=0, atol=0)


def test_its_encoder_has_five_levels():
    with pytest.raises(OrthomaskError, match="five levels"):
        Network(widths=(16, 16), encoder=Encoder.EFFICIENTNET_LITE0)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("build", [lite, residual])
def test_every_decoder_gives_each_pixel_its_logits_and_loses_its_norms(build, decoder):
    torch.manual_seed(0)
    network, image = build(**decoder), torch.randn(2, 3, 64, 96)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    with torch.inference_mode():
        before = network(image)
        assert before.shape == (2, 2, 64, 96)
        torch.testing.assert_close(fused(network)(image), before, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("decoder", [*DECODERS, *SECOND])
@pytest.mark.parametrize("build", [lite, residual])
def test_every_weight_of_every_decoder_learns(build, decoder):
    network = build(**decoder).train()
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_the_light_finish_keeps_an_edge_that_half_the_resolution_cannot_hold():
    """A change of one pixel changes that pixel most; where the logits are interpolated it is spread evenly."""

    def spread(finish):
        torch.manual_seed(0)
        network, image = lite(finish=finish), torch.zeros(1, 3, 64, 64)
        with torch.inference_mode():
            before = network(image)
            image[..., 32, 33] = 5
            change = (network(image) - before).abs().sum(dim=(0, 1))
        return float(change[32, 33] / change.sum())

    assert spread(Finish.LIGHT) > 2 * spread(Finish.HALF)


def test_the_cheap_decoders_need_less_than_half_of_the_multiplications():
    shape = UNetArguments(3, 2, (32, 48, 80, 128, 192), encoder=Encoder.EFFICIENTNET_LITE0)
    whole = multiplications(UNet(shape))
    assert whole == pytest.approx(27_941, abs=1)
    for finish in (Finish.LIGHT, Finish.HALF):
        assert multiplications(UNet(dataclasses.replace(shape, separable=True, finish=finish))) < 0.4 * whole


def test_a_bundle_of_version_one_says_nothing_of_the_decoder(tiny, tmp_path):
    """So that Orthomask 0.5 opens it; a decoder that it does not know is told to be newer, not damaged."""
    card = bundle.load(str(tiny)).card
    path = tmp_path / "plain.safetensors"
    bundle.save(path, residual(), dataclasses.replace(card, architecture=residual().arguments))
    assert described(path)["format"] == 1
    assert set(described(path)["architecture"]) == {
        "bands", "classes", "widths", "blocks", "detail", "attention", "encoder",
    }  # fmt: skip
    assert bundle.load(str(path)).card.architecture == residual().arguments


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_bundle_keeps_the_decoder(tiny, tmp_path, decoder):
    card = bundle.load(str(tiny)).card
    network, path = residual(**decoder).half().float(), tmp_path / "light.safetensors"
    bundle.save(path, network, dataclasses.replace(card, architecture=network.arguments))
    opened, image = bundle.load(str(path)), torch.randn(1, 3, 32, 32)
    assert described(path)["format"] == 2
    assert opened.card.architecture == network.arguments
    with torch.inference_mode():
        torch.testing.assert_close(opened.model()(image), network(image), rtol=0, atol=0)


@pytest.mark.parametrize("build", [lite, residual])
@pytest.mark.parametrize("options", SECOND)
def test_the_last_bands_count_by_their_means_alone(build, options):
    """What changes within a block of `second_scale` pixels, and keeps its mean, is not seen; its mean is."""
    torch.manual_seed(0)
    network, image, scale = build(**options), torch.randn(1, 3, 64, 64), options.get("second_scale", 1)
    swapped, brighter = image.clone(), image.clone()
    swapped[:, -1, :scale, :scale] = image[:, -1, :scale, :scale].flip(0, 1)
    brighter[:, -1, :scale, :scale] += 10
    with torch.inference_mode():
        torch.testing.assert_close(network(swapped), network(image))
        assert (network(brighter) - network(image)).abs().max() > 1e-4


def test_only_a_bundle_with_a_second_encoder_is_of_version_four(tiny, tmp_path):
    card, network = bundle.load(str(tiny)).card, residual(second_bands=1).half().float()
    path, image = tmp_path / "second.safetensors", torch.randn(1, 3, 32, 32)
    bundle.save(path, network, dataclasses.replace(card, architecture=network.arguments))
    opened = bundle.load(str(path))
    assert described(path)["format"] == 4
    assert not set(described(path)["architecture"]) & {"merges", "separable", "finish"}
    assert opened.card.architecture == network.arguments
    with torch.inference_mode():
        torch.testing.assert_close(opened.model()(image), network(image), rtol=0, atol=0)
    for wrong in ({"second_bands": 3}, {"second_bands": -1}, {"second_scale": 3}, {"second_scale": 8}):
        unsound = dataclasses.replace(network.arguments, **wrong)
        with pytest.raises(ValueError, match="networks"):
            bundle.refuse_unsound(dataclasses.replace(card, architecture=unsound))


def test_a_decoder_without_end_is_refused(tiny, tmp_path):
    card = bundle.load(str(tiny)).card
    path = tmp_path / "endless.safetensors"
    endless = dataclasses.replace(card.architecture, merges=10**9)
    weights = safetensors.torch.load_file(tiny)
    metadata = {bundle.KEY: json.dumps(bundle.to_json(dataclasses.replace(card, architecture=endless)))}
    safetensors.torch.save_file(weights, path, metadata=metadata)
    with pytest.raises(OrthomaskError) as caught:
        bundle.load(str(path))
    assert caught.value.code is ErrorCode.BUNDLE_UNREADABLE


def test_a_decoder_has_convolutions():
    with pytest.raises(OrthomaskError, match="shape of the network is not valid"):
        Network(merges=0)
