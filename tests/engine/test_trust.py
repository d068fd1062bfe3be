"""What strangers' files and requests must not be able to do; how the worker ends."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
import torch
from safetensors import safe_open
from stalling_server import stalling
from test_faults import wait_until
from test_worker import PLUGIN, Client

from conftest import scene
from orthomask.engine import predict
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    REQUESTS,
    ErrorCode,
    Image,
    LabelledData,
    OrthomaskError,
    Pictures,
    PredictRequest,
    TrainRequest,
    from_json,
    to_json,
)

NAMES = ["../out", "/etc/passwd", "a/b", "..", "CON", "nul.tif", "x" * 300, "näme\n", "a\\b", "<b>&amp;'\"", "\u202e"]
"""What a stranger may call things."""


@pytest.fixture
def request_(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> PredictRequest:
    image = make_raster(scene(700, 500), tiled=True, blockxsize=64, blockysize=64)
    return PredictRequest(Image(str(image)), str(tiny), str(tmp_path / "out"), window_px=64, overlap_px=16)


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.process.kill()
    client.process.wait()


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.proof,))


@pytest.mark.parametrize("write", [torch.save, lambda payload, path: path.write_bytes(pickle.dumps(payload))])
@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_pickle_runs_no_code(write: Callable[[object, Path], object], name: str, tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / name
    write(Payload(proof), path)
    with pytest.raises(OrthomaskError) as caught:
        bundle.load(str(path))
    assert caught.value.code is ErrorCode.BUNDLE_UNSAFE
    assert not proof.exists()


def test_a_pickle_inside_a_bundle_is_only_bytes(tiny: Path, tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / "m.safetensors"
    content = tiny.read_bytes()
    payload = pickle.dumps(Payload(proof))
    path.write_bytes(content[: -len(payload)] + payload)
    with pytest.raises(OrthomaskError) as caught:
        bundle.load(str(path)).model()
    assert caught.value.code is ErrorCode.BUNDLE_UNREADABLE
    assert not proof.exists()


@pytest.mark.parametrize("path", sorted(bundle.MODELS_DIR.glob("*.safetensors")), ids=lambda path: path.stem)
def test_every_embedded_model_is_sealed(path: Path, tmp_path: Path) -> None:
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()[bundle.SEAL] != bundle.UNSEALED
    bundle.load(str(path)).model()
    changed, content = tmp_path / path.name, bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    with pytest.raises(OrthomaskError) as caught:
        bundle.load(str(changed))
    assert caught.value.code is ErrorCode.BUNDLE_UNREADABLE


def test_nothing_in_the_engine_unpickles_or_listens() -> None:
    for folder in ("engine", "training", "protocol", "cli"):
        for path in (PLUGIN / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for risk in ("import pickle", "import marshal", "import shelve", "weights_only=False", "allow_pickle=True"):
                assert risk not in text, path
            for call in ("eval(", "exec(", "os.system(", "shell=True"):
                assert f" {call}" not in text.replace(".eval(", ""), path


def test_a_virtual_raster_runs_no_python(request_: PredictRequest, tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / "function.vrt"
    path.write_text(
        "<VRTDataset rasterXSize='64' rasterYSize='64'><SRS>EPSG:32645</SRS>"
        "<GeoTransform>500000,0.3,0,3000000,0,-0.3</GeoTransform>"
        + "".join(
            f"<VRTRasterBand dataType='Byte' band='{band}' subClass='VRTDerivedRasterBand'>"
            "<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionType>f</PixelFunctionType>"
            f"<PixelFunctionCode><![CDATA[\nopen({str(proof)!r}, 'w')\ndef f(*a, **k): pass\n]]></PixelFunctionCode>"
            f"<SimpleSource><SourceFilename>{request_.image.path}</SourceFilename></SimpleSource></VRTRasterBand>"
            for band in (1, 2, 3)
        )
        + "</VRTDataset>"
    )
    with pytest.raises(OrthomaskError) as caught:
        predict.run(replace(request_, image=Image(str(path))), Progress())
    assert caught.value.code is ErrorCode.IMAGE_UNREADABLE
    assert not proof.exists()


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_bundle_lead_nowhere(
    request_: PredictRequest, make_raster: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    opened = bundle.load(request_.model)
    classes = tuple(replace(info, name=name) for info in opened.card.classes)
    model = tmp_path / "models" / "strange.safetensors"
    model.parent.mkdir()
    bundle.save(model, opened.model(), replace(opened.card, name=name, title=name, classes=classes))
    image = make_raster((64, 64), name="small.tif")
    before = everything(tmp_path)
    out = tmp_path / "results"
    result = predict.run(replace(request_, image=Image(str(image)), model=str(model), output_dir=str(out)), Progress())
    assert {path for path in everything(tmp_path) - before if out not in path.parents} == {out}
    with rasterio.open(result.probabilities_path) as dataset:
        record = json.loads(dataset.tags()["ORTHOMASK"])
    assert record["classes"][0]["name"] == name
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["model"]["name"] == name


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/b", "a\\b", "C:out", ""])
def test_the_name_of_a_new_model_leads_nowhere(name: str) -> None:
    data = LabelledData(pictures=(Pictures("images", "masks", 0.3),))
    with pytest.raises(OrthomaskError) as caught:
        TrainRequest(data, "out", name=name)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("method", REQUESTS)
def test_texts_that_no_path_can_be_are_refused_in_words(method: str) -> None:
    for text in ("a\0b", "\ud800"):
        with pytest.raises(OrthomaskError) as caught:
            from_json(
                REQUESTS[method][0], {"image": {"path": text}, "model": text, "device": text, "output_path": text}
            )
        assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000])
def test_a_path_that_is_too_long_is_refused_in_words(request_: PredictRequest, name: str, tmp_path: Path) -> None:
    for request in (
        replace(request_, output_dir=str(tmp_path / name)),
        replace(request_, image=Image(str(tmp_path / name))),
        replace(request_, model=str(tmp_path / name)),
    ):
        with pytest.raises(OrthomaskError) as caught:
            predict.run(request, Progress())
        assert caught.value.code is not ErrorCode.INTERNAL


def test_the_worker_listens_on_nothing_but_stdin(client: Client, request_: PredictRequest) -> None:
    client.call(1, "predict", to_json(request_))
    for message in client.messages():
        if message["params"]["fraction"] > 0.5:
            break
    descriptors = [os.readlink(path) for path in Path(f"/proc/{client.process.pid}/fd").iterdir()]
    assert [target for target in descriptors if target.startswith("socket:")] == []
    assert len([target for target in descriptors if target.startswith("pipe:")]) >= 3


NOISE = """
import os, sys, threading, time
def noise():
    while "orthomask.worker" not in sys.modules:
        time.sleep(0.002)
    os.system("echo noise of a child; echo begun >&2")
    while True:
        os.write(1, b'{"jsonrpc": noise\\xff\\n'); print("noise"); time.sleep(0.002)
if "worker.py" in " ".join(sys.orig_argv):
    threading.Thread(target=noise, daemon=True).start()
"""


def test_noise_of_libraries_never_breaks_a_message(request_: PredictRequest, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOISE)
    client = Client(PYTHONPATH=str(tmp_path))
    assert client.process.stderr
    heard = b""
    while b"begun" not in heard:
        heard += os.read(client.process.stderr.fileno(), 4096)
    drain = subprocess.Popen(["cat"], stdin=client.process.stderr, stdout=subprocess.DEVNULL)
    client.call(1, "predict", to_json(request_))
    assert client.answer(1)["result"]["run_id"]
    assert client.close() == 0
    drain.wait(30)


def test_the_worker_ends_with_its_input_even_under_a_read_that_is_stuck(
    client: Client, request_: PredictRequest
) -> None:
    with stalling(Path(request_.image.path), 200_000) as server:
        client.call(1, "predict", to_json(replace(request_, image=Image(server.path))))
        assert server.stalls.wait(60)
        assert client.close() == 0
        assert not server.goes_on.is_set()


def test_the_worker_cancels_under_a_read_that_is_stuck_and_lives_on(client: Client, request_: PredictRequest) -> None:
    with stalling(Path(request_.image.path), 200_000) as server:
        client.call(1, "predict", to_json(replace(request_, image=Image(server.path))))
        assert server.stalls.wait(60)
        client.send(json.dumps({"method": "cancel", "params": {"id": 1}}))
        assert client.answer(1)["error"]["data"]["code"] == ErrorCode.CANCELLED
        client.call(2, "info", {})
        assert "result" in client.answer(2)
        assert client.close() == 0


PARENT = """
import json, subprocess, sys
pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, pipesize=4096)  # it cannot run far ahead
child = subprocess.Popen([sys.executable, sys.argv[1]], **pipes)
child.stdin.write(sys.argv[2].encode() + b"\\n")
for line in child.stdout:
    if json.loads(line)["params"]["fraction"] > float(sys.argv[3]):
        break
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("fraction", [0.0, 0.4])
def test_the_worker_ends_when_qgis_is_killed_and_the_run_goes_on_later(
    request_: PredictRequest, tmp_path: Path, fraction: float
) -> None:
    request = replace(request_, image=replace(request_.image))
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "predict", "params": to_json(request)})
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(PLUGIN / "worker.py"), message, str(fraction)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    assert [path.name for path in Path(request.output_dir).iterdir()] in ([".orthomask"], [])
    again = predict.run(request, Progress())
    undisturbed = predict.run(replace(request, output_dir=str(tmp_path / "undisturbed")), Progress())
    for one, other in (
        (again.classes_path, undisturbed.classes_path), (again.probabilities_path, undisturbed.probabilities_path),
    ):  # fmt: skip
        assert Path(one).read_bytes() == Path(other).read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 1, "method": []}', '{"id": 1, "method": {}}', '{"id": [], "method": "info"}', "[" * 100_000,
        '{"id": 1e400, "method": "info"}', '{"id": 1, "method": "info", "params": "' + "x" * 1_000_000 + '"}',
        '{"id": 1, "method": "info", "params": null}', '{"id": 1, "method": "predict", "params": {"image": 3}}',
        '{"id": 1, "method": "models", "params": {"model": "\\u0000"}}', "9" * 10_000, "\x00",
        '{"id": 1, "method": "info", "params": {"device": ' + "[" * 900 + "]" * 900 + "}}", "\ufeff{}",
        '{"id": 1, "method": "info", "params": {"device": "\\ud800"}}',
    ],
)  # fmt: skip
def test_no_message_ends_the_worker(shared: Client, line: str) -> None:
    shared.send(line)
    assert "error" in next(shared.messages())


@pytest.mark.parametrize("params", ["[]", "null", "3", '{"id": []}', '{"id": {}}', "{}"])
def test_no_cancel_ends_the_worker(shared: Client, params: str) -> None:
    shared.send(f'{{"method": "cancel", "params": {params}}}')
    shared.call(5, "info", {})
    assert "result" in shared.answer(5)


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    client = Client()
    yield client
    assert client.close() == 0
