"""A training with an encoder of timm, from the command line to a model that needs timm no more."""

import json
import sys

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from foreign import timm
from trainings import training, write_pictures

from orthomask.cli import commands
from orthomask.engine.interop import timm_encoders
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, Network, OrthomaskError
from orthomask.training.fit import train

RECIPE = """
[data]
root = "{}"
[[data.pictures]]
images = "train/images"
masks = "train/masks"
gsd_m = 0.3
[[data.pictures]]
images = "validation/images"
masks = "validation/masks"
gsd_m = 0.3
split = "validation"
[network]
encoder = "timm/mobilenetv3_small_050"
widths = [16, 16, 16, 16, 16]
[schedule]
precision = "32-true"
workers = 0
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Two steps from weights in a file."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(1)
    safetensors.torch.save_file(timm.create_model("mobilenetv3_small_050").state_dict(), folder / "w.safetensors")
    (folder / "recipe.toml").write_text(RECIPE.format(data.root))
    words = f"train {folder}/recipe.toml --out {folder}/out --epochs 1 --steps 2 --batch 2 --size 64 --json"
    done = CliRunner().invoke(commands, [*words.split(), "--set", f"network.weights={folder}/w.safetensors"])
    assert done.exit_code == 0, done.output
    return bundle.load(json.loads(done.output)["model_path"])


def test_it_learns_from_the_weights_in_the_file(trained, data):
    card, network = trained.card, trained.model()
    assert card.architecture.encoder == "timm/mobilenetv3_small_050"
    assert card.architecture.foreign.library == f"timm {timm.__version__}"
    began = safetensors.torch.load_file(trained.path.parents[1] / "w.safetensors")
    moved = network.encoder[0][0][0].weight - began["conv_stem.weight"]
    assert 1e-4 < moved.abs().max() < 0.05
    assert network.encoder[0][0][1].num_batches_tracked == 2


def test_it_learns_further_without_timm(trained, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    timm_encoders.described.cache_clear()
    request = training(data, tmp_path / "run", model=str(trained.path), epochs=1, steps=1, chip_px=64)
    further = bundle.load(train.run(request, Progress()).model_path)
    assert further.card.architecture == trained.card.architecture
    assert further.model().encoder[0][0][1].num_batches_tracked == 3
    scratch = training(
        data, tmp_path / "new", network=Network(encoder="timm/mobilenetv3_small_050"), epochs=1, steps=1, chip_px=64
    )
    with pytest.raises(OrthomaskError) as caught:
        train.run(scratch, Progress())
    assert caught.value.code is ErrorCode.ENGINE_PART
    assert not (tmp_path / "new" / "checkpoint.ckpt").exists()


def test_the_widths_have_to_be_as_many_as_its_levels(data, tmp_path):
    request = training(data, tmp_path / "run", network=Network(encoder="timm/convnext_atto"), chip_px=64)
    with pytest.raises(OrthomaskError, match="“timm/convnext_atto” has 4 levels, but 5 widths"):
        train.run(request, Progress())
