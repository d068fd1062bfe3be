"""What happens to a run, at every stage: nothing half-written, a cause in words, and the same results when repeated."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from faults import (
    AtOperation,
    FullAt,
    KilledAt,
    MemoryAt,
    PausedAt,
    Reaching,
    Results,
    expect_nothing_half_written,
    expect_the_same_when_repeated,
    results,
    run_in_child,
    start_in_child,
)
from hypothesis import settings
from stalling_server import stalling

from conftest import UTM, scene
from orthomask.engine import outputs, predict
from orthomask.engine.progress import Progress
from orthomask.engine.shapes import polygons
from orthomask.protocol import (
    Cancelled,
    ErrorCode,
    Existing,
    Image,
    OrthomaskError,
    PolygonizeRequest,
    PolygonOptions,
    PredictRequest,
)

OPERATIONS = 87
"""More often than this, a run of `request_` changes no file."""
STEP = 9 if settings.default.max_examples <= 100 else 1
"""`make test` disturbs every ninth operation, `make fuzz` each."""
STAGES = {
    "reading the image": 0.0, "the model": 0.01, "the first windows": 0.1, "strips": 0.6, "classes.tif": 0.88,
    "probabilities.tif": 0.9, "polygons.gpkg": 0.925,
}  # fmt: skip
"""Fractions of a run at which its stages begin."""
REQUEST = PredictRequest(Image("image.tif"), "model", "out", window_px=96, overlap_px=32, polygons=PolygonOptions(0, 0))
GRID = Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)


@pytest.fixture
def request_(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> PredictRequest:
    image = make_raster((256, 200), tiled=True, blockxsize=64, blockysize=64)
    return replace(REQUEST, image=Image(str(image)), model=str(tiny), output_dir=str(tmp_path / "out"))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as of `request_`; no test changes it."""
    path = tmp_path_factory.mktemp("image") / "image.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 256, "width": 200, "dtype": "uint8", "crs": UTM}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    with rasterio.open(path, "w", **profile, **tiles, transform=GRID) as dataset:
        dataset.write(scene(256, 200))
    return path


@pytest.fixture
def still(request_: PredictRequest, image: Path) -> PredictRequest:
    """The run whose undisturbed results are known."""
    return replace(request_, image=Image(str(image)))


@pytest.fixture(scope="module")
def undisturbed(image: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    predict.run(replace(REQUEST, image=Image(str(image)), model=str(tiny), output_dir=str(out)), Progress())
    return results(out)


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_stage(still: PredictRequest, undisturbed: Results, stage: str) -> None:
    assert run_in_child(KilledAt(STAGES[stage]), still).status == -9
    expect_nothing_half_written(Path(still.output_dir), undisturbed)
    expect_the_same_when_repeated(still, undisturbed)


@pytest.mark.parametrize("number", range(1, OPERATIONS, STEP))
def test_killed_before_any_change_of_a_file(still: PredictRequest, undisturbed: Results, number: int) -> None:
    ended = run_in_child(AtOperation(number), still)
    assert ended.status == -9 or "result" in ended.answer
    expect_nothing_half_written(Path(still.output_dir), undisturbed)
    expect_the_same_when_repeated(still, undisturbed)


def test_a_run_has_no_more_operations_than_are_disturbed(request_: PredictRequest) -> None:
    assert "result" in run_in_child(AtOperation(OPERATIONS), request_).answer
    assert run_in_child(AtOperation(OPERATIONS - 30), replace(request_, output_dir=request_.output_dir + "2")).status


@pytest.mark.parametrize("number", range(1, OPERATIONS, STEP))
def test_no_space_for_any_change_of_a_file(still: PredictRequest, undisturbed: Results, number: int) -> None:
    ended = run_in_child(AtOperation(number, errno.ENOSPC), still)
    if "error" in ended.answer:
        assert ended.answer["error"]["code"] == ErrorCode.DISK_FULL
        assert "space" in ended.answer["error"]["sentence"]
        assert ended.answer["error"]["remedy"]
    expect_nothing_half_written(Path(still.output_dir), undisturbed)
    expect_the_same_when_repeated(still, undisturbed)


@pytest.mark.parametrize("stage", list(STAGES)[1:])
@pytest.mark.parametrize("size", [0, 3000])
def test_disk_full_at_any_stage(still: PredictRequest, undisturbed: Results, stage: str, size: int) -> None:
    ended = run_in_child(FullAt(STAGES[stage], size), still)
    assert ended.answer["error"]["code"] == ErrorCode.DISK_FULL, ended
    assert ended.answer["error"]["remedy"]
    expect_nothing_half_written(Path(still.output_dir), undisturbed)
    expect_the_same_when_repeated(still, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[PredictRequest], Progress], Callable[[], object]]]:
    """A folder on a disk of 80 kB, what fills it up, and what gives it more; a limit where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80k", "none", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        yield folder, FullAt(0.02, 4000), lambda: None
        return
    more = ["mount", "-o", "remount,size=64m", str(folder)]
    yield folder, KilledAt(2.0), lambda: subprocess.run(more, check=True)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_small_disk(
    still: PredictRequest,
    undisturbed: Results,
    small_disk: tuple[Path, Callable[[PredictRequest], Progress], Callable[[], object]],
) -> None:
    folder, fault, free = small_disk
    request = replace(still, output_dir=str(folder / "out"))
    ended = run_in_child(fault, request)
    assert ended.answer["error"]["code"] == ErrorCode.DISK_FULL, ended
    expect_nothing_half_written(Path(request.output_dir), undisturbed)
    free()
    expect_the_same_when_repeated(request, undisturbed)


@pytest.mark.parametrize("size", [32 << 20, 64 << 20])
def test_out_of_memory(request_: PredictRequest, size: int) -> None:
    """Large windows, for with hardly any memory left at all Python itself cannot even start a thread."""
    request = replace(request_, window_px=1024)
    ended = run_in_child(MemoryAt(STAGES["the model"], size), request)
    assert ended.answer["error"]["code"] == ErrorCode.OUT_OF_MEMORY, ended
    assert "memory" in ended.answer["error"]["sentence"]
    assert ended.answer["error"]["remedy"]
    assert {path.name for path in Path(request.output_dir).iterdir()} <= {".orthomask"}
    for again in (request, anew(request)):
        predict.run(again, Progress())
    assert results(Path(request.output_dir)) == results(Path(anew(request).output_dir))


def anew(request: PredictRequest) -> PredictRequest:
    """The same run, in a folder where nothing happened yet."""
    return replace(request, output_dir=request.output_dir + "-anew")


def damage(image: Path) -> None:
    """Zeros over the last third of a file: tiles that cannot be decoded."""
    content = image.read_bytes()
    image.write_bytes(content[: len(content) * 2 // 3] + bytes(len(content) - len(content) * 2 // 3))


def cut(image: Path) -> None:
    """The first two thirds of a file, as after a copy that was interrupted."""
    content = image.read_bytes()
    image.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.parametrize("spoil", [damage, cut])
def test_damage_in_the_middle_of_a_raster(
    make_raster: Callable[..., Path], request_: PredictRequest, spoil: Callable[[Path], None]
) -> None:
    image = make_raster((256, 200), name="zipped.tif", tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    whole, status = image.read_bytes(), image.stat()
    request = replace(request_, image=Image(str(image)))
    spoil(image)
    with pytest.raises(OrthomaskError) as caught:
        predict.run(request, Progress())
    assert caught.value.code is ErrorCode.IMAGE_UNREADABLE
    assert image.name in caught.value.sentence
    assert "row" in caught.value.sentence
    assert {path.name for path in Path(request.output_dir).iterdir()} == {".orthomask"}
    image.write_bytes(whole)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    with pytest.raises(OrthomaskError) as caught:
        predict.run(request, Progress())
    assert caught.value.code is ErrorCode.IMAGE_CHANGED
    predict.run(replace(request, existing=Existing.OVERWRITE), Progress())
    predict.run(anew(request), Progress())
    assert results(Path(request.output_dir)) == results(Path(anew(request).output_dir))


@pytest.mark.parametrize("spoil", [damage, cut])
def test_damage_in_an_image_that_is_read_at_once(request_: PredictRequest, spoil: Callable[[Path], None]) -> None:
    """GDAL then takes a short cut in PNGs, and says nothing of what is missing."""
    image = Path(request_.image.path).with_suffix(".png")
    rasterio.shutil.copy(request_.image.path, image, driver="PNG", WORLDFILE="YES")
    request = replace(request_, image=Image(str(image), UTM), window_px=256)
    predict.run(request, Progress())
    spoil(image)
    with pytest.raises(OrthomaskError) as caught:
        predict.run(anew(request), Progress())
    assert caught.value.code is ErrorCode.IMAGE_UNREADABLE
    assert image.name in caught.value.sentence


@pytest.mark.parametrize("fraction", [0.02, 0.5])
def test_an_image_that_changes_under_the_run(
    make_raster: Callable[..., Path], request_: PredictRequest, fraction: float
) -> None:
    other = scene(256, 200)[:, ::-1].copy()
    with pytest.raises(OrthomaskError) as caught:
        predict.run(request_, Reaching(fraction, lambda: make_raster(other, tiled=True, blockxsize=64, blockysize=64)))
    assert caught.value.code is ErrorCode.IMAGE_CHANGED
    assert caught.value.remedy
    assert not Path(request_.output_dir, ".orthomask").exists(), "strips of two images must not be joined"
    predict.run(request_, Progress())
    predict.run(anew(request_), Progress())
    assert results(Path(request_.output_dir)) == results(Path(anew(request_).output_dir))


def test_a_part_of_a_virtual_raster_that_changes_while_a_run_is_interrupted(
    make_raster: Callable[..., Path], request_: PredictRequest
) -> None:
    image = Path(request_.image.path).with_suffix(".vrt")
    rasterio.shutil.copy(request_.image.path, image, driver="VRT")
    request = replace(request_, image=Image(str(image)))
    assert run_in_child(KilledAt(0.6), request).status == -9
    make_raster(scene(256, 200)[:, ::-1].copy())
    with pytest.raises(OrthomaskError) as caught:
        predict.run(request, Progress())
    assert caught.value.code is ErrorCode.IMAGE_CHANGED


def test_statistics_and_overviews_that_qgis_writes_beside_an_image_change_nothing(request_: PredictRequest) -> None:
    def look() -> None:
        Path(request_.image.path + ".aux.xml").write_text("<PAMDataset></PAMDataset>")

    predict.run(anew(request_), Progress())
    predict.run(request_, Reaching(0.5, look))
    assert results(Path(request_.output_dir)) == results(Path(anew(request_).output_dir))


def test_two_runs_on_one_folder_are_kept_apart_and_a_killed_one_bars_nobody(
    still: PredictRequest, undisturbed: Results, tmp_path: Path
) -> None:
    pause = tmp_path / "pause"
    process, _ = start_in_child(PausedAt(0.5, pause), still)
    wait_until(pause.exists)
    for existing in Existing:
        with pytest.raises(OrthomaskError) as caught:
            predict.run(replace(still, existing=existing), Progress())
        assert caught.value.code is ErrorCode.OUTPUT_IN_USE
        assert caught.value.remedy
    process.kill()
    process.join()
    expect_the_same_when_repeated(still, undisturbed)


def test_a_run_that_others_wanted_to_disturb_ends_undisturbed(
    still: PredictRequest, undisturbed: Results, tmp_path: Path
) -> None:
    pause = tmp_path / "pause"
    process, answers = start_in_child(PausedAt(0.5, pause), still)
    wait_until(pause.exists)
    with pytest.raises(OrthomaskError, match="Another run"):
        predict.run(replace(still, existing=Existing.OVERWRITE), Progress())
    pause.unlink()
    assert "result" in answers.recv()
    process.join()
    assert results(Path(still.output_dir)) == undisturbed


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once it holds; five minutes without it are a failure, on a busy machine too."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it does not happen")


def test_a_clock_that_jumps(still: PredictRequest, undisturbed: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_in_child(KilledAt(0.6), still).status == -9
    for path in Path(still.output_dir, ".orthomask").iterdir():
        os.utime(path, (4e9, 4e9))  # in 2096
    jumping = iter(range(10**9, 0, -(10**6)))
    monkeypatch.setattr(time, "time", lambda: float(next(jumping)))
    result = predict.run(still, Progress())
    assert 0 <= result.seconds < 1000
    assert results(Path(still.output_dir)) == undisturbed


class CancelledWhen(Progress):
    """Cancelled by another thread."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def check_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled


def outcome_of(request: PredictRequest, progress: CancelledWhen, stuck: Callable[[], bool]) -> list[ErrorCode]:
    """How a run ends that is cancelled once it is stuck, and stays stuck."""
    codes: list[ErrorCode] = []

    def run() -> None:
        try:
            predict.run(request, progress)
        except OrthomaskError as error:
            codes.append(error.code)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_until(stuck)
    progress.cancelled.set()
    thread.join(30)
    return codes


def test_cancelling_does_not_wait_for_a_pipe(request_: PredictRequest, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.tif"
    os.mkfifo(pipe)
    request = replace(request_, image=Image(str(pipe)))
    assert outcome_of(request, CancelledWhen(), lambda: True) == [ErrorCode.CANCELLED]
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # whoever waits for a writer goes on
    assert not Path(request.output_dir).exists()


@pytest.mark.parametrize("served", [0, 60_000])
def test_cancelling_does_not_wait_for_a_server_and_a_repeat_goes_on(request_: PredictRequest, served: int) -> None:
    with stalling(Path(request_.image.path), served) as server:
        request = replace(request_, image=Image(server.path))
        assert outcome_of(request, CancelledWhen(), server.stalls.is_set) == [ErrorCode.CANCELLED]
        server.goes_on.set()
        predict.run(request, Progress())
        predict.run(anew(request), Progress())
    assert results(Path(request.output_dir)) == results(Path(anew(request).output_dir))


def test_two_that_write_one_geopackage_are_kept_apart(request_: PredictRequest, tmp_path: Path) -> None:
    probabilities = predict.run(request_, Progress()).probabilities_path
    target = tmp_path / "again.gpkg"
    request = PolygonizeRequest(probabilities, str(target), 0.5)
    with outputs.locked(tmp_path / ".again.lock", target), pytest.raises(OrthomaskError) as caught:
        polygons.run(request, Progress())
    assert caught.value.code is ErrorCode.OUTPUT_IN_USE
    polygons.run(request, Progress())
    assert {path.name for path in tmp_path.glob("*again*")} == {"again.gpkg"}
