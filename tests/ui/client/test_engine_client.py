import contextlib
import os
import signal
import threading
import time

import pytest
from scene import Watcher

from orthomask.protocol import (
    Cancelled,
    ErrorCode,
    Image,
    InfoRequest,
    InfoResult,
    ModelsRequest,
    OrthomaskError,
    PredictRequest,
)
from orthomask.ui.client.engine_client import EngineClient


def predict(tmp_path):
    return PredictRequest(Image("photo.tif"), "buildings", str(tmp_path / "run"))


def test_answers_are_the_protocols_results(client):
    info = client.call(InfoRequest())
    assert isinstance(info, InfoResult)
    assert info.device_name == "Test processor"


def test_stays_warm_between_calls_and_ends_on_close(client, engine):
    client.call(InfoRequest())
    pid = client.pid
    client.call(ModelsRequest())
    assert client.pid == pid
    client.close()
    assert client.pid is None
    assert {message["pid"] for message in engine.requests} == {pid}


def test_reports_progress(client, engine, tmp_path):
    engine.script(predict={"steps": 4})
    watcher = Watcher()
    result = client.call(predict(tmp_path), watcher)
    assert result.polygon_count == 2
    assert watcher.percents == [25, 50, 75] or watcher.percents == [0, 25, 50, 75]
    assert watcher.texts[-1] == "Window 3 of 4"


def test_an_error_of_the_engine_is_raised_as_it_is(client, engine, tmp_path):
    error = {"code": "image_bands", "sentence": "Too few bands.", "remedy": "Choose another.", "details": "1 < 3"}
    engine.script(predict={"error": error})
    with pytest.raises(OrthomaskError) as caught:
        client.call(predict(tmp_path))
    assert caught.value.to_json() == error


@pytest.mark.parametrize("deaf", [False, True])
def test_cancel_ends_a_call_and_an_engine_that_does_not_listen(client, engine, tmp_path, deaf):
    engine.script(predict={"steps": 1000, "step_seconds": 0.05, "deaf": deaf})
    watcher = Watcher()
    threading.Timer(0.5, watcher.cancel).start()
    with pytest.raises(Cancelled):
        client.call(predict(tmp_path), watcher)
    assert (client.pid is None) == deaf  # one that answers stays warm, one that does not is killed
    engine.script()
    assert client.call(InfoRequest()).device == "cpu"


def test_a_call_that_waits_for_its_turn_can_be_cancelled(client, engine, tmp_path):
    engine.script(predict={"steps": 1000, "step_seconds": 0.02})
    first, second = Watcher(), Watcher()

    def call_first():
        with contextlib.suppress(Cancelled):
            client.call(predict(tmp_path), first)

    thread = threading.Thread(target=call_first)
    thread.start()
    while not engine.asked("predict"):
        time.sleep(0.01)
    threading.Timer(0.2, second.cancel).start()
    with pytest.raises(Cancelled):
        client.call(InfoRequest(), second)
    assert not engine.asked("info")
    first.cancel()
    thread.join()


def test_a_worker_that_dies_is_reported_with_its_log_and_replaced(client, engine, tmp_path):
    engine.script(predict={"steps": 5, "die_at": 2})
    with pytest.raises(OrthomaskError) as caught:
        client.call(predict(tmp_path))
    assert caught.value.code is ErrorCode.ENGINE_DIED
    assert "Segmentation fault" in caught.value.details
    assert client.call(InfoRequest()).device == "cpu"


def test_a_worker_killed_from_outside_is_reported(client, engine, tmp_path):
    engine.script(predict={"steps": 1000, "step_seconds": 0.02})

    def kill():
        while not engine.asked("predict"):
            time.sleep(0.01)
        os.kill(client.pid, signal.SIGKILL)

    client.call(InfoRequest())
    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(OrthomaskError) as caught:
        client.call(predict(tmp_path))
    assert caught.value.code is ErrorCode.ENGINE_DIED
    thread.join()


def test_a_program_that_talks_nonsense_is_no_engine():
    client = EngineClient(lambda: ["/bin/sh", "-c", "echo hello; sleep 100"])
    with pytest.raises(OrthomaskError) as caught:
        client.call(InfoRequest())
    assert caught.value.code is ErrorCode.ENGINE_DIED


def test_the_engine_and_a_second_one_use_the_proxy_of_qgis(tmp_path):
    client = EngineClient(
        lambda: ["/bin/sh", "-c", f"echo $HTTPS_PROXY >> {tmp_path}/seen"], {"HTTPS_PROXY": "http://proxy.corp:8080"}
    )
    for each in (client, client.another()):
        with pytest.raises(OrthomaskError):
            each.call(InfoRequest())
    assert (tmp_path / "seen").read_text().split() == 2 * ["http://proxy.corp:8080"]


def test_closing_ends_a_call_that_is_under_way(client, engine, tmp_path):
    engine.script(predict={"steps": 1000, "step_seconds": 0.02, "deaf": True})
    threading.Timer(0.3, client.close).start()
    with pytest.raises(Cancelled):
        client.call(predict(tmp_path))
    with pytest.raises(Cancelled):
        client.call(InfoRequest())
