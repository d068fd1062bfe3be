"""Networks that other libraries describe: as data they are kept, run and checked without these libraries."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthomask.engine.compute import devices, networks
from orthomask.engine.interop import onnx_out
from orthomask.engine.models import bundle
from orthomask.engine.models.operations import Foreign, Part, Step
from orthomask.engine.models.stages import stages
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, ExportModelRequest, OrthomaskError, to_json


def convolution(into: int, out: int, side: int = 3, stride: int = 1) -> Step:
    return Step("convolution", (into, out, side, side, stride, stride, side // 2, side // 2, 1, 1, 1, 1))


GATED = (
    Part((0,), "", (convolution(8, 12, stride=2),)),
    Part((1,), "", (Step("mean", (2, 3)), Step("hard_sigmoid"))),
    Part((1, 2), "multiply"),
)
MERGED = (Part((0,), "", (Step("enlarge", (2, 0)),)), Part((2, 1), "concatenate", (convolution(20, 8), Step("gelu"))))
FOREIGN = Foreign(
    "a library",
    (8, 12),
    2,
    ((Part((0,), "", (convolution(3, 8, stride=2), Step("batch_norm", (8, 1e-5)), Step("silu"))),), GATED),
    (MERGED, (Part((0,), "", (Step("enlarge", (2, 1)), convolution(8, 6))),)),
    (Part((0,), "", (convolution(6, 2),)),),
)
SHAPE = UNetArguments(3, 2, (8, 12), encoder="theirs", foreign=FOREIGN)


@pytest.fixture
def theirs(tiny: Path, tmp_path: Path) -> Path:
    torch.manual_seed(2)
    network = UNet(SHAPE)
    torch.nn.init.normal_(network.head[0][0].weight, std=1.0)
    bundle.save(tmp_path / "theirs.safetensors", network, replace(bundle.load(str(tiny)).card, architecture=SHAPE))
    return tmp_path / "theirs.safetensors"


def written(path: Path, changed: dict[str, Any]) -> Path:
    """A bundle whose network's description has changed, and which is not sealed."""
    card = {**to_json(bundle.load(str(path)).card), "format": 4}
    card["architecture"]["foreign"] = changed
    other = path.with_name("changed.safetensors")
    other.write_bytes(safetensors.torch.save(safetensors.torch.load_file(path), {bundle.KEY: json.dumps(card)}))
    return other


def test_such_a_network_is_one_among_others(theirs: Path) -> None:
    opened = bundle.load(str(theirs))
    assert opened.card.architecture == SHAPE
    image = torch.randn(1, 3, 48, 64)
    network = opened.model()
    with torch.inference_mode():
        wanted = network(image).softmax(dim=1)[:, 1:]
        for made in (networks.opened(opened, torch.device("cpu")), bundle.load(str(theirs)).model()):
            torch.testing.assert_close(made(image).softmax(dim=1)[:, 1:], wanted, atol=1e-5, rtol=0)
    found = devices.prepare(opened, devices.choose("cpu"), "fp32")(image)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert list(stages(network)) == ["stem", "encoder.0", "encoder.1", "decoder.0", "decoder.1", "head"]
    assert network.details(image).shape == (1, 6, 48, 64)
    assert sum(stage.parameters for stage in opened.summary().networks[0].stages) == sum(
        weight.numel() for weight in network.parameters()
    )
    onnx = onnx_out.run(ExportModelRequest(str(theirs), str(theirs.with_suffix(".onnx")), 64), Progress())
    assert onnx.difference < 1e-5


def test_only_such_a_network_needs_the_new_version_of_the_bundle(theirs: Path, tiny: Path) -> None:
    assert bundle.described(bundle.load(str(theirs)).card)["format"] == 4
    for model in ("buildings", "farmland", str(tiny)):
        opened = bundle.load(model)
        with safetensors.safe_open(opened.path, framework="numpy") as file:
            assert json.loads(file.metadata()[bundle.KEY]) == bundle.described(opened.card)


def test_numbers_too_large_for_half_precision_are_kept_whole(theirs: Path) -> None:
    opened = bundle.load(str(theirs))
    network = opened.model()
    network.encoder[0][0][1].running_var[0] = 1e6
    bundle.save(theirs, network, opened.card)
    assert bundle.load(str(theirs)).model().encoder[0][0][1].running_var[0] == 1e6


def _change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        *places, last = (int(word) if word.isdigit() else word for word in path.split("/"))
        for place in places:
            document = document[place]
        document[last] = value

    return change


def _doubled(document: dict[str, Any]) -> None:
    document["head"] = [{"inputs": [n, n], "join": "concatenate", "steps": []} for n in range(64)]


def _endless(document: dict[str, Any]) -> None:
    document["head"] = [{"inputs": [n], "join": "", "steps": [{"kind": "relu", "numbers": []}]} for n in range(4100)]


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "an unknown operation": _change("encoder/0/0/steps/2/kind", "eval"),
    "an unknown join": _change("encoder/1/2/join", "__import__"),
    "a tensor that is not there yet": _change("encoder/1/1/inputs", [2]),
    "a tensor before the first": _change("encoder/1/1/inputs", [-1]),
    "two tensors that are not joined": _change("encoder/1/1/inputs", [0, 1]),
    "a layer without end": _change("head/0/steps/0/numbers/0", 1e12),
    "a kernel without end": _change("head/0/steps/0/numbers/2", 1e9),
    "padding without end": _change("head/0/steps/0/numbers/6", 1e7),
    "an image without end": _change("decoder/1/0/steps/0/numbers/0", 1e6),
    "doubling without end": _doubled,
    "steps without end": _endless,
    "no number": _change("encoder/0/0/steps/1/numbers/1", float("nan")),
    "half a channel": _change("encoder/0/0/steps/1/numbers/0", 7.5),
    "too few numbers": _change("head/0/steps/0/numbers", [6, 2]),
    "other classes": _change("head/0/steps/0/numbers/1", 3),
    "other bands": _change("encoder/0/0/steps/0/numbers/0", 4),
    "another width": _change("widths/1", 13),
    "another resolution": _change("encoder/1/0/steps/0/numbers/4", 1),
    "the mean instead of half the resolution": _change("encoder/1/0/steps", [{"kind": "mean", "numbers": [2, 3]}]),
    "another reduction": _change("reduction", 3),
    "a stage without parts": _change("encoder/1", []),
    "a missing stage": _change("decoder", []),
    "no head": _change("head", []),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_description_that_no_import_writes_is_refused(kind: str, theirs: Path) -> None:
    description = json.loads(json.dumps(to_json(bundle.load(str(theirs)).card)["architecture"]["foreign"]))
    HOSTILE[kind](description)
    with pytest.raises(OrthomaskError) as caught:
        bundle.load(str(written(theirs, description)))
    assert caught.value.code is ErrorCode.BUNDLE_UNREADABLE


def test_weights_that_do_not_belong_to_the_description_are_refused(theirs: Path) -> None:
    description = to_json(bundle.load(str(theirs)).card)["architecture"]["foreign"]
    _change("encoder/0/0/steps/0/numbers/2", 5)(description)
    _change("encoder/0/0/steps/0/numbers/6", 2)(description)
    with pytest.raises(OrthomaskError) as caught:
        bundle.load(str(written(theirs, description))).model()
    assert caught.value.code is ErrorCode.BUNDLE_UNREADABLE


def test_whatever_numbers_change_it_runs_or_is_refused(theirs: Path) -> None:
    whole = to_json(bundle.load(str(theirs)).card)["architecture"]["foreign"]
    steps = [
        (name, stage, part, step, number)
        for name in ("encoder", "decoder")
        for stage, parts in enumerate(whole[name])
        for part, described in enumerate(parts)
        for step, each in enumerate(described["steps"])
        for number in range(len(each["numbers"]))
    ]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(steps), st.integers(-3, 70) | st.floats() | st.sampled_from([2**31, 2**63, 10**30]))
    def attempt(place: tuple[Any, ...], value: float) -> None:
        document = json.loads(json.dumps(whole))
        name, stage, part, step, number = place
        document[name][stage][part]["steps"][step]["numbers"][number] = value
        with suppress(OrthomaskError), torch.inference_mode():
            network = bundle.load(str(written(theirs, document))).model()
            assert network(torch.zeros(1, 3, 16, 24)).shape == (1, 2, 16, 24)

    attempt()
