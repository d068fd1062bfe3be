"""Run folders of version 0.5 count as before: a finished run is not run again, an unfinished one goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import CancelAfter
from orthomask.engine import predict
from orthomask.engine.progress import Progress
from orthomask.protocol import Cancelled, Existing, Image, PredictRequest


@pytest.fixture
def request_(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> PredictRequest:
    """Of an image at the model's own resolution, which is read as it is."""
    image = Image(str(make_raster((300, 200))))
    return PredictRequest(image, str(tiny), str(tmp_path / "out"), window_px=64, overlap_px=16)


def as_version_0_5_wrote_it(path: Path) -> None:
    """Take out of a record what version 0.5 did not write."""
    record = json.loads(path.read_text(encoding="utf-8"))
    record.pop("grid", None)
    del record["source"]["center"]
    path.write_text(json.dumps(record), encoding="utf-8")


def test_a_finished_run_is_not_run_again(request_: PredictRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    result = predict.run(request_, Progress())
    as_version_0_5_wrote_it(Path(request_.output_dir) / "run.json")
    monkeypatch.setattr(predict, "_run_strips", lambda *_: pytest.fail("it runs again"))
    assert predict.run(replace(request_, existing=Existing.RESUME), Progress()) == result


def test_an_unfinished_run_goes_on(request_: PredictRequest, tmp_path: Path) -> None:
    whole = predict.run(replace(request_, output_dir=str(tmp_path / "whole")), Progress())
    with pytest.raises(Cancelled):
        predict.run(request_, CancelAfter(0.6))
    as_version_0_5_wrote_it(Path(request_.output_dir) / ".orthomask" / "state.json")
    resumed = predict.run(request_, Progress())
    assert Path(resumed.probabilities_path).read_bytes() == Path(whole.probabilities_path).read_bytes()
