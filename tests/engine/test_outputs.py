"""Files and folders are whole or not there, and what was there before is never lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orthomask.engine.outputs import building, write_atomically
from orthomask.protocol import ErrorCode, OrthomaskError


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A folder with something in it."""
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    return folder


def refuse(monkeypatch: pytest.MonkeyPatch, *wanted: str) -> None:
    """Let renaming to these names fail, as on a file system that has gone read-only."""
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name in wanted:
            raise OSError(errno.EROFS, "read-only")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


def test_a_folder_takes_the_place_of_the_old_one(report: Path) -> None:
    (report / "mine.txt").write_text("mine")
    with building(report, keep=lambda name: name == "mine.txt") as folder:
        (folder / "new.txt").write_text("new")
        assert (report / "old.txt").exists()
    assert sorted(path.name for path in report.iterdir()) == ["mine.txt", "new.txt"]
    assert list(report.parent.iterdir()) == [report]


def test_a_folder_that_is_given_up_leaves_the_old_one(report: Path) -> None:
    def interrupted() -> None:
        with building(report) as folder:
            (folder / "new.txt").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in report.iterdir()] == ["old.txt"]
    assert list(report.parent.iterdir()) == [report]


def test_a_folder_that_can_neither_be_replaced_nor_put_back_is_not_deleted(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OrthomaskError), building(report):
        refuse(monkeypatch, "report")
    assert [path.read_text() for path in report.parent.rglob("old.txt")] == ["old"]


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "old.txt")
    with pytest.raises(OrthomaskError) as caught:
        write_atomically(report / "old.txt", b"new")
    assert caught.value.code is ErrorCode.OUTPUT_UNWRITABLE
    assert (report / "old.txt").read_text() == "old"
    assert list(report.iterdir()) == [report / "old.txt"]
