"""Images that stand for something else: pictures of layers of QGIS, and files behind a password."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orthomask.engine import check, predict
from orthomask.engine.estimates import estimates
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    CalibrateRequest,
    CheckRequest,
    Image,
    PredictRequest,
    Rendered,
    from_json,
    to_json,
    to_wire,
)

RENDERED = Rendered("Satellite", "type=xyz&url=https://tiles/{z}/{x}/{y}?key=***", 0.3, "2026-11-21T10:00:00", 12, 2)
SECRET = "correct horse"


@pytest.fixture
def locked(make_raster: Callable[..., Path]) -> Iterator[str]:
    """The address of an image on a server that asks for a password."""
    path = make_raster((80, 90))
    server = Path(__file__).with_name("locked_server.py")
    command = [sys.executable, str(server), str(path), f"me:{SECRET}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"/vsicurl/http://127.0.0.1:{process.stdout.readline().strip()}/{path.name}"
        process.kill()


def test_the_record_says_what_a_picture_was_rendered_from(
    make_raster: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    image = Image(str(make_raster((80, 90))), rendered=RENDERED)
    result = predict.run(PredictRequest(image, str(tiny), str(tmp_path / "run")), Progress())
    source = json.loads((tmp_path / "run" / "run.json").read_text())["source"]
    assert source["path"] == RENDERED.source
    assert from_json(Rendered, source["rendered"]) == RENDERED
    with sqlite3.connect(result.polygons_path) as database:
        assert database.execute("SELECT source FROM orthomask_runs").fetchall() == [(RENDERED.source,)]


def test_an_image_that_is_none_is_recorded_as_before() -> None:
    assert to_json(Image("a.tif")) == {"path": "a.tif", "crs": "", "bands": []}


def test_a_sample_is_estimated_for_the_whole_run(make_raster: Callable[..., Path], tiny: Path) -> None:
    request = CheckRequest(Image(str(make_raster((80, 90)))), str(tiny))
    alone, whole = (check.run(replace(request, windows=windows), Progress()) for windows in (0, 400))
    assert (alone.windows, whole.windows) == (1, 400)
    measured = [estimates.run(CalibrateRequest(str(tiny), found.workload), Progress()) for found in (alone, whole)]
    assert measured[1].seconds > measured[0].seconds
    assert [light.name for light in alone.lights if light not in whole.lights] == ["data"]


def test_a_password_opens_an_image_and_is_written_nowhere(locked: str, tiny: Path, tmp_path: Path) -> None:
    image = Image(locked, access={"GDAL_HTTP_USERPWD": f"me:{SECRET}"})
    request = PredictRequest(image, str(tiny), str(tmp_path / "run"))
    predict.run(from_json(PredictRequest, to_wire(request)), Progress())
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) > 3
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert SECRET not in json.dumps(to_json(request)) + repr(request)
