"""Cards of models as STAC items, checked against the published schemas."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import referencing.jsonschema
from click.testing import CliRunner

from orthomask.cli import commands
from orthomask.engine.interop import stac
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import ModelItemRequest

SITE = "https://stac-extensions.github.io"


def schemas() -> dict[str, Any]:
    """The published schemas by their addresses."""
    found = {}
    for path in (Path(__file__).parent / "schemas" / "stac").glob("*.json"):
        name, _, version = path.stem.partition("-")
        found[f"{SITE}/{name}/{version}/schema.json"] = json.loads(path.read_text(encoding="utf-8"))
    return found


def problems(item: dict[str, Any]) -> list[str]:
    """What the schemas of an item's extensions say against it."""
    known = schemas()
    draft = referencing.jsonschema.DRAFT7
    registry: Any = referencing.Registry().with_resources(
        [(address, referencing.Resource.from_contents(content, draft)) for address, content in known.items()]
    )
    checked = [address for address in item["stac_extensions"] if address in known]
    assert len(checked) == 4  # of classification 2.0 there is no copy: MLM's schema checks the classes by that of 1.1
    return [
        error.message
        for address in checked
        for error in jsonschema.Draft7Validator({**known[address], "$id": address}, registry=registry).iter_errors(item)
    ]


@pytest.mark.parametrize("model", ["buildings", "farmland"])
def test_embedded_models_are_valid_items(model: str) -> None:
    item = stac.item(bundle.load(model), "model.safetensors")
    assert problems(item) == []
    assert item["assets"]["model"]["file:checksum"] == "1220" + bundle.load(model).sha256
    assert [band["name"] for band in item["assets"]["model"]["raster:bands"]] == item["properties"]["mlm:input"][0][
        "bands"
    ]


def test_the_schemas_find_what_is_wrong() -> None:
    sound = stac.item(bundle.load("buildings"), "model.safetensors")
    for place, value in (
        (("properties", "mlm:tasks"), ["guessing"]),
        (("properties", "mlm:name"), "ü"),
        (("assets", "model", "roles"), ["data"]),
        (("assets", "model", "file:checksum"), "no hash"),
        (("assets", "model", "raster:bands"), [{"name": "red", "data_type": "pixels"}]),
        (("properties", "version"), 1),
    ):
        item: Any = copy.deepcopy(sound)
        inner = item
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
        assert problems(item), place


def test_a_model_of_ones_own_with_any_name(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    own = tmp_path / "models" / "Häuser & Höfe.safetensors"
    own.parent.mkdir()
    own.write_bytes(make_bundle(classes=3, bands=4, dtype="uint16").read_bytes())
    target = tmp_path / "catalogue" / "item.json"
    arguments = ["models", "stac", str(own), "--out", str(target)]
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, done.output
    note, path = done.output.splitlines()
    assert note == f"Note: The item expects the model beside it: copy “{own.name}” there, or give its address."
    assert path == str(target)
    item = json.loads(target.read_text(encoding="utf-8"))
    assert problems(item) == []
    assert item["assets"]["model"]["href"] == "H%C3%A4user%20%26%20H%C3%B6fe.safetensors"
    assert str(tmp_path) not in target.read_text()
    again = CliRunner().invoke(commands, arguments)
    assert again.exit_code == 3
    assert "already exists" in again.output
    placed = CliRunner().invoke(commands, [*arguments, "--overwrite", "--href", "https://example.org/m.safetensors"])
    assert placed.exit_code == 0
    assert "Note" not in placed.output
    assert json.loads(target.read_text())["assets"]["model"]["href"] == "https://example.org/m.safetensors"


def test_a_model_beneath_the_item_is_linked(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    own = tmp_path / "files" / "own.safetensors"
    own.parent.mkdir()
    own.write_bytes(make_bundle().read_bytes())
    result = stac.run(ModelItemRequest(str(own), str(tmp_path / "item.json")), Progress())
    assert result.warnings == ()
    assert json.loads((tmp_path / "item.json").read_text())["assets"]["model"]["href"] == "files/own.safetensors"


def test_ensembles_too(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    joined = tmp_path / "both.safetensors"
    members = [str(make_bundle()), str(make_bundle())]
    done = CliRunner().invoke(commands, ["models", "ensemble", *members, "--out", str(joined)])
    assert done.exit_code == 0, done.output
    assert problems(stac.item(bundle.load(str(joined)), "both.safetensors")) == []


@pytest.mark.parametrize(
    ("name", "slug"),
    [("buildings", "buildings"), ("Häuser 2", "Hauser-2"), ("2nd", "model-2nd"), ("屋", "model-x"), ("a", "model-a")],
)
def test_names_as_the_extension_allows_them(name: str, slug: str) -> None:
    assert stac.slug(name) == slug
