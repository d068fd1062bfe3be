from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rasterio

from conftest import scene
from orthomask import worker
from orthomask.engine import predict
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, Image, PredictRequest, to_json

PLUGIN = Path(worker.__file__).resolve().parent


class Client:
    """Speaks to a real worker process, which is never far ahead of what is read of it."""

    def __init__(self, folder: Path = PLUGIN, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "worker.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            pipesize=4096, env={**os.environ, **environment},
        )  # fmt: skip

    def send(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def call(self, identity: int, method: str, params: dict[str, Any]) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", "id": identity, "method": method, "params": params}))

    def messages(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout
        yield from map(json.loads, self.process.stdout)

    def answer(self, identity: int | None) -> dict[str, Any]:
        return next(message for message in self.messages() if message.get("id", -1) == identity)

    def close(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(60)


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.process.kill()
    client.process.wait()


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    """A worker that must outlive what it is told."""
    client = Client()
    yield client
    assert client.close() == 0


@pytest.fixture
def request_(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> PredictRequest:
    return PredictRequest(
        Image(str(make_raster(scene(1500, 900)))), str(tiny), str(tmp_path / "out"), window_px=64, overlap_px=16
    )


def test_a_prediction_reports_progress_and_answers(
    client: Client, request_: PredictRequest, make_raster: Callable[..., Path]
) -> None:
    client.call(1, "predict", to_json(replace(request_, image=Image(str(make_raster(scene(700, 500)))))))
    fractions = []
    for message in client.messages():
        if "id" in message:
            break
        assert message["params"]["id"] == 1
        fractions.append(message["params"]["fraction"])
    assert fractions == sorted(fractions)
    assert len(fractions) > 50
    assert Path(message["result"]["classes_path"]).exists()
    assert client.close() == 0


def test_cancel_ends_the_job_and_the_worker_goes_on(client: Client, request_: PredictRequest) -> None:
    client.call(1, "predict", to_json(request_))
    for message in client.messages():
        if message["params"]["fraction"] > 0.2:
            break
    client.send(json.dumps({"jsonrpc": "2.0", "method": "cancel", "params": {"id": 1}}))
    assert client.answer(1)["error"]["data"]["code"] == ErrorCode.CANCELLED
    client.call(2, "info", {})
    assert "version" in client.answer(2)["result"]


def test_killed_in_mid_run_and_repeated_gives_the_same_bytes(
    client: Client, request_: PredictRequest, tmp_path: Path
) -> None:
    client.call(1, "predict", to_json(request_))
    for message in client.messages():
        if message["params"]["fraction"] > 0.5:
            break
    client.process.send_signal(signal.SIGKILL)
    client.process.wait()
    out = Path(request_.output_dir)
    assert [path.name for path in out.iterdir()] == [".orthomask"], "nothing stands under a final name"
    again = predict.run(request_, Progress())
    undisturbed = predict.run(PredictRequest(**{**request_.__dict__, "output_dir": str(tmp_path / "2")}), Progress())
    for one, other in (
        (again.classes_path, undisturbed.classes_path),
        (again.probabilities_path, undisturbed.probabilities_path),
    ):
        assert Path(one).read_bytes() == Path(other).read_bytes()


@pytest.mark.parametrize(
    "line", ["", "nonsense", "[]", "{}", "null", '{"id": 3}', '{"id": 1, "method": 5}', '{"id": 2, "method": "sing"}']
)
def test_what_is_no_message_is_answered_with_an_error_and_the_worker_goes_on(shared: Client, line: str) -> None:
    shared.send(line)
    assert "error" in next(shared.messages())
    shared.call(9, "models", {})
    assert "result" in shared.answer(9)


def test_bad_parameters_are_answered_with_a_sentence(shared: Client) -> None:
    shared.call(1, "predict", {"image": {"path": "a"}})
    data = shared.answer(1)["error"]["data"]
    assert data["code"] == ErrorCode.BAD_REQUEST
    assert data["remedy"]


def test_a_foreign_gdal_and_proj_in_the_environment_do_no_harm_once_taken_out(tmp_path: Path) -> None:
    """The QGIS side takes `PROJ_*` and `GDAL_*` out; with them, CRSs would silently be unknown."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PROJ_", "GDAL_"))}
    code = "import rasterio.crs; print(rasterio.crs.CRS.from_epsg(32645).to_epsg())"
    clean = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert clean.stdout.strip() == "32645"


def test_the_plugin_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "some-other-name-1.2"
    folder.mkdir()
    for name in ("__init__.py", "worker.py", "metadata.txt"):
        shutil.copy(PLUGIN / name, folder)
    for name in ("engine", "protocol", "training"):
        shutil.copytree(PLUGIN / name, folder / name)
    client = Client(folder)
    client.call(1, "models", {})
    assert client.answer(1)["result"] == {"models": []}, "this copy has no embedded models"
    assert client.close() == 0


def test_one_worker_serves_rasters_of_different_kinds(
    shared: Client, make_raster: Callable[..., Path], tiny: Path
) -> None:
    for number, shape in enumerate([(100, 90), (30, 40)], 1):
        path = make_raster(shape, name=f"{number}.tif")
        request = PredictRequest(Image(str(path)), str(tiny), str(path.with_suffix("")))
        shared.call(number, "predict", to_json(request))
        result = shared.answer(number)["result"]
        with rasterio.open(result["classes_path"]) as dataset:
            assert dataset.shape == shape
