"""Recipes say what is wrong with them."""

from pathlib import Path

import pytest

from orthomask.protocol import ErrorCode, OrthomaskError
from orthomask.training import recipe as recipes
from orthomask.training.recipe import Augmentation, Schedule, Source

from .recipes import RECIPE

EMBEDDED = Path(recipes.__file__).resolve().parent.parent / "resources" / "recipes"


@pytest.mark.parametrize("path", sorted(EMBEDDED.glob("*.toml")), ids=lambda path: path.stem)
def test_embedded_recipes_are_valid(path):
    recipe, digest = recipes.load(path)
    assert recipe.name == path.stem
    assert len(digest) == 64


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('name = "squares"', "", "missing"),
        ("gsd_m = 0.3\nbands", "gsd_m = 0\nbands", "resolution|sampling distance 0"),
        ('bands = ["red", "green", "blue"]', 'bands = ["red"]', "as many bands"),
        ("value = 1", "value = 2", "not numbered"),
        ("steps = 30", "steps = 0", "no steps"),
        ("steps = 30", 'steps = "many"', "'many'"),
        ("steps = 30", "stepps = 30", "stepps"),
        ("chip_px = 64", "chip_px = 65", "65 px are no multiple of 8"),
        ("mask_values = [0, 1]", "mask_values = [1, 1]", "share a mask value"),
        ('outline = "squared"', 'outline = "round"', "round"),
        ("[network]", "[network", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_refused_with_a_reason(tmp_path, old, new, sentence):
    assert old in RECIPE
    path = tmp_path / "squares.toml"
    path.write_text(RECIPE.replace(old, new), encoding="utf-8")
    with pytest.raises(OrthomaskError, match=sentence) as caught:
        recipes.load(path)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert caught.value.remedy


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(OrthomaskError, match=r"none.toml” cannot be read"):
        recipes.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Augmentation(scale=(2.0, 1.0)),
        lambda: Augmentation(scale=(1.0,)),
        lambda: Augmentation(blank=2),
        lambda: Schedule(learning_rate=0),
        lambda: Schedule(steps=10, warmup_steps=20),
        lambda: Schedule(averaging=1),
        lambda: Source("p", "f", "*", gsd_m=0),
        lambda: Source("p", "f", "*", gsd_m=0.3, weight=-1),
        lambda: Source("p", "f", "*", gsd_m=0.3, tile_step=-1),
    ],
)
def test_options_check_themselves(make):
    with pytest.raises(OrthomaskError):
        make()
