"""Recipes say what is wrong with them, and settings are given by name."""

from pathlib import Path

import pytest

from orthomask.protocol import Decay, ErrorCode, Existing, OrthomaskError
from orthomask.training.fit import recipe as recipes

EMBEDDED = Path(recipes.__file__).resolve().parents[2] / "resources" / "recipes"
RECIPE = """
name = "squares"
gsd_m = 0.3
bands = ["red", "green", "blue"]

[[classes]]
value = 1
name = "square"
color = "#ff0000"

[[data.pictures]]
images = "train/images"
masks = "train/masks"
gsd_m = 0.3

[schedule]
epochs = 2
steps = 30
"""


def write(folder, text=RECIPE):
    path = folder / "squares.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(EMBEDDED.glob("*.toml")), ids=lambda path: path.stem)
def test_embedded_recipes_are_valid(path):
    assert recipes.load(path, "somewhere").name == path.stem


def test_folder_and_root_come_from_outside(tmp_path):
    request = recipes.load(write(tmp_path), "out", "data")
    assert (request.output_dir, request.data.root) == ("out", "data")
    assert recipes.load(write(tmp_path), "out").data.root == ""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("gsd_m = 0.3\nbands", "gsd_m = 5000\nbands", "out of range"),
        ("value = 1", "value = 2", "not numbered"),
        ("steps = 30", "steps = 0", "no steps"),
        ("steps = 30", 'steps = "many"', "'many'"),
        ("steps = 30", "stepps = 30", "stepps"),
        ("[[data.pictures]]", "[[data.paintings]]", "paintings"),
        ("[schedule]", "[schedule", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_refused_with_a_reason(tmp_path, old, new, sentence):
    assert old in RECIPE
    with pytest.raises(OrthomaskError, match=sentence) as caught:
        recipes.load(write(tmp_path, RECIPE.replace(old, new)), "out")
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert caught.value.remedy


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(OrthomaskError, match=r"none.toml” cannot be read"):
        recipes.load(tmp_path / "none.toml", "out")


def test_settings_are_given_by_name(tmp_path):
    request = recipes.load(write(tmp_path), "out")
    changed = recipes.with_settings(
        request, {"schedule.decay": "plateau", "network.widths": [16, 32], "augmentation.flip": False, "title": "Ours"}
    )
    assert changed.schedule.decay is Decay.PLATEAU
    assert changed.network.widths == (16, 32)
    assert (changed.augmentation.flip, changed.title) == (False, "Ours")
    assert changed.schedule.steps == 30


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("schedule.speed", 3, "no setting “schedule.speed”"),
        ("speed", 3, "no setting “speed”"),
        ("schedule.steps.more", 3, "no setting"),
        ("schedule.steps", "many", 'schedule.steps = "many"'),
        ("schedule.steps", 0, "no steps"),
        ("network.width_factor", 0, "width factor 0 is out of range"),
    ],
)
def test_an_unknown_setting_is_refused(tmp_path, name, value, sentence):
    request = recipes.load(write(tmp_path), "out")
    with pytest.raises(OrthomaskError, match=sentence) as caught:
        recipes.with_settings(request, {name: value})
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_the_digest_is_that_of_the_settings_and_not_of_the_folders(tmp_path):
    request = recipes.load(write(tmp_path), "out", "here")
    elsewhere = recipes.load(write(tmp_path), "other", "there")
    resumed = recipes.with_settings(elsewhere, {"existing": Existing.RESUME.value})
    assert recipes.digest(request) == recipes.digest(elsewhere) == recipes.digest(resumed)
    assert recipes.digest(recipes.with_settings(request, {"schedule.seed": 2})) != recipes.digest(request)
