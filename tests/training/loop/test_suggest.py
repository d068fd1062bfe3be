from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
import torch
from click.testing import CliRunner
from evaluation_data import write_boxes, write_image, write_model
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.cli import commands
from orthomask.engine import predict
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    ErrorCode,
    Image,
    OrthomaskError,
    PredictRequest,
    Split,
    SuggestRequest,
    SuggestResult,
    usual_size_m,
)
from orthomask.training.loop import suggest
from orthomask.training.loop.squares import Square, Suggestion
from orthomask.training.loop.suggest import Look

squares = st.lists(
    st.builds(Square, st.integers(0, 30), st.integers(0, 30), st.floats(0, 1), st.floats(0, 1)),
    max_size=40, unique_by=lambda square: (square.row, square.column),
)  # fmt: skip


def areas(path: Path) -> tuple[list[shapely.Geometry], dict[str, list[str]], str]:
    meta, _, geometry, fields = pyogrio.raw.read(path, layer="areas")
    columns = {str(name): list(values) for name, values in zip(meta["fields"], fields)}
    return list(shapely.from_wkb(geometry)), columns, meta["crs"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "CONTEXT_PX", 8)
    monkeypatch.setattr(suggest, "SHORTLIST", 2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that wait for each other are slower on a small network."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def run_on(folder: Path, model: Path) -> Path:
    """A run on 105 by 90 m, about ten seconds less than one of an embedded model."""
    pixels = np.random.default_rng(1).integers(0, 255, (3, 20, 24)).astype(np.uint8)
    write_image(folder / "town.tif", np.kron(pixels, np.ones((1, 9, 9), np.uint8)))
    request = PredictRequest(Image(str(folder / "town.tif")), str(model), str(folder / "run"))
    predict.run(request, Progress())
    return folder / "run"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suggest")
    return run_on(folder, write_model(folder))


@pytest.fixture
def ask(run_dir: Path, tmp_path: Path) -> Callable[..., SuggestResult]:
    def ask(**options: object) -> SuggestResult:
        given = {"run_dir": str(run_dir), "output_path": str(tmp_path / "town.gpkg"), "count": 6, "size_m": 10.0}
        return suggest.run(SuggestRequest(**{**given, **options}), Progress())  # type: ignore[arg-type]

    return ask


@given(squares, st.integers(0, 12))
def test_squares_are_spread_in_their_order(given_: list[Square], count: int) -> None:
    found = suggest.spread(given_, [], count)
    assert len(found) <= count
    for number, one in enumerate(found):
        for other in found[:number]:
            assert math.hypot(one.row - other.row, one.column - other.column) >= suggest.APART
    if len(found) < count:  # every other one is too near
        assert all(any(not suggest.are_apart(one, other) for other in found) for one in given_)


@given(squares.filter(len), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_the_hardest_square_comes_first_and_all_are_apart(given_: list[Square], count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    looks = [
        Look(float(change), features) for change, features in zip(rng.random(len(given_)), rng.random((len(given_), 4)))
    ]
    chosen = suggest.farthest(given_, looks, [], count)
    assert len(set(chosen)) == len(chosen) <= count
    hardness = [
        np.mean([s.entropy <= one.entropy for s in given_]) + np.mean([each.change <= look.change for each in looks])
        for one, look in zip(given_, looks)
    ]
    assert hardness[chosen[0]] == max(hardness)
    for number, one in enumerate(chosen):
        assert all(suggest.are_apart(given_[one], given_[other]) for other in chosen[:number])


def test_of_two_equally_hard_squares_the_one_unlike_the_first_is_taken() -> None:
    given_ = [Square(0, 0, 0.9, 0), Square(0, 5, 0.5, 0), Square(0, 10, 0.5, 0)]
    looks = [Look(0.9, np.zeros(2)), Look(0.5, np.zeros(2)), Look(0.5, np.ones(2))]
    assert suggest.farthest(given_, looks, [], 2) == [0, 2]


def test_squares_lie_on_the_run_with_splits_and_reasons(ask: Callable[..., SuggestResult], run_dir: Path) -> None:
    result = ask()
    drawn, columns, crs = areas(Path(result.areas_path))
    with rasterio.open(run_dir / "probabilities.tif") as dataset:
        assert rasterio.crs.CRS.from_user_input(crs) == dataset.crs
        extent, pixel_area = shapely.box(*dataset.bounds), -dataset.transform.determinant
    assert result.count == len(drawn) == 6
    assert sorted(columns["split"]) == ["train"] * 5 + ["validation"]
    assert set(columns["state"]) == {"todo"}
    assert all(columns["reason"])
    for number, square in enumerate(drawn):
        assert extent.buffer(1e-6).contains(square)
        assert square.area == pytest.approx(20**2 * pixel_area)  # 10 m at 0.5 m
        assert not any(square.intersects(other) for other in drawn[:number])


def test_a_second_round_leaves_out_what_is_there(ask: Callable[..., SuggestResult]) -> None:
    ask()
    drawn, columns, _ = areas(Path(ask(seed=2).areas_path))
    assert len(drawn) == 12
    assert columns["name"] == [f"square {number}" for number in range(1, 13)]
    assert not any(one.overlaps(other) or one.equals(other) for n, one in enumerate(drawn) for other in drawn[:n])


def test_more_than_fit_is_a_warning_and_none_an_error(ask: Callable[..., SuggestResult], tmp_path: Path) -> None:
    assert "squares fit" in ask(count=100, size_m=20.0).warnings[0]
    with pytest.raises(OrthomaskError) as caught:
        ask(size_m=400.0, output_path=str(tmp_path / "other.gpkg"))
    assert caught.value.code is ErrorCode.AREAS_EMPTY
    assert not (tmp_path / "other.gpkg").exists()


def test_what_is_no_run_or_has_lost_its_model_is_refused(
    ask: Callable[..., SuggestResult], run_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(OrthomaskError, match="not the folder of a finished run"):
        ask(run_dir=str(tmp_path))
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "probabilities.tif").touch()
    record = json.loads((run_dir / "run.json").read_text())
    record["model"]["sha256"] = "0" * 64
    (changed / "run.json").write_text(json.dumps(record))
    with pytest.raises(OrthomaskError, match="has changed since the run"):
        ask(run_dir=str(changed))


def test_the_random_quarter_is_of_all_squares_and_spread_over_the_order(ask: Callable[..., SuggestResult]) -> None:
    path = Path(ask(count=8).areas_path)
    ask(count=3, seed=2)  # 11 squares: too few for a third random one
    ask(count=1, seed=3)
    _, columns, _ = areas(path)
    splits = [split for _, split in sorted(zip(columns["rank"], columns["split"]))]
    assert columns["rank"] == list(range(1, 13))
    assert splits[:8] == ["train", "train", "validation", "train", "train", "train", "test", "train"]
    assert splits[8:] == ["train"] * 3 + ["validation"]
    assert [why.startswith("Drawn at random") for why in columns["reason"]] == [s != "train" for s in columns["split"]]


def test_hard_and_random_squares_are_mixed() -> None:
    hard = [Suggestion(Square(0, n, 0, 0), Split.TRAIN, "") for n in range(6)]
    drawn = [Suggestion(Square(1, n, 0, 0), Split.TEST, "") for n in range(2)]
    assert [each.square.row for each in suggest.mixed(drawn, hard)] == [0, 0, 1, 0, 0, 0, 1, 0]
    assert suggest.mixed([], hard) == hard


def test_a_project_from_before_squares_gets_their_attributes(ask: Callable[..., SuggestResult], tmp_path: Path) -> None:
    write_boxes(tmp_path / "town.gpkg", "areas", [(0, 0, 20, 20)], name=["area 1"], split=["train"])
    ask(count=2)
    _, columns, _ = areas(tmp_path / "town.gpkg")
    assert columns["name"] == ["area 1", "square 2", "square 3"]
    assert columns["state"] == [None, "todo", "todo"]
    assert {"reason", "rank", "seconds"} <= set(columns)


def test_a_project_of_another_image_or_none_is_refused(ask: Callable[..., SuggestResult], tmp_path: Path) -> None:
    path = write_boxes(tmp_path / "town.gpkg", "areas", [(5000, 0, 5020, 20)], name=["area 1"], split=["train"])
    write_boxes(path, "labels", [(5000, 0, 5020, 20)])
    before = path.read_bytes()
    with pytest.raises(OrthomaskError, match=r"Nothing in “town.gpkg” lies on the image of this run") as caught:
        ask()
    assert caught.value.code is ErrorCode.LABELS_OUTSIDE
    assert path.read_bytes() == before
    other = write_boxes(tmp_path / "other.gpkg", "roads", [(0, 0, 20, 20)])
    with pytest.raises(OrthomaskError, match="no layer “areas”"):
        ask(output_path=str(other))


def test_without_the_image_the_probabilities_alone_say_where(
    ask: Callable[..., SuggestResult], run_dir: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(run_dir, tmp_path / "moved"))
    record = json.loads((moved / "run.json").read_text())
    record["request"]["image"]["path"] = str(tmp_path / "gone.tif")
    (moved / "run.json").write_text(json.dumps(record))
    result = ask(run_dir=str(moved))
    assert result.count == 6
    assert "by the run's probabilities alone" in result.warnings[0]


def test_squares_are_as_large_as_suits_the_model(tmp_path: Path) -> None:
    assert [usual_size_m(gsd_m) for gsd_m in (0.15, 1.0, 10.0)] == [40, 40, 400]
    with pytest.raises(OrthomaskError, match="out of range"):
        SuggestRequest("run", "town.gpkg", size_m=0.0)


def test_the_command_prints_json(run_dir: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "town.gpkg")
    done = CliRunner().invoke(
        commands, ["suggest", str(run_dir), "--count", "2", "--size-m", "10", "--out", out, "--json"]
    )
    assert json.loads(done.output) == {"areas_path": out, "count": 2, "warnings": []}
    wrong = CliRunner().invoke(commands, ["suggest", str(tmp_path), "--out", out])
    assert (wrong.exit_code, "not the folder of a finished run" in wrong.output) == (2, True)
