"""The networks: what goes in and out, whatever the encoder."""

import dataclasses

import pytest
import torch

from orthomask.engine.models import bundle, efficientnet
from orthomask.engine.models.unet import UNet, UNetArguments, fused
from orthomask.protocol import Encoder, Network, OrthomaskError

PUBLISHED, HEAD, CLASSIFIER = 4_652_008, 1280 * 320 + 2 * 1280, 1280 * 1000 + 1000
"""Parameters of EfficientNet-Lite0, and of the parts of it that a U-Net has no use for."""


def lite(bands: int = 3) -> UNet:
    return UNet(UNetArguments(bands, 2, (16, 16, 16, 16, 16), encoder=Encoder.EFFICIENTNET_LITE0)).eval()


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
