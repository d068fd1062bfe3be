"""Merged convolutions give what the network gives."""

import copy
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import nn

from orthomask.engine import predict
from orthomask.engine.compute import devices, onednn
from orthomask.engine.images import raster
from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet, UNetArguments, fused, mixed
from orthomask.engine.progress import Progress
from orthomask.engine.runs import runs
from orthomask.protocol import Encoder, Finish, Image, PredictRequest

SAMPLES = Path(__file__).resolve().parents[3] / "resources" / "sample"


def needs(dtype):
    """Skips a test where oneDNN does not compute in a precision."""
    return pytest.mark.skipif(not onednn.is_available(dtype), reason=f"no convolutions of oneDNN in {dtype} here")


PRECISIONS = ["fp32", pytest.param("bf16", marks=needs(torch.bfloat16))]
NETWORKS = (
    UNetArguments(3, 2, (8, 12), 1, 4),
    UNetArguments(4, 3, (8, 12), 2, 4, attention=True),
    UNetArguments(3, 2, (8, 8, 8, 8, 8), 1, 4, encoder=Encoder.EFFICIENTNET_LITE0),
    UNetArguments(3, 2, (8, 12), 1, 4, separable=True, finish=Finish.LIGHT),
    UNetArguments(3, 2, (8, 8, 8, 8, 8), 1, 4, encoder=Encoder.EFFICIENTNET_LITE0, merges=1, finish=Finish.HALF),
)


def network(arguments):
    """A network whose biases and statistics are not zero, as after a training."""
    torch.manual_seed(1)
    model = UNet(arguments)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return fused(model).requires_grad_(False)


@needs(torch.float32)
@pytest.mark.parametrize("arguments", NETWORKS)
def test_in_fp32_nothing_changes(arguments):
    plain = network(arguments)
    merged = onednn.merged(copy.deepcopy(plain), torch.float32)
    for side in (64, 96):  # the weights were ordered for the first one
        image = torch.rand(1, arguments.bands, side, side)
        torch.testing.assert_close(merged(image), plain(image), rtol=1e-3, atol=1e-3)


@needs(torch.bfloat16)
@pytest.mark.parametrize(("name", "sample"), [("buildings", "banepa.tif"), ("farmland", "iowa.tif")])
def test_in_bf16_classes_are_nearer_to_those_of_fp32_than_with_rounded_biases(name, sample):
    model = bundle.load(name)
    with rasterio.open(SAMPLES / sample) as dataset:
        pixels = dataset.read(window=((0, 512), (0, 512)))
    image = torch.from_numpy(model.normalise(pixels, np.ones((512, 512), bool)))[None]
    plain = fused(model.model()).requires_grad_(False)

    def changed(network):
        probability = torch.softmax(network(image.to(torch.bfloat16)).float(), 1)[:, 1]
        return float(((probability >= 0.5) != expected).float().mean())

    expected = torch.softmax(plain(image), 1)[:, 1] >= 0.5
    rounded = copy.deepcopy(plain).to(torch.bfloat16)
    assert changed(onednn.merged(plain, torch.bfloat16)) < min(0.003, changed(rounded))


@pytest.mark.parametrize("arguments", NETWORKS)
def test_of_a_mixed_network_the_first_stage_is_in_fp32_and_the_rest_is_not(arguments):
    plain = network(arguments)
    ready = mixed(copy.deepcopy(plain), torch.bfloat16, lambda module, dtype: module.to(dtype))
    image = torch.rand(1, arguments.bands, 64, 64)
    assert {parameter.dtype for parameter in ready.encoder[0].parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in ready.encoder[1].parameters()} == {torch.bfloat16}
    first = plain.encoder[0](image if arguments.encoder == Encoder.EFFICIENTNET_LITE0 else plain.stem(image))
    if arguments.encoder == Encoder.EFFICIENTNET_LITE0:  # else the stem's rounding is in it
        torch.testing.assert_close(ready.encoder[0](image), first.to(torch.bfloat16), rtol=0, atol=0)
    logits = ready(image)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), plain(image), rtol=0.1, atol=0.1)


def predicted(name, sample, precision):
    """Probabilities of a sample, as a run stores them."""
    predictor = devices.prepare(bundle.load(name), devices.choose("cpu"), precision)
    with raster.open_image(Image(str(SAMPLES / sample))) as source:
        plan = predict.plan(source, PredictRequest(source.image, name, "unused"))
        with raster.open_reader(source, plan.lattice, plan.numbers) as reader:
            strips = predict.blended(plan, reader, predictor, Progress())
            return np.concatenate([strip.probabilities for strip in strips], axis=1)


@needs(torch.bfloat16)
@pytest.mark.parametrize(("name", "sample"), [("buildings", "banepa.tif"), ("farmland", "iowa.tif")])
def test_in_bf16_fewer_than_one_class_in_a_thousand_changes(name, sample):
    exact, rounded = (runs.classify(predicted(name, sample, precision), 0.5) for precision in ("fp32", "bf16"))
    assert (exact != rounded).mean() < 0.001


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_number_of_cores_changes_nothing(precision):
    found, count = [], torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(predicted("farmland", "iowa.tif", precision))
    finally:
        torch.set_num_threads(count)
    np.testing.assert_array_equal(*found)


def test_rounding_keeps_the_sum_of_a_kernel():
    weight = torch.randn(6, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    rounded = onednn._rounded(weight, torch.bfloat16).float()
    lost, usual = ((other - weight).sum((2, 3)).abs().max() for other in (rounded, weight.to(torch.bfloat16).float()))
    assert lost < usual / 4
    assert (rounded - weight).abs().max() < 2 * weight.abs().max() * 2**-8
