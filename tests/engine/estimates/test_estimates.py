"""What a run takes is known before it: from a calibration that is kept, and from finished runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from conftest import CancelAfter
from orthomask.engine import check, predict
from orthomask.engine.compute import devices
from orthomask.engine.estimates import estimates, memory, speeds
from orthomask.engine.estimates.speeds import Speed
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    WINDOW_PX,
    CalibrateRequest,
    Cancelled,
    CheckRequest,
    CheckResult,
    Existing,
    Image,
    PredictRequest,
    Workload,
)

CPU = devices.choose("cpu")
PRECISION = devices.precision_of(CPU.torch)


@pytest.fixture
def opened(tiny: Path) -> bundle.Bundle:
    return bundle.load(str(tiny))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many windows each call of the network was given."""
    made: list[int] = []
    call = devices.Predictor.__call__

    def counted(self: devices.Predictor, windows: Tensor) -> Tensor:
        made.append(len(windows))
        return call(self, windows)

    monkeypatch.setattr(devices.Predictor, "__call__", counted)
    return made


def checked(image: Path, model: Path, *, calibrate: bool = False) -> CheckResult:
    return check.run(CheckRequest(Image(str(image)), str(model), calibrate=calibrate), Progress())


def predicted(image: Path, model: Path, out: Path) -> bytes:
    request = PredictRequest(Image(str(image)), str(model), str(out), existing=Existing.OVERWRITE)
    return Path(predict.run(request, Progress()).probabilities_path).read_bytes()


def test_a_check_measures_nothing_until_it_is_asked_to(
    make_raster: Callable[..., Path], tiny: Path, calls: list[int]
) -> None:
    image = make_raster((700, 900))
    first = checked(image, tiny)
    assert (first.seconds, first.memory_mb, calls) == (None, None, [])
    assert first.workload is not None
    assert first.workload.windows == first.windows == 6
    found = estimates.run(CalibrateRequest(str(tiny), first.workload), Progress())
    assert calls
    calls.clear()
    again = checked(image, tiny, calibrate=True)
    assert (again.seconds, again.memory_mb, again.workload) == (found.seconds, found.memory_mb, None)
    assert calls == [], "what was measured is kept"


def test_a_check_can_calibrate_by_itself(make_raster: Callable[..., Path], tiny: Path) -> None:
    result = checked(make_raster((300, 300)), tiny, calibrate=True)
    assert result.seconds is not None
    assert result.seconds >= estimates.START_SECONDS
    assert result.memory_mb is not None
    assert memory.BASE_MB < result.memory_mb < 2 * memory.BASE_MB
    assert result.workload is None


def test_a_cancelled_calibration_keeps_nothing(tiny: Path, opened: bundle.Bundle) -> None:
    with pytest.raises(Cancelled):
        estimates.run(CalibrateRequest(str(tiny), Workload(10, 5.0)), CancelAfter(0.05))
    assert speeds.known(opened, CPU, PRECISION) is None


def test_a_calibration_changes_no_result(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> None:
    image = make_raster((160, 140))
    before = predicted(image, tiny, tmp_path / "out")
    checked(image, tiny, calibrate=True)
    assert predicted(image, tiny, tmp_path / "out") == before


def test_a_finished_run_is_better_than_a_calibration(
    make_raster: Callable[..., Path], tiny: Path, opened: bundle.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "START_SECONDS", 0.0)
    image = make_raster(np.full((3, 700, 900), 90, np.uint8))
    speeds.keep(opened, CPU, PRECISION, Speed(1000.0, False, 12.0))
    predicted(image, tiny, tmp_path / "out")
    assert speeds.known(opened, CPU, PRECISION) == Speed(1000.0, False, 12.0), "six windows say little"
    monkeypatch.setattr(estimates, "FEW", 6)
    predicted(image, tiny, tmp_path / "out")
    learnt = speeds.known(opened, CPU, PRECISION)
    seconds = json.loads((tmp_path / "out/run.json").read_text())["result"]["seconds"]
    assert learnt == Speed(pytest.approx(seconds / 6, rel=0.1, abs=0.002), True, 12.0)
    assert checked(image, tiny).seconds == pytest.approx(seconds, rel=0.2, abs=0.1)


def test_later_runs_count_as_much_as_all_before(opened: bundle.Bundle) -> None:
    predictor = devices.Predictor(torch.nn.Identity(), CPU, "fp32")
    for seconds in (100.0, 200.0):
        estimates.learn(opened, predictor, 100, seconds + estimates.START_SECONDS)
    assert speeds.known(opened, CPU, "fp32") == Speed(1.5, True)


def test_what_is_kept_counts_for_its_model_device_precision_and_version(
    opened: bundle.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = Speed(0.25, False, 40.0)
    speeds.keep(opened, CPU, "fp32", speed)
    assert speeds.known(opened, CPU, "fp32") == speed
    assert speeds.known(opened, CPU, "bf16") is None
    assert speeds.known(opened, replace(CPU, name="Another processor"), "fp32") is None
    assert speeds.known(replace(opened, sha256="00" * 32), CPU, "fp32") is None
    monkeypatch.setattr(speeds, "version", lambda: "99.0")
    assert speeds.known(opened, CPU, "fp32") is None


def test_the_file_does_not_grow_for_ever(opened: bundle.Bundle) -> None:
    for number in range(speeds.MOST + 5):
        speeds.keep(replace(opened, sha256=str(number)), CPU, "fp32", Speed(1.0))
    assert len(json.loads(speeds.path().read_text())) == speeds.MOST
    assert speeds.known(replace(opened, sha256="3"), CPU, "fp32") is None
    assert speeds.known(replace(opened, sha256=str(speeds.MOST + 4)), CPU, "fp32") == Speed(1.0)


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"%s": {"seconds": 0}}', '{"%s": {"speed": 1}}', '{"%s": 3}'])
def test_a_damaged_file_is_as_good_as_none(opened: bundle.Bundle, content: str) -> None:
    speeds.keep(opened, CPU, "fp32", Speed(1.0))
    (key,) = json.loads(speeds.path().read_text())
    speeds.path().write_text(content.replace("%s", key))
    assert speeds.known(opened, CPU, "fp32") is None
    speeds.keep(opened, CPU, "fp32", Speed(2.0))
    assert speeds.known(opened, CPU, "fp32") == Speed(2.0)


def test_where_nothing_can_be_kept_it_is_measured_anew(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(speeds, "path", lambda: tmp_path / "file" / "speeds.json")
    found = estimates.run(CalibrateRequest(str(tiny), Workload(10, 5.0)), Progress())
    assert found.seconds is not None


@given(windows=st.integers(1, 100_000), seconds=st.floats(0.001, 100))
def test_time_grows_with_the_windows(windows: int, seconds: float) -> None:
    network, run = (estimates.seconds_of(Workload(windows, 0), Speed(seconds, of_runs)) for of_runs in (False, True))
    assert run < network
    assert run == pytest.approx(estimates.START_SECONDS + windows * seconds)


def test_batches_are_filled_up(make_raster: Callable[..., Path], opened: bundle.Bundle) -> None:
    many = replace(CPU, torch=torch.device("mps"))
    with check.open_image(Image(str(make_raster((700, 900))))) as source:
        lattice = source.lattice(0.3, WINDOW_PX, 128)
        selection = check.select(lattice, None)
        assert [len(columns) for columns in selection.columns] == [3, 3]
        assert estimates.workload(source, lattice, selection, opened, CPU).windows == 6
        assert estimates.workload(source, lattice, selection, opened, many).windows == 8


def test_a_window_that_is_too_much_is_not_guessed_at(
    make_raster: Callable[..., Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(torch.nn.Module):
        def forward(self, windows: Tensor) -> Tensor:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(devices, "prepare", lambda *_: devices.Predictor(Full(), CPU, PRECISION))
    result = checked(make_raster(), tiny, calibrate=True)
    assert (result.seconds, result.memory_mb) == (None, None)
    assert result.lights


def test_a_batch_that_is_too_much_is_halved(opened: bundle.Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Full(torch.nn.Module):
        def forward(self, windows: Tensor) -> Tensor:
            sizes.append(len(windows))
            if len(windows) > 2:
                raise RuntimeError("CUDA out of memory")
            return windows

    monkeypatch.setitem(devices.BATCH, "cpu", 8)
    monkeypatch.setattr(devices.Device, "lanes", 1)
    monkeypatch.setattr(devices, "prepare", lambda *_: devices.Predictor(Full(), CPU, PRECISION))
    estimates.calibrate(opened, CPU, Progress())
    assert sizes[:5] == [1, 1, 8, 4, 2]
    assert set(sizes[5:]) == {2}
    assert speeds.known(opened, CPU, PRECISION) is not None


def test_memory_that_will_not_do_is_a_light_with_a_remedy(
    make_raster: Callable[..., Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_raster((300, 300))
    monkeypatch.setattr(memory, "free_mb", lambda: 100.0)
    light = checked(image, tiny, calibrate=True).lights[-1]
    assert (light.name, light.level) == ("memory", "amber")
    assert "0.1 GB are free" in light.reason
    assert "Close other programs" in light.reason
    monkeypatch.setattr(memory, "free_mb", lambda: None)
    assert checked(image, tiny).lights[-1].name != "memory"


def test_wider_regions_take_more_memory_and_longer_ones_hardly(make_raster: Callable[..., Path], tiny: Path) -> None:
    def strip_mb(height: int, width: int) -> float:
        work = checked(make_raster((height, width)), tiny).workload
        assert work is not None
        return work.strip_mb

    pixels_mb = 6 * 512 * 512 * (5 + memory.TRACING) / 1e6  # they may stay in GDAL's cache, and are traced together
    assert strip_mb(512, 6 * 512) > strip_mb(512, 512) + 5
    assert strip_mb(6 * 512, 512) < strip_mb(512, 512) + pixels_mb


def test_tensors_that_live_at_the_same_time_are_counted() -> None:
    size_mb = 1000 * 1000 * 4 / 1e6
    numbers = torch.zeros(1000, 1000)
    with memory._Live() as live:
        first = numbers + 1
        second = first * 2
        del first
        third = second.view(-1)  # the same memory
        fourth = third + 1
    assert live.peak / 1e6 == pytest.approx(2 * size_mb)
    assert len(fourth) == 1_000_000


@pytest.mark.skipif("bf16" not in devices.precisions_of(CPU.torch), reason="this processor does not compute in bf16")
def test_half_the_precision_takes_half_the_memory(opened: bundle.Bundle) -> None:
    full, half = (memory.activations_mb(devices.prepare(opened, CPU, name), 3) for name in ("fp32", "bf16"))
    assert full > WINDOW_PX**2 * 8 * 4 / 1e6, "at least the eight channels of its first layer"
    assert half == pytest.approx(full / 2, rel=0.2)


def test_free_memory_is_told_in_megabytes() -> None:
    free = memory.free_mb()
    assert free is None or 10 < free < 1e8
