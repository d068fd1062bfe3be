"""A training, small but whole: it learns, repeats, and leaves a bundle that predicts what it predicted."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

from orthomask.engine import bundle
from orthomask.engine.progress import Progress
from orthomask.engine.unet import UNet, UNetArguments
from orthomask.protocol import Cancelled, ErrorCode, OrthomaskError
from orthomask.training import evaluate as evaluation
from orthomask.training import recipe as recipes
from orthomask.training import train as training
from orthomask.training.scenes import UNKNOWN, read_tiles

from .images import squares, write_tile
from .recipes import RECIPE


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed in range(8):
        write_tile(folder / "train", f"town_{seed}", *squares(seed))
    for seed in range(100, 104):
        write_tile(folder / "validation", f"{'ab'[seed % 2]}ville1_{seed}", *squares(seed, size=90))
    (folder / "squares.toml").write_text(RECIPE, encoding="utf-8")
    return folder


def run(data, out, progress=None):
    recipe, digest = recipes.load(data / "squares.toml")
    return training.train(recipe, digest, data, out, progress or Progress())


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("run"))


def test_it_learns(trained, data):
    card = bundle.load(str(trained)).card
    scores = card.accuracy["other squares"]
    assert scores["iou"] > 0.85
    assert set(scores["by_place"]) == {"aville", "bville"}
    assert scores["images"] == 4
    assert scores["threshold"] == card.threshold
    assert card.training["places"] == ["Nowhere"]
    assert card.training["megapixels"] == pytest.approx(8 * 96 * 96 / 1e6, abs=0.05)
    assert (trained.parent / "metrics.csv").read_text().count("\n") > 2


def test_statistics_are_those_of_the_training_images(trained, data):
    pixels = np.stack([tile.pixels for tile in read_tiles(data / "train", (0, 1))]).astype(float)
    for number, band in enumerate(bundle.load(str(trained)).card.bands):
        assert band.mean == pytest.approx(pixels[:, number].mean(), abs=0.01)
        assert band.std == pytest.approx(pixels[:, number].std(), abs=0.01)
        assert band.percentile_2 == pytest.approx(np.percentile(pixels[:, number], 2), abs=1)
        assert band.percentile_98 == pytest.approx(np.percentile(pixels[:, number], 98), abs=1)


def test_the_same_seed_gives_the_same_weights(trained, data, tmp_path):
    again = safetensors.torch.load_file(run(data, tmp_path))
    for name, tensor in safetensors.torch.load_file(trained).items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=0)


def test_another_seed_gives_others(trained, data, tmp_path):
    recipe = RECIPE.replace("seed = 3", "seed = 4").replace("steps = 30", "steps = 5")
    (tmp_path / "other.toml").write_text(recipe, encoding="utf-8")
    parsed, digest = recipes.load(tmp_path / "other.toml")
    other = safetensors.torch.load_file(training.train(parsed, digest, data, tmp_path / "out", Progress()))
    first = safetensors.torch.load_file(trained)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_bundle_predicts_what_was_measured(trained, data):
    """Its card's scores are those of the bundle itself, and a bundle saved again predicts the same."""
    opened = bundle.load(str(trained))
    table = evaluation.evaluate(trained, data / "validation", (0, 1), 0, Progress())
    assert table["all"].iou == pytest.approx(opened.card.accuracy["other squares"]["iou"], abs=1e-4)
    copy = trained.with_name("copy.safetensors")
    bundle.save(copy, opened.model(), opened.card)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(opened.model()(image), bundle.load(str(copy)).model()(image), rtol=0, atol=0)


def test_the_command_prints_scores(trained, data):
    arguments = [str(trained), "--data", str(data / "validation"), "--mask-values", "0,1"]
    result = CliRunner().invoke(evaluation.main, arguments)
    assert result.exit_code == 0, result.output
    assert "aville" in result.output
    table = json.loads(CliRunner().invoke(evaluation.main, [*arguments, "--json"]).output)
    assert table["all"]["images"] == 4


def test_a_taken_run_folder_is_refused(trained, data):
    with pytest.raises(OrthomaskError) as caught:
        run(data, trained.parent)
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS


def test_a_person_can_cancel(data, tmp_path):
    class Impatient(Progress):
        def check_cancelled(self):
            raise Cancelled

    with pytest.raises(Cancelled):
        run(data, tmp_path, Impatient())


def test_unknown_pixels_do_not_count_in_the_loss():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator, requires_grad=True)
    mask = torch.randint(0, 3, (2, 8, 8), generator=generator)
    mask[:, :4] = UNKNOWN
    value = training.loss(logits, mask, smoothing=0.1)
    changed = logits.detach().clone()
    changed[:, :, :4] = 100 * torch.randn(2, 3, 4, 8, generator=generator)
    torch.testing.assert_close(training.loss(changed, mask, smoothing=0.1), value.detach())
    value.backward()
    assert (logits.grad[:, :, :4] == 0).all()
    assert (logits.grad[:, :, 4:] != 0).any()


def test_loss_of_nothing_known_is_finite():
    logits = torch.randn(1, 2, 4, 4)
    assert torch.isfinite(training.loss(logits, torch.full((1, 4, 4), UNKNOWN)))


def test_loss_prefers_the_truth():
    mask = torch.zeros(1, 8, 8, dtype=torch.long)
    mask[:, 2:5, 2:5] = 1
    right = torch.nn.functional.one_hot(mask, 2).movedim(-1, 1) * 10.0
    assert training.loss(right, mask) < 0.01
    assert training.loss(-right, mask) > 5


def test_the_default_network_fits_into_a_small_bundle(tmp_path, trained):
    card = bundle.load(str(trained)).card
    bundle.save(tmp_path / "large.safetensors", UNet(UNetArguments(3, 2)), card)
    assert (tmp_path / "large.safetensors").stat().st_size < 9e6


def test_the_rate_warms_up_and_falls_to_zero():
    schedule = recipes.Schedule(steps=100, warmup_steps=10)
    rates = [training.rate(schedule, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0)


@pytest.mark.parametrize(("detail", "expected"), [(8, torch.contiguous_format), (16, torch.channels_last)])
def test_narrow_networks_keep_the_safe_memory_layout(detail, expected):
    assert training.layout(UNetArguments(3, 2, widths=(16, 32), detail=detail)) is expected
