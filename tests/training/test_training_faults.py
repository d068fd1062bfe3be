"""What happens to a training on its way: every file whole, a cause in words, the same model when it goes on."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import rasterio
import safetensors.torch
import torch
from faults import AtOperation, FullAt, KilledAt, PausedAt, run_in_child, start_in_child
from hypothesis import settings
from test_faults import cut, damage, wait_until
from trainings import training, write_pictures

from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, Existing, LabelledData, OrthomaskError, TrainRequest, TrainResult
from orthomask.training.fit import train

OPERATIONS = 45
"""More often than this, a training of these tests changes no file."""
PLACES = 3 if settings.default.max_examples <= 100 else OPERATIONS
"""At how many of these changes a training is disturbed: `make fuzz` tries each."""
CLOCKED = {"images_per_second", "waiting_share"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the processes that are disturbed."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LabelledData:
    return write_pictures(tmp_path_factory.mktemp("data"))


def request_for(data: LabelledData, folder: Path) -> TrainRequest:
    return training(data, folder, epochs=2, steps=2, existing=Existing.RESUME)


@pytest.fixture(scope="module")
def undisturbed(data: LabelledData, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train.run(request_for(data, tmp_path_factory.mktemp("undisturbed")), Progress())


def curve(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name not in CLOCKED} for row in csv.DictReader(file)]


def expect_whole_files(folder: Path) -> None:
    """Whatever stands under a final name can be read to its end."""
    for path in folder.glob("*.safetensors"):
        bundle.load(str(path)).model()
    for path in folder.glob("*.ckpt"):
        assert torch.load(path, map_location="cpu", weights_only=True)["scores"]
    for path in folder.glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))
    for path in folder.glob("*.png"):
        with rasterio.open(path) as picture:
            assert picture.read().any()
    if (folder / "metrics.csv").exists():
        assert all(None not in row.values() for row in curve(folder))


def expect_the_same_when_it_goes_on(request: TrainRequest, undisturbed: TrainResult) -> None:
    result = train.run(request, Progress())
    assert (result.scores, result.best_epoch, result.threshold) == (
        undisturbed.scores, undisturbed.best_epoch, undisturbed.threshold,
    )  # fmt: skip
    one, other = (safetensors.torch.load_file(each.model_path) for each in (result, undisturbed))
    assert all(torch.equal(one[name], other[name]) for name in other)
    folder = Path(request.output_dir)
    expect_whole_files(folder)
    assert curve(folder) == curve(Path(undisturbed.run_dir))
    assert {path.name for path in folder.iterdir()} == {path.name for path in Path(undisturbed.run_dir).iterdir()}


@pytest.mark.parametrize("error", [0, errno.ENOSPC])
@pytest.mark.parametrize("place", range(PLACES))
def test_killed_or_no_space_at_any_change_of_a_file(
    data: LabelledData, undisturbed: TrainResult, tmp_path: Path, place: int, error: int
) -> None:
    request = request_for(data, tmp_path / "out")
    ended = run_in_child(AtOperation(2 + OPERATIONS * place // PLACES, error), request)
    assert ended.status == -9 or ended.answer
    if "error" in ended.answer:
        assert ended.answer["error"]["code"] == ErrorCode.DISK_FULL, ended
        assert ended.answer["error"]["remedy"]
    expect_whole_files(tmp_path / "out")
    expect_the_same_when_it_goes_on(request, undisturbed)


def test_a_training_makes_no_more_changes_than_are_disturbed(data: LabelledData, tmp_path: Path) -> None:
    assert "result" in run_in_child(AtOperation(OPERATIONS), request_for(data, tmp_path / "out")).answer


@pytest.mark.parametrize(("fraction", "size"), [(0.05, 0), (0.05, 2000), (0.3, 30_000), (0.8, 2000)])
def test_disk_full_at_any_stage(
    data: LabelledData, undisturbed: TrainResult, tmp_path: Path, fraction: float, size: int
) -> None:
    request = request_for(data, tmp_path / "out")
    ended = run_in_child(FullAt(fraction, size), request)
    assert ended.answer["error"]["code"] == ErrorCode.DISK_FULL, ended
    assert "space" in ended.answer["error"]["sentence"]
    expect_whole_files(tmp_path / "out")
    expect_the_same_when_it_goes_on(request, undisturbed)


def test_two_trainings_in_one_folder_are_kept_apart_and_a_killed_one_bars_nobody(
    data: LabelledData, undisturbed: TrainResult, tmp_path: Path
) -> None:
    request, pause = request_for(data, tmp_path / "out"), tmp_path / "pause"
    process, _ = start_in_child(PausedAt(0.3, pause), request)
    wait_until(pause.exists)
    for existing in Existing:
        with pytest.raises(OrthomaskError) as caught:
            train.run(replace(request, existing=existing), Progress())
        assert caught.value.code is ErrorCode.OUTPUT_IN_USE
        assert caught.value.remedy
    process.kill()
    process.join()
    expect_the_same_when_it_goes_on(request, undisturbed)


def test_processes_that_make_chips_end_with_a_training_that_is_killed(data: LabelledData, tmp_path: Path) -> None:
    request, pause = training(data, tmp_path / "out", workers=1), tmp_path / "pause"
    process, _ = start_in_child(PausedAt(0.3, pause), request)
    wait_until(pause.exists)
    makers = psutil.Process(process.pid).children(recursive=True)
    assert makers
    process.kill()
    process.join()
    assert psutil.wait_procs(makers, timeout=120)[1] == []


def test_a_picture_that_is_damaged_while_a_training_is_interrupted(data: LabelledData, tmp_path: Path) -> None:
    shutil.copytree(data.root, tmp_path / "data")
    request = request_for(replace(data, root=str(tmp_path / "data")), tmp_path / "out")
    assert run_in_child(KilledAt(0.8), request).status == -9
    picture = sorted((tmp_path / "data" / "train" / "images").iterdir())[2]
    for spoil in (damage, cut):
        spoil(picture)
        with pytest.raises(OrthomaskError) as caught:
            train.run(request, Progress())
        assert caught.value.code is ErrorCode.IMAGE_UNREADABLE
        assert picture.name in caught.value.sentence
    expect_whole_files(tmp_path / "out")
