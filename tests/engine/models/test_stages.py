"""The stages of networks: every parameter lies in exactly one, in the order of computing."""

import pytest
import torch

from orthomask.engine.models.stages import stages
from orthomask.engine.models.unet import Ensemble, UNet, UNetArguments
from orthomask.protocol import Encoder

LITE = UNetArguments(3, 2, (16,) * 5, encoder=Encoder.EFFICIENTNET_LITE0)
SMALL = UNetArguments(3, 2, (8, 16), blocks=1)
NETWORKS = {
    "residual": lambda: UNet(SMALL),
    "attention": lambda: UNet(UNetArguments(3, 2, (8, 16), attention=True)),
    "efficientnet": lambda: UNet(LITE),
    "ensemble": lambda: Ensemble([SMALL, LITE]),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_parameter_lies_in_one_stage(kind: str) -> None:
    network = NETWORKS[kind]()
    counted = sum(weight.numel() for stage in stages(network).values() for weight in stage.parameters())
    assert counted == sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize("kind", NETWORKS)
def test_stages_are_named_as_modules_and_run_in_their_order(kind: str) -> None:
    network, ran = NETWORKS[kind]().eval(), []
    for name, stage in stages(network).items():
        assert network.get_submodule(name) is stage
        stage.register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 32, 32))
    assert ran == list(stages(network))
