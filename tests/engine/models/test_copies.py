"""Copies of bundles, and the list of those that a person keeps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
from click.testing import CliRunner

from orthomask.cli import commands
from orthomask.engine.models import bundle, copies
from orthomask.engine.progress import Progress
from orthomask.protocol import CopyModelRequest, ErrorCode, Existing, ModelsRequest, OrthomaskError


def copied(source: Path, target: Path, title: str = "", existing: Existing = Existing.REFUSE) -> bundle.Bundle:
    copies.run(CopyModelRequest(str(source), str(target), title, existing), Progress())
    return bundle.load(str(target))


def test_a_copy_has_the_same_weights_under_another_name(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "roofs.safetensors"
    card = copied(tiny, target, "Roofs").card
    assert (card.name, card.title) == ("roofs", "Roofs")
    before, after = (safetensors.torch.load_file(path) for path in (tiny, target))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert tensor.numpy().tobytes() == after[name].numpy().tobytes()
    with safetensors.safe_open(target, framework="numpy") as file:
        assert json.loads(file.metadata()["stac_mlm"])["mlm:name"] == "roofs"


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions")
def test_a_bundle_is_for_everyone_who_may_read_the_folder(tiny: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert copied(tiny, tmp_path / "copy.safetensors").path.stat().st_mode == plain.stat().st_mode


def test_weights_of_another_precision_stay_what_they_are(tiny: Path, tmp_path: Path) -> None:
    opened = bundle.load(str(tiny))
    exact = tmp_path / "exact.safetensors"
    bundle.write(exact, dict(opened.model().state_dict()), opened.card)
    assert copied(exact, tmp_path / "copy.safetensors").path.stat().st_size > 1.5 * tiny.stat().st_size


def test_a_model_gets_another_title_in_its_place(tiny: Path, tmp_path: Path) -> None:
    own = copied(tiny, tmp_path / "own.safetensors").path
    assert copied(own, own, "Renamed", Existing.OVERWRITE).card.title == "Renamed"


def test_a_copy_does_not_replace_a_model_unasked(tiny: Path, tmp_path: Path) -> None:
    target = copied(tiny, tmp_path / "a.safetensors", "First").path
    with pytest.raises(OrthomaskError) as caught:
        copied(tiny, target, "Second")
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
    assert bundle.load(str(target)).card.title == "First"


def test_a_damaged_model_is_not_copied(tiny: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(tiny.read_bytes()[:-100])
    with pytest.raises(OrthomaskError) as caught:
        copied(torn, tmp_path / "copy.safetensors")
    assert caught.value.code is ErrorCode.BUNDLE_UNREADABLE
    assert not (tmp_path / "copy.safetensors").exists()


def test_bundles_in_folders_are_listed_after_the_embedded_ones(tiny: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    copied(tiny, own / "b.safetensors")
    copied(tiny, own / "a.safetensors")
    (own / "damaged.safetensors").write_bytes(b"nothing")
    (own / "pickle.safetensors").write_bytes(b"PK\x03\x04")
    (own / "folder.safetensors").mkdir()
    embedded = [model.name for model in bundle.run(ModelsRequest(), Progress()).models]
    request = ModelsRequest(folders=(str(own), str(tmp_path / "missing")))
    assert [model.name for model in bundle.run(request, Progress()).models] == [*embedded, "a", "b"]


def test_models_are_copied_joined_and_listed_from_the_terminal(tiny: Path, tmp_path: Path) -> None:
    def orthomask(*arguments: object) -> str:
        result = CliRunner().invoke(commands, [*map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.output

    own = tmp_path / "own.safetensors"
    orthomask("models", "copy", tiny, own, "--title", "Our own")
    orthomask("models", "ensemble", tiny, own, "--out", tmp_path / "both.safetensors")
    listed = orthomask("models", "list", "--folder", tmp_path)
    assert "own: Our own" in listed
    assert "both: Ensemble of Tiny, Our own" in listed
    refused = CliRunner().invoke(commands, ["models", "copy", str(tiny), str(own)])
    assert (refused.exit_code, "overwrite it" in refused.output) == (3, True)
