"""The stages of networks, and their drawing: checked against the networks themselves and PyTorch's own counter."""

import json
import runpy
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from click.testing import CliRunner, Result
from torch.utils.flop_counter import FlopCounterMode

from orthomask.cli import commands
from orthomask.engine.models import bundle
from orthomask.engine.models import stages as stages_module
from orthomask.engine.models.stages import drawings, stages
from orthomask.engine.models.unet import Ensemble, UNet, UNetArguments
from orthomask.protocol import Encoder, distinct_drawings, drawn_as_svg

ROOT = Path(__file__).resolve().parents[3]
LITE = UNetArguments(3, 2, (16,) * 5, encoder=Encoder.EFFICIENTNET_LITE0)
SMALL = UNetArguments(3, 2, (8, 16), blocks=1)
NETWORKS = {
    "residual": lambda: UNet(SMALL),
    "attention": lambda: UNet(UNetArguments(3, 2, (8, 16), attention=True)),
    "efficientnet": lambda: UNet(LITE),
    "second": lambda: UNet(UNetArguments(3, 2, (8, 16, 24), blocks=1, second_bands=2, second_scale=2)),
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


def arguments_of(network: UNet | Ensemble) -> list[UNetArguments]:
    return [member.arguments for member in network.modules() if isinstance(member, UNet)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_drawing_counts_what_the_network_computes(kind: str) -> None:
    network = NETWORKS[kind]().eval()
    drawn = drawings(arguments_of(network))
    assert sum(each.parameters for each in drawn) == sum(weight.numel() for weight in network.parameters())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, 64, 64))
    multiplied = counter.get_total_flops() / 2 / 64**2  # a multiplication and an addition are two
    assert sum(each.multiplications for each in drawn) == pytest.approx(multiplied)
    layers = sum(isinstance(module, torch.nn.Conv2d) for module in network.modules())
    assert sum(stage.layers for each in drawn for stage in each.stages) == layers


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_drawing_shows_what_each_stage_gives(kind: str) -> None:
    network, shapes = NETWORKS[kind]().eval(), {}
    for name, stage in stages(network).items():
        stage.register_forward_hook(lambda _, __, result, name=name: shapes.update({name: tuple(result.shape[1:])}))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 64, 64))
    drawn = drawings(arguments_of(network))
    assert {s.name: (s.channels, *2 * [s.size_px // 8]) for each in drawn for s in each.stages} == shapes
    assert [stage.name for each in drawn for stage in each.stages] == list(stages(network))


def test_the_drawing_shows_where_each_stage_takes_it_from() -> None:
    (small,), (lite,) = drawings([SMALL]), drawings([LITE])
    sources = {stage.name: stage.sources for stage in small.stages}
    assert sources == {
        "stem": ("image",), "encoder.0": ("stem",), "encoder.1": ("encoder.0",),
        "decoder.0": ("encoder.1", "encoder.0"), "decoder.1": ("decoder.0", "stem"), "head": ("decoder.1",),
    }  # fmt: skip
    assert {stage.name: stage.sources for stage in lite.stages}["encoder.0"] == ("image",)


def test_members_that_are_alike_are_drawn_once() -> None:
    found = distinct_drawings(drawings([SMALL, LITE, SMALL]))
    assert [(drawing.prefix, numbers) for drawing, numbers in found] == [("members.0.", [1, 3]), ("members.1.", [2])]


def test_a_network_deeper_than_its_window_is_drawn_on_a_larger_one() -> None:
    (drawn,) = drawings([UNetArguments(3, 2, (2,) * 10, blocks=1, detail=2)])
    assert (drawn.window_px, drawn.stages[10].size_px) == (1024, 1)


@pytest.mark.parametrize("second", [0, 1])
def test_the_picture_holds_each_stage_once(second: int) -> None:
    (drawn,) = drawings([UNetArguments(3, 2, (8, 16, 24), attention=True, second_bands=second)])
    root = ElementTree.fromstring(drawn_as_svg(drawn))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[::2] == list(drawn.shapes())
    assert texts[1::2] == [f"{channels} × {size}²" for channels, size in drawn.shapes().values()]
    corners = [(box.get("x"), box.get("y")) for box in root.iter("{http://www.w3.org/2000/svg}rect")][::2]
    assert len(set(corners)) == len(corners) == len(texts) // 2


def test_a_huge_network_is_drawn_without_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = drawings([SMALL])
    monkeypatch.setattr(stages_module, "LARGEST", 0)
    stages_module._drawing.cache_clear()
    assert drawings([SMALL]) == expected


def test_the_stages_are_listed_and_drawn_from_the_terminal(tiny: Path, tmp_path: Path) -> None:
    def orthomask(*arguments: object) -> Result:
        return CliRunner().invoke(commands, ["models", "network", str(tiny), *map(str, arguments)])

    lines = orthomask("--svg", tmp_path / "tiny.svg").output.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [
        "stem",
        *(f"{p}.{n}" for p in ("encoder", "decoder") for n in (0, 1)),
        "head",
    ]
    ElementTree.parse(tmp_path / "tiny.svg")
    (drawn,) = json.loads(orthomask("--json").output)["networks"]
    assert [stage["name"] for stage in drawn["stages"]] == list(stages(bundle.load(str(tiny)).model()))
    assert "Could not open file" in orthomask("--svg", tmp_path / "missing" / "tiny.svg").output


def test_the_cards_of_the_embedded_models_draw_their_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If not: python docs/networks.py."""
    script = runpy.run_path(str(ROOT / "docs" / "networks.py"))
    cards = shutil.copytree(script["CARDS"], tmp_path / "models")
    monkeypatch.setitem(script["main"].__globals__, "CARDS", cards)
    script["main"]()
    for path in (*cards.glob("*.md"), *cards.glob("*.svg")):
        assert path.read_bytes() == (script["CARDS"] / path.name).read_bytes()
    assert (cards / "buildings-network.svg").exists()
