"""The versions of a label project's model: used, gone back to, forgotten; killed, locked, moved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyogrio
import pytest
from click.testing import CliRunner

from orthomask.cli import commands
from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    ClassInfo,
    ErrorCode,
    Gain,
    Marks,
    OrthomaskError,
    ProjectRequest,
    VersionsRequest,
    VersionsResult,
    from_json,
    to_json,
)
from orthomask.training.loop import versions
from orthomask.training.truth import project as projects

HERE = Gain(Marks(0.5, 0.6, 0.4, 0.48), Marks(0.7, 0.8, 0.7, 0.74), 4, 0.1, 0.3)
HOME = Gain(Marks(0.52, 0.6, 0.6, 0.6), Marks(0.51, 0.6, 0.6, 0.6), 35, -0.02, 0.0)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small network with random weights, as a bundle."""
    arguments = UNetArguments(3, 2, widths=(8, 8), blocks=1, detail=8)
    bands = tuple(bundle.BandStatistics(name, 120.0, 60.0, 5.0, 250.0) for name in ("red", "green", "blue"))
    classes = (ClassInfo(1, "Class 1", "#145030"),)
    path = tmp_path / "tiny.safetensors"
    card = bundle.Card("tiny", "Tiny", arguments, bands, "uint8", 0.3, classes, 0.5, "CC0", "nobody")
    bundle.save(path, UNet(arguments), card)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    path = folder / "town.gpkg"
    projects.run(ProjectRequest(str(path), "EPSG:32645", (ClassInfo(1, "Class 1", "#e69f00"),)), Progress())
    return path


@pytest.fixture
def candidate(project: Path, tiny: Path):
    """Makes the bundle of a candidate in a run folder beside the project."""
    base = bundle.load(shutil.copy(tiny, project.parent / "base.safetensors"))

    def make(number: int, **changes: object) -> Path:
        learning = {
            "base": {"name": "base", "sha256": base.sha256, "path": str(base.path)}, "share": 0.6, "areas": 8 * number,
            "here": to_json(HERE), "home": to_json(HOME), "squares": f"fp{number}", "minutes": 5.0 * number,
            "image": "/data/photo.tif", "predecessor": number - 1,
        }  # fmt: skip
        path = project.parent / f"learning-{number}" / f"base-{number}.safetensors"
        path.parent.mkdir()
        card = replace(base.card, title=f"Base {number}", training={"learning": {**learning, **changes}})
        bundle.save(path, base.model(), card)
        return path

    return make


def ask(project: Path, **wanted: str) -> VersionsResult:
    return versions.run(VersionsRequest(str(project), **wanted), Progress())


def refused(project: Path, **wanted: str) -> OrthomaskError:
    before = ask(project)
    with pytest.raises(OrthomaskError) as caught:
        ask(project, **wanted)
    assert ask(project) == before
    return caught.value


def test_a_project_has_no_versions_at_first(project: Path) -> None:
    before = project.read_bytes()
    assert ask(project) == VersionsResult((), -1)
    assert project.read_bytes() == before


def test_a_candidate_becomes_the_next_version_and_going_back_is_always_possible(project, candidate) -> None:
    first, second = candidate(1), candidate(2)
    base, one = ask(project, use=str(first)).versions
    assert (base.number, base.title, base.predecessor, base.here) == (0, "Tiny", -1, None)
    assert (one.number, one.title, one.predecessor, one.model_path) == (1, "Base 1", 0, str(first))
    assert (one.here, one.home, one.share, one.squares, one.minutes) == (HERE, HOME, 0.6, 8, 5.0)
    used = ask(project, use=str(second))
    assert [(each.number, each.predecessor) for each in used.versions] == [(0, -1), (1, 0), (2, 1)]
    assert used.current == 2
    assert ask(project, use="0").current == 0
    assert ask(project, use="2").current == 2
    again = ask(project, use=str(second))
    assert (len(again.versions), again.current) == (3, 2), "a version is not promoted twice"
    assert first.exists()


def test_a_version_in_use_and_the_base_are_not_forgotten(project, candidate) -> None:
    first, second = candidate(1), candidate(2)
    ask(project, use=str(first))
    ask(project, use=str(second))
    assert "in use" in refused(project, remove="2").sentence
    assert "base" in refused(project, remove="0").sentence
    assert refused(project, remove="7").remedy == "Choose one of: 0, 1, 2."
    left = ask(project, remove="1")
    assert [each.number for each in left.versions] == [0, 2]
    assert first.exists()
    assert ask(project, use=str(first)).versions[-1].number == 3, "a number is not given twice"


def test_qgis_and_gdal_read_the_table(project, candidate) -> None:
    ask(project, use=str(candidate(1)))
    assert set(pyogrio.list_layers(project)[:, 0]) == {"labels", "areas", "orthomask_classes", "orthomask_versions"}
    info = pyogrio.read_info(project, layer="orthomask_versions")
    assert info["geometry_type"] is None
    assert info["features"] == 2
    assert {"title", "sha256", "minutes", "current"} <= set(info["fields"])


def test_a_moved_folder_goes_on_working(project, candidate, tmp_path: Path) -> None:
    ask(project, use=str(candidate(1)))
    moved = tmp_path / "elsewhere"
    os.rename(project.parent, moved)
    found = ask(moved / "town.gpkg")
    assert not any(each.missing for each in found.versions)
    assert found.versions[1].model_path == str(moved / "learning-1" / "base-1.safetensors")


def test_a_moved_project_finds_its_versions_where_they_were(project, candidate, tmp_path: Path) -> None:
    first = candidate(1)
    ask(project, use=str(first))
    (tmp_path / "alone").mkdir()
    copy = shutil.copy(project, tmp_path / "alone" / "town.gpkg")
    assert ask(Path(copy)).versions[1].model_path == str(first)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"something else")])
def test_a_version_whose_file_is_gone_or_another_is_said_and_not_used(project, candidate, damage) -> None:
    first = candidate(1)
    ask(project, use=str(first))
    ask(project, use="0")
    damage(first)
    assert [each.missing for each in ask(project).versions] == [False, True]
    error = refused(project, use="1")
    assert str(first) in error.sentence
    assert error.code is ErrorCode.BUNDLE_UNREADABLE


def test_only_what_learnt_from_a_project_of_these_classes_is_used(project, candidate, tiny) -> None:
    assert "did not learn" in refused(project, use=str(tiny)).sentence
    assert "did not learn" in refused(project, use=str(candidate(1, here={"iou": 1}))).sentence
    opened = bundle.load(str(candidate(2)))
    other = tiny.parent / "other.safetensors"
    bundle.save(other, opened.model(), replace(opened.card, classes=(ClassInfo(1, "road", "#000000"),)))
    error = refused(project, use=str(other))
    assert error.code is ErrorCode.LABELS_CLASSES
    assert "road" in error.sentence
    assert "There is no model" in refused(project, use="/nowhere.safetensors").sentence


def test_what_is_no_label_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gpkg").write_text("no database at all, but longer than a header of one would be " * 20)
    with closing(sqlite3.connect(tmp_path / "empty.gpkg")) as file:
        file.execute("CREATE TABLE anything (number)")
    for name in ("text.gpkg", "empty.gpkg", "missing.gpkg"):
        with pytest.raises(OrthomaskError) as caught:
            ask(tmp_path / name)
        assert caught.value.sentence == f"{name} is not a label project."
    assert not (tmp_path / "missing.gpkg").exists()


def test_a_project_that_another_program_writes_is_left_alone(project, candidate, monkeypatch) -> None:
    monkeypatch.setattr("orthomask.training.truth.project_file.WAIT_SECONDS", 0.05)
    first = candidate(1)
    with closing(sqlite3.connect(project)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = refused(project, use=str(first))
    assert error.code is ErrorCode.OUTPUT_IN_USE
    assert "another window" in error.sentence
    assert ask(project, use=str(first)).current == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions that bind")
def test_a_read_only_project_is_read_and_not_written(project, candidate) -> None:
    first = candidate(1)
    project.chmod(0o444)
    error = refused(project, use=str(first))
    assert error.code is ErrorCode.OUTPUT_UNWRITABLE
    assert "folder of your own" in error.remedy


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("database or disk is full", ErrorCode.DISK_FULL),
        ("attempt to write a readonly database", ErrorCode.OUTPUT_UNWRITABLE),
        ("disk I/O error", ErrorCode.OUTPUT_UNWRITABLE),
    ],
)
def test_what_fails_in_writing_leaves_the_project_as_it_was(project, candidate, monkeypatch, text, code) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError(text)

    monkeypatch.setattr(versions, "_point_to", fail)
    assert refused(project, use=str(candidate(1))).code is code


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_killed_while_promoting_nothing_is_half_promoted(project, candidate) -> None:
    ask(project, use=str(candidate(1)))
    before, second = ask(project), candidate(2)
    child = os.fork()
    if child == 0:
        versions._touch = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        ask(project, use=str(second))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert ask(project) == before
    assert ask(project, use=str(second)).current == 2


def test_the_command_line_lists_uses_and_forgets(project, candidate) -> None:
    def say(*arguments: str) -> str:
        result = CliRunner().invoke(commands, ["models", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert "No version" in say("history", str(project))
    assert "* 1: Base 1" in say("use", str(project), str(candidate(1)))
    assert "here: IoU 0.500 -> 0.700 (+0.100 to +0.300), object F1 0.480 -> 0.740" in say("history", str(project))
    say("use", str(project), "0")
    result = from_json(VersionsResult, json.loads(say("forget", str(project), "1", "--json")))
    assert [each.number for each in result.versions] == [0]
    assert result.current == 0
