"""The optimizer: orthogonal steps, and every weight moves."""

import pytest
import torch

from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.training.fit.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_steps_are_nearly_orthogonal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.4
    assert values.max() < 1.3


def test_every_weight_moves_downhill():
    torch.manual_seed(0)
    network = UNet(UNetArguments(2, 2, widths=(8, 12), blocks=1, detail=8))
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = Muon(network, network.head, lr=0.01)
    image, target = torch.randn(2, 2, 16, 16), torch.randint(0, 2, (2, 16, 16))
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(image), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    for name, weight in network.named_parameters():
        assert not torch.equal(before[name], weight), name


def test_a_zero_gradient_is_no_step():
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.Conv2d(2, 2, 1))
    before = network[0].weight.detach().clone()
    optimizer = Muon(network, network[1], lr=0.1)
    network(torch.zeros(1, 2, 4, 4)).sum().mul(0).backward()
    optimizer.step()
    torch.testing.assert_close(network[0].weight, before)
