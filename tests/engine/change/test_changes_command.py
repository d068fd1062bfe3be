"""`orthomask changes`: the same request from a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import towns
from click.testing import CliRunner, Result

from orthomask.cli import commands

HOUSES = [(number, towns.square(20 + 30 * (number % 3), 20 + 30 * (number // 3))) for number in range(9)]


def changes(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["changes", *arguments])


def test_dates_layers_and_images_as_options(tmp_path: Path) -> None:
    before = towns.write(tmp_path / "before.gpkg", HOUSES)
    after = towns.write_run(tmp_path / "after", HOUSES[:-1], date="2020-05")
    town = towns.write(tmp_path / "town.gpkg", [(0, towns.square(10, 10, 100))], crs="EPSG:32645")
    options = ["--date", "2012", "--image", "-", "--complete", town, "--no-register", "--out", str(tmp_path / "out")]
    result = changes(f"{before}|houses", after, *options)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "Step 1: shift not known" in lines
    assert [line.split()[:2] for line in lines if line.endswith("m²")] == [["8", "unchanged"], ["1", "removed"]]
    assert lines[-2:] == [str(tmp_path / "out" / "changes.gpkg"), str(tmp_path / "out" / "changes.html")]


def test_an_error_is_a_sentence_and_a_remedy(tmp_path: Path) -> None:
    before = towns.write(tmp_path / "before.gpkg", HOUSES)
    result = changes(before, str(tmp_path / "nothing.gpkg"), "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["remedy"] == "Check the path."
    assert changes(before, before, "--out", str(tmp_path / "out")).exit_code == 2
    assert "2 dates, but 3" in changes("a", "b", *["--date", "2012"] * 3, "--out", "c").output
