"""Predictions shared among processes: real ones, and one of them killed on the way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import psutil
import pyogrio
import pytest
import shapely.affinity
import torch
from affine import Affine
from click.testing import CliRunner
from distributed import KilledWorker, LocalCluster, Security
from hypothesis import given, settings
from hypothesis import strategies as st
from test_predict import lattices, reader_of

from orthomask.cli import commands
from orthomask.engine import predict
from orthomask.engine.images.grid import Lattice, Window, blocks, select
from orthomask.engine.images.raster import open_image
from orthomask.engine.progress import Progress
from orthomask.engine.runs import runs
from orthomask.engine.scale import blocks as block
from orthomask.engine.scale import cluster, crew, scale
from orthomask.engine.scale.blocks import JOB, Job
from orthomask.protocol import (
    BlockRequest,
    Cancelled,
    ErrorCode,
    Image,
    InfoRequest,
    OrthomaskError,
    PolygonOptions,
    PredictRequest,
    PredictResult,
    ScaleRequest,
    from_json,
    to_wire,
)

SIZE = (400, 520)
"""Height and width of the image: blocks of 2 x 2 strides of 96 px are 3 x 3, the last ones cut short."""
BLOCKS = 9
ROUND = "POLYGON ((500020 2999990, 500140 2999970, 500150 2999900, 500060 2999885, 500020 2999990))"


def mottled(height: int, width: int) -> np.ndarray:
    """An image of many small things, RGB."""
    coarse = np.random.default_rng(7).integers(0, 255, (3, height // 20 + 1, width // 20 + 1), dtype=np.uint8)
    return coarse.repeat(20, axis=1).repeat(20, axis=2)[:, :height, :width]


@pytest.fixture
def request_of(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> Callable[..., PredictRequest]:
    image = make_raster(mottled(*SIZE))

    def make(name: str, **changes: object) -> PredictRequest:
        request = PredictRequest(
            Image(str(image)), str(tiny), str(tmp_path / name), window_px=128, overlap_px=32,
            threshold=0.6, polygons=PolygonOptions(min_area_m2=2.0),
        )  # fmt: skip
        return replace(request, **changes)  # type: ignore[arg-type]

    return make


def assert_same(one: PredictResult, other: PredictResult) -> None:
    """Rasters with the same bytes, polygons with the same geometries and values."""
    for name in ("classes_path", "probabilities_path"):
        assert Path(getattr(one, name)).read_bytes() == Path(getattr(other, name)).read_bytes()
    meta, _, geometries, columns = pyogrio.raw.read(one.polygons_path, layer="polygons")
    also, _, others, values = pyogrio.raw.read(other.polygons_path, layer="polygons")
    assert meta["crs"] == also["crs"]
    assert len(geometries) > 5
    np.testing.assert_array_equal(geometries, others)
    for column, value in zip(columns, values):
        np.testing.assert_array_equal(column, value)


def workers() -> list[psutil.Process]:
    """The engines that compute."""
    return [child for child in psutil.Process().children() if str(crew.PROGRAM) in child.cmdline()]


class Meddler(Progress):
    """Does something once, as soon as some blocks are done."""

    def __init__(self, after: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.after, self.act = after, act
        self.seen: list[str] = []

    def show(self, fraction: float, message: str) -> None:
        if message.startswith("Block"):
            self.seen.append(message)
            if len(self.seen) == self.after:
                self.act()


def test_a_killed_worker_costs_nothing_but_time(request_of: Callable[..., PredictRequest]) -> None:
    killed: list[int] = []

    def kill() -> None:
        killed.append(workers()[0].pid)
        os.kill(killed[0], signal.SIGKILL)

    alone = predict.run(request_of("alone"), Progress())
    meddler = Meddler(2, kill)
    shared = scale.run(ScaleRequest(request_of("shared"), processes=2, block_windows=2), meddler)
    assert killed
    assert meddler.seen[-1] == f"Block {BLOCKS} of {BLOCKS}"
    assert_same(alone, shared)
    assert shared.device.startswith("2 × ")
    names = {path.name for path in Path(shared.polygons_path).parent.iterdir()}
    assert names == {*runs.RESULTS, "classes.tif.aux.xml"}
    assert not workers()


def test_a_repeated_run_skips_finished_blocks(request_of: Callable[..., PredictRequest]) -> None:
    def cancel() -> None:
        raise Cancelled

    asked = request_of("shared")
    with pytest.raises(Cancelled):
        scale.run(ScaleRequest(asked, processes=1, block_windows=2), Meddler(3, cancel))
    assert not workers()
    folder = Path(asked.output_dir)
    assert [path.name for path in folder.iterdir()] == [runs.WORK]
    times = {path: path.stat().st_mtime_ns for path in (folder / runs.WORK).glob("done-*")}
    assert 3 <= len(times) < BLOCKS

    kept = []
    meddler = Meddler(1, lambda: kept.append(all(path.stat().st_mtime_ns == time for path, time in times.items())))
    shared = scale.run(ScaleRequest(asked, processes=1), meddler)
    assert kept == [True]
    assert len(meddler.seen) == BLOCKS - len(times)
    assert_same(predict.run(request_of("alone"), Progress()), shared)


def sockets(process: psutil.Process) -> set[object]:
    """The sockets that a process has open, of whatever kind."""
    return {(one.family, one.laddr, one.fd) for one in process.net_connections("all")}


def test_nobody_can_talk_to_the_processes_that_share_a_run() -> None:
    own = sockets(psutil.Process())
    with crew.hired(1, []) as alone:
        assert alone.submit("info", InfoRequest()).result()["device"]
        assert [sockets(process) for process in (*workers(), psutil.Process())] == [set(), own]
    assert not workers()


PARENT = """
import sys
from orthomask.engine.scale import crew
from orthomask.protocol import InfoRequest
with crew.hired(1, []) as alone:
    alone.submit("info", InfoRequest()).result()
    print(flush=True)
    sys.stdin.read()
"""


def test_processes_end_with_the_command_however_it_ends() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout
    parent.stdout.readline()
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([child], timeout=120) == ([child], [])


def test_what_ends_every_process_ends_the_run_with_what_they_said(
    request_of: Callable[..., PredictRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "worker.py"
    program.write_text("import sys; sys.stdin.readline(); print('{', end=''); sys.exit('no driver')")
    monkeypatch.setattr(crew, "PROGRAM", program)
    with pytest.raises(OrthomaskError) as caught:
        scale.run(ScaleRequest(request_of("shared"), processes=2), Progress())
    assert caught.value.code is ErrorCode.ENGINE_DIED
    assert "no driver" in caught.value.details


def test_the_workers_of_a_cluster_are_used_from_the_command_line(
    request_of: Callable[..., PredictRequest], make_raster: Callable[..., Path], tiny: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of images joined, in a region, with paths relative to a folder that is not the workers'."""
    (tmp_path / "tiles").mkdir()
    pixels, grid = mottled(*SIZE), Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)
    for number, columns in enumerate((slice(0, 300), slice(300, None))):
        place = grid @ Affine.translation(columns.start, 0)
        make_raster(pixels[:, :, columns], name=f"tiles/{number}.tif", transform=place)
    monkeypatch.chdir(tmp_path)
    region = tmp_path / "region.geojson"
    region.write_text(json.dumps({
        "type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32645"}},
        "features": [{"type": "Feature", "properties": {}, "geometry": shapely.from_wkt(ROUND).__geo_interface__}],
    }))  # fmt: skip
    common = ["tiles", "--model", str(tiny), "--region", "region.geojson", "--min-area", "2", "--threshold", "0.6"]
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as local:
        command = [sys.executable, "-m", "dask", "worker", local.scheduler_address, "--nthreads", "1"]
        command += ["--no-nanny", "--no-dashboard"]
        worker = subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL)
        try:
            shared = invoked("predict", *common, "--out", "one", "--scheduler", local.scheduler_address)
        finally:
            worker.kill()
            worker.wait()
    # the second run has a virtual raster of its own, and would have a number of its own
    monkeypatch.setattr(runs, "run_id", lambda *_: shared.run_id)
    assert_same(invoked("predict", *common, "--out", "two"), shared)


def invoked(*arguments: str) -> PredictResult:
    answer = CliRunner().invoke(commands, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    return from_json(PredictResult, json.loads(answer.stdout))


def test_a_block_is_whole_where_the_region_does_not_reach_its_edge() -> None:
    lattice = Lattice("", Affine.identity(), 65, 300, 64, 0)
    region = shapely.Polygon([(0, 0), (65, 0), (30, 300), (0, 300)])
    pixels = np.ones((300, 65), np.float32)
    for window in blocks(lattice, select(lattice, region), 2):
        selection = select(lattice, region, window)
        strips = list(predict.strips(lattice, selection, reader_of(pixels), lambda windows: windows, 1, Progress()))
        assert {strip.probabilities.shape[2] for strip in strips} == {window.width}


@settings(max_examples=60, deadline=None)
@given(lattices(), st.integers(1, 4), st.data())
def test_blocks_make_up_the_whole(lattice: Lattice, side: int, data: st.DataObject) -> None:
    """With probabilities that differ from window to window, so that the order of their sums counts."""
    points = data.draw(st.tuples(*[st.tuples(st.floats(0, 1), st.floats(0, 1))] * 3))
    triangle = shapely.MultiPoint([(0.1, 0.2), *points]).convex_hull.buffer(0.05)
    region = shapely.affinity.scale(triangle, lattice.width_px, lattice.height_px, origin=(0, 0))
    geometry = data.draw(st.sampled_from([None, region]))
    pixels = np.random.default_rng(3).random((lattice.height_px, lattice.width_px)).astype(np.float32)

    def probabilities(windows: torch.Tensor) -> torch.Tensor:
        return (windows * windows.mean(dim=(2, 3), keepdim=True)).sigmoid()

    def run(within: Window | None) -> tuple[Window, np.ndarray]:
        selection = select(lattice, geometry, within)
        strips = predict.strips(lattice, selection, reader_of(pixels), probabilities, 1, Progress())
        return selection.extent, np.concatenate([strip.probabilities for strip in strips], axis=1)[0]

    extent, whole = run(None)
    joined, times = np.full_like(whole, runs.NODATA), np.zeros(whole.shape, int)
    for window in blocks(lattice, select(lattice, geometry), side):
        rows = slice(window.y - extent.y, window.y - extent.y + window.height)
        columns = slice(window.x - extent.x, window.x - extent.x + window.width)
        joined[rows, columns] = run(window)[1]
        times[rows, columns] += 1
    np.testing.assert_array_equal(joined, whole)
    assert times.max() == 1


def begun(request: PredictRequest) -> tuple[Path, BlockRequest]:
    """A run's folder as workers find it, and what they are asked first."""
    with open_image(request.image) as source:
        plan = predict.plan(source, request)
        folder, _ = runs.open_folder(request, plan.bundle, source.stamp())
        folder.work.mkdir(parents=True)
        Job(request, folder.run_id, plan.bundle.sha256, "fp32", 2).write(folder.work)
        return folder.work, BlockRequest(str(folder.work), *blocks(plan.lattice, plan.selection, 2)[0])


def test_a_block_that_fails_says_why_in_a_sentence(
    request_of: Callable[..., PredictRequest], make_bundle: Callable[..., Path]
) -> None:
    asked = request_of("out")
    work_dir, first = begun(asked)
    assert cluster.answer("block", to_wire(first)) == {"filled": True}
    assert len(list(work_dir.glob("*.tif"))) == 2
    image = Path(asked.image.path)
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 4])
    answer = cluster.answer("block", to_wire(replace(first, y=192, height=100)))
    error = OrthomaskError.from_json(answer["error"])
    assert error.code is ErrorCode.IMAGE_UNREADABLE
    assert "damaged" in error.sentence
    job = json.loads((work_dir / JOB).read_text())
    (work_dir / JOB).write_text(json.dumps({**job, "model_sha256": "another"}))
    with pytest.raises(OrthomaskError, match="on a worker differs"):
        block.run(first, Progress())
    with pytest.raises(OrthomaskError, match="cannot find the run folder"):
        block.run(replace(first, work_dir=str(work_dir / "elsewhere")), Progress())


def test_blocks_without_data_take_no_space(
    request_of: Callable[..., PredictRequest], make_raster: Callable[..., Path]
) -> None:
    pixels = mottled(*SIZE)
    pixels[:, :, :200] = 0
    image = make_raster(pixels, name="coast.tif", nodata=0)
    work_dir, first = begun(request_of("out", image=Image(str(image))))
    assert not block.run(first, Progress()).filled
    assert not list(work_dir.glob("*.tif"))
    assert len(list(work_dir.glob("done-*"))) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CancelledError("scheduler-connection-lost"), ErrorCode.ENGINE_DIED),
        (KilledWorker("work-1", SimpleNamespace(address="tcp://a:1"), 3), ErrorCode.ENGINE_DIED),
        (ModuleNotFoundError("orthomask"), ErrorCode.ENGINE_SETUP),
    ],
)
def test_what_ends_a_task_is_told_in_words(error: Exception, code: ErrorCode) -> None:
    failed = cluster.failed(error)
    assert failed.code is code
    assert failed.sentence.endswith(".")
    assert "--resume" in failed.remedy


def test_a_scheduler_that_is_not_there_is_named(
    request_of: Callable[..., PredictRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECTING_S", 0.2)
    asked = request_of("out")
    with pytest.raises(OrthomaskError, match="no Dask scheduler at tcp"):
        scale.run(ScaleRequest(asked, scheduler="tcp://127.0.0.1:9"), Progress())
    assert not Path(asked.output_dir).exists() or not list(Path(asked.output_dir).iterdir())


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    """What Dask's configuration files say on computers that have certificates."""
    names = {"key": str(tmp_path / "key.pem"), "cert": str(tmp_path / "cert.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=orthomask"]
    subprocess.run([*command, "-keyout", names["key"], "-out", names["cert"]], check=True, capture_output=True)
    prefix = "distributed.comm.tls"
    roles = {f"{prefix}.{role}.{kind}": names[kind] for role in ("scheduler", "client") for kind in names}
    return {f"{prefix}.ca-file": names["cert"], **roles}


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes certificates with openssl")
def test_a_cluster_with_certificates_speaks_to_those_who_have_them(
    request_of: Callable[..., PredictRequest], tls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECTING_S", 2.0)
    monkeypatch.setattr(cluster, "WAITING_S", 0.2)

    def remedy(address: str) -> str:
        with pytest.raises(OrthomaskError) as caught:
            scale.run(ScaleRequest(request_of("out"), scheduler=address), Progress())
        return caught.value.remedy

    options = {"n_workers": 0, "host": "127.0.0.1", "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with dask.config.set({**tls, "distributed.comm.require-encryption": True}):
        local = LocalCluster(protocol="tls", security=Security(), **options)
        assert "Start some" in remedy(local.scheduler_address), "it is found, and has no workers yet"
    with local:
        assert "certificates" in remedy(local.scheduler_address)
        assert "dask scheduler" in remedy(local.scheduler_address.replace("tls:", "tcp:"))


@pytest.mark.parametrize(
    "changes", [{}, {"processes": 2, "scheduler": "tcp://a:1"}, {"processes": 2, "block_windows": -1}]
)
def test_processes_or_a_scheduler(request_of: Callable[..., PredictRequest], changes: dict[str, Any]) -> None:
    with pytest.raises(OrthomaskError) as caught:
        ScaleRequest(request_of("out"), **changes)
    assert caught.value.code is ErrorCode.BAD_REQUEST
