"""The picture of an unfinished run: right where strips are finished, transparent elsewhere, never in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from conftest import CancelAfter
from orthomask.engine import predict
from orthomask.engine.progress import Progress
from orthomask.engine.runs import preview, runs
from orthomask.engine.runs.cogs import Frame
from orthomask.protocol import Cancelled, ClassInfo, Existing, Image, PredictRequest

COLOR = (20, 80, 48)
"""Of the test model's class."""


@pytest.fixture
def request_(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> PredictRequest:
    image = Image(str(make_raster((500, 333))))
    return PredictRequest(
        image, str(tiny), str(tmp_path / "out"), threshold=0.5, existing=Existing.RESUME, window_px=64, overlap_px=16
    )


def stopped(request: PredictRequest, fraction: float) -> tuple[np.ndarray, rasterio.DatasetReader]:
    """The picture `(4, H, W)` of a run that was cancelled there."""
    with pytest.raises(Cancelled):
        predict.run(request, CancelAfter(fraction))
    with rasterio.open(Path(request.output_dir) / runs.WORK / preview.PREVIEW) as dataset:
        return dataset.read(), dataset


@pytest.mark.parametrize("side", [1000, 100])
def test_it_shows_objects_of_finished_strips_in_their_colour_also_after_a_resume(
    request_: PredictRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(preview, "REST", 0)
    monkeypatch.setattr(preview, "PREVIEW_PX", side)
    whole = predict.run(replace(request_, output_dir=str(tmp_path / "whole")), Progress())
    step = max(1, 500 // side)
    with rasterio.open(whole.classes_path) as dataset:
        classes = dataset.read(1)[step // 2 :: step, step // 2 :: step] == 1
        bounds = dataset.bounds
    before, _ = stopped(request_, 0.5)
    after, dataset = stopped(request_, 0.7)
    rows = [int(np.flatnonzero(picture[3].any(axis=1)).max()) + 1 for picture in (before, after)]
    assert 0 < rows[0] < rows[1] < len(classes)
    for picture, finished in zip((before, after), rows):
        shown = picture[3, :finished, : classes.shape[1]] > 0
        np.testing.assert_array_equal(shown, classes[:finished])
        assert set(map(tuple, picture[:3, :finished, : classes.shape[1]][:, shown].T)) == {COLOR}
    assert (dataset.bounds.left, dataset.bounds.top) == (bounds.left, bounds.top)
    assert dataset.res == (0.3 * step, 0.3 * step)
    assert predict.run(request_, Progress()).polygon_count == whole.polygon_count
    assert not (Path(request_.output_dir) / runs.WORK).exists()


def test_the_surer_the_stronger_and_outside_the_region_is_nothing(tmp_path: Path) -> None:
    frame = Frame(3, 2, "EPSG:32645", rasterio.Affine.identity())
    classes = [ClassInfo(1, "one", "#ff0000"), ClassInfo(2, "two", "#00ff00")]
    picture = preview.Preview(tmp_path / "preview.tif", frame, classes, 0.5)
    bands = np.array([[[0, 130, 254], [200, 255, 0]], [[0, 10, 0], [30, 255, 254]]], np.uint8)
    picture.add(0, bands, np.array([[False, False, False], [True, False, False]]))
    picture.write()
    with rasterio.open(tmp_path / "preview.tif") as dataset:
        red, green, _, alpha = dataset.read()
    assert (alpha > 0).tolist() == [[False, True, True], [False, False, True]]
    assert preview.FAINTEST < alpha[0, 1] < alpha[0, 2] == preview.STRONGEST
    assert (red[0, 1:].tolist(), green[1, 2]) == ([255, 255], 255)


def test_a_run_goes_on_where_it_cannot_be_written(request_: PredictRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(request_.output_dir) / runs.WORK / f"{preview.PREVIEW}.partial").mkdir(parents=True)
    assert predict.run(request_, Progress()).polygon_count
