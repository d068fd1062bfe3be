from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.engine import predict
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, Image, OrthomaskError, PredictRequest, SuggestRequest, SuggestResult
from orthomask.training.loop import suggest
from orthomask.training.loop.suggest import Look, Square

SAMPLE = Path(__file__).resolve().parents[3] / "resources" / "sample" / "banepa.tif"

squares = st.lists(
    st.builds(Square, st.integers(0, 30), st.integers(0, 30), st.floats(0, 1), st.floats(0, 1)),
    max_size=40, unique_by=lambda square: (square.row, square.column),
)  # fmt: skip


def areas(path: Path) -> tuple[list[shapely.Geometry], dict[str, list[str]], str]:
    meta, _, geometry, fields = pyogrio.raw.read(path, layer="areas")
    columns = {str(name): list(values) for name, values in zip(meta["fields"], fields)}
    return list(shapely.from_wkb(geometry)), columns, meta["crs"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the embedded model on a part of the sample."""
    folder = tmp_path_factory.mktemp("suggest")
    with rasterio.open(SAMPLE) as dataset:
        part = rasterio.windows.Window(0, 0, 1200, 1000)
        profile = {**dataset.profile, "width": 1200, "height": 1000, "transform": dataset.window_transform(part)}
        with rasterio.open(folder / "part.tif", "w", **profile) as out:
            out.write(dataset.read(window=part))
    predict.run(PredictRequest(Image(str(folder / "part.tif")), "buildings", str(folder / "run")), Progress())
    return folder / "run"


@pytest.fixture
def ask(run_dir: Path, tmp_path: Path) -> Callable[..., SuggestResult]:
    def ask(**options: object) -> SuggestResult:
        given = {"run_dir": str(run_dir), "output_path": str(tmp_path / "town.gpkg"), "count": 6, "size_m": 15.0}
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
        assert square.area == pytest.approx(50**2 * pixel_area)  # 15 m at 0.3 m
        assert not any(square.intersects(other) for other in drawn[:number])


def test_a_second_round_leaves_out_what_is_there(ask: Callable[..., SuggestResult]) -> None:
    ask()
    drawn, columns, _ = areas(Path(ask(seed=2).areas_path))
    assert len(drawn) == 12
    assert columns["name"] == [f"square {number}" for number in range(1, 13)]
    assert not any(one.overlaps(other) or one.equals(other) for n, one in enumerate(drawn) for other in drawn[:n])


def test_more_than_fit_is_a_warning_and_none_an_error(ask: Callable[..., SuggestResult], tmp_path: Path) -> None:
    assert "squares fit" in ask(count=900).warnings[0]
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
    record = json.loads((run_dir / "run.json").read_text())
    record["model"]["sha256"] = "0" * 64
    (changed / "run.json").write_text(json.dumps(record))
    with pytest.raises(OrthomaskError, match="has changed since the run"):
        ask(run_dir=str(changed))
