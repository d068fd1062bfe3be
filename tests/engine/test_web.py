"""The local page without a browser: pictures, sessions, and how it is served. `tests/page` looks at it in one."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner

from conftest import scene
from orthomask.cli import commands
from orthomask.cli.web import server
from orthomask.cli.web.pictures import SAMPLES, Unplaced, dropped
from orthomask.cli.web.session import Session
from orthomask.engine.interop.overview import whole
from orthomask.engine.progress import Progress
from orthomask.engine.shapes import polygons
from orthomask.protocol import Cancelled, Image, OrthomaskError, PolygonizeRequest


def picture(path: Path, driver: str = "PNG", side: int = 200) -> str:
    """A picture without a position."""
    with rasterio.open(path, "w", driver=driver, width=side, height=side, count=3, dtype="uint8") as dataset:
        dataset.write(scene(side, side))
    return str(path)


def quiet(_fraction: float, _message: str) -> None:
    pass


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path / "session")


def outlines(path: Path) -> np.ndarray:
    return np.asarray(shapely.from_wkb(pyogrio.raw.read(path, layer="polygons")[2]))


@pytest.mark.parametrize(("name", "driver"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.tif", "GTiff")])
def test_a_picture_without_a_position_lies_in_metres_from_its_corner(
    tmp_path: Path, tiny: Path, session: Session, name: str, driver: str
) -> None:
    path = picture(tmp_path / name, driver)
    with pytest.raises(Unplaced, match="Enter the metres per pixel"):
        session.choose("", path, None)
    assert "data:image/jpeg" in session.choose("", path, 0.3)
    assert not session.is_placed
    shown = session.run(str(tiny), quiet)
    found = outlines(shown.files[0])
    assert len(found)
    left, bottom, right, top = shapely.total_bounds(found)
    assert -0.01 <= left < right <= 60.01
    assert -60.01 <= bottom < top <= 0.01
    assert sum(each[2] for each in shown.drawn["objects"]) == pytest.approx(shapely.area(found).sum(), rel=1e-3)
    with rasterio.open(shown.files[1]) as classes:
        assert (classes.width, classes.height) == (200, 200)
        assert np.allclose(classes.transform[:6], (0.3, 0, 0, 0, -0.3, 0))
        assert "No position" in pyproj.CRS(classes.crs.to_wkt()).name


@pytest.mark.parametrize("gsd_m", [0.0, -1.0, 1e6, float("nan")])
def test_a_pixel_size_that_is_none_is_refused(tmp_path: Path, session: Session, gsd_m: float) -> None:
    with pytest.raises(OrthomaskError, match="usable pixel size"):
        session.choose("", picture(tmp_path / "a.png"), gsd_m)


def test_a_placed_image_keeps_its_place(tmp_path: Path, make_raster: Callable[..., Path]) -> None:
    target = tmp_path / "copies"
    target.mkdir()
    assert dropped(str(make_raster()), 0.7, target) == Image(str(target / "image.tif"))


@pytest.mark.parametrize("content", ["not a raster", "<VRTDataset rasterXSize='9' rasterYSize='9'></VRTDataset>", ""])
def test_what_is_no_picture_is_refused_whatever_it_is_called(tmp_path: Path, session: Session, content: str) -> None:
    path = tmp_path / "a.tif"
    path.write_text(content)
    with pytest.raises(OrthomaskError, match=r"a\.tif” (cannot be opened as a raster|is empty)"):
        session.choose("", str(path), 0.3)
    with pytest.raises(OrthomaskError, match="No image was given"):
        session.run("buildings", quiet)


def test_the_threshold_moves_without_the_model(
    tmp_path: Path, tiny: Path, session: Session, make_raster: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.choose("", str(make_raster()), None)
    assert session.is_placed
    before = session.run(str(tiny), quiet)
    monkeypatch.delattr("orthomask.engine.predict.run")
    after = session.at(0.4)
    assert (before.threshold, after.threshold) == (0.5, 0.4)
    own = tmp_path / "own.gpkg"
    polygons.run(PolygonizeRequest(str(after.files[2]), str(own), 0.4), Progress())
    assert shapely.equals_exact(outlines(after.files[0]), outlines(own)).all()
    assert len(after.drawn["objects"]) == len(outlines(own)) > 0


def test_sessions_do_not_mix_and_leave_nothing(tmp_path: Path, tiny: Path, make_raster: Callable[..., Path]) -> None:
    first, second = Session(tmp_path / "one"), Session(tmp_path / "two")
    first.choose("", str(make_raster()), None)
    first.run(str(tiny), quiet)
    second.choose("", picture(tmp_path / "image.png"), 0.3)
    other = second.run(str(tiny), quiet)
    shown = first.at(0.5)
    assert pyogrio.read_info(shown.files[0], layer="polygons")["crs"] == "EPSG:32645"
    assert set(shown.files).isdisjoint(other.files)
    first.close()
    assert not (tmp_path / "one").exists()
    assert all(path.exists() for path in other.files)


def test_a_run_is_cancelled_also_while_it_waits(tiny: Path, session: Session, make_raster: Callable[..., Path]) -> None:
    session.choose("", str(make_raster()), None)
    session.begin()
    with pytest.raises(Cancelled):
        session.run(str(tiny), lambda fraction, _: session.cancel() if fraction > 0.1 else None)
    session.begin()
    session.cancel()
    with pytest.raises(Cancelled):
        session.run(str(tiny), quiet)
    session.begin()
    session.run(str(tiny), quiet)


def test_the_samples_are_there_and_a_picture_keeps_the_pixels_of_its_image(make_raster: Callable[..., Path]) -> None:
    assert all(Path(sample.path).exists() for sample in SAMPLES)
    frame = whole(Image(str(make_raster())), Progress())
    assert (frame.width, frame.height) == (120, 100)
    assert frame.transform == Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)
    assert frame.pixel_m == pytest.approx(0.3, rel=1e-3)


def test_a_port_in_use_and_missing_gradio_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setitem(sys.modules, "gradio", None)
    missing = CliRunner().invoke(commands, ["page", "--no-open"])
    assert missing.exit_code == 4
    assert "not installed.\nInstall it: " in missing.output
    assert f'pip install "{server.GRADIO}"' in missing.output
    assert f'page = ["{server.GRADIO}"]' in (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert "GRADIO_SERVER_NAME" not in os.environ
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = CliRunner().invoke(commands, ["page", "--no-open", "--port", str(port)])
        assert taken.exit_code == 2
        assert f"Port {port} is in use" in taken.output
        monkeypatch.setattr(server, "PORT", port)
        with server._bound(None) as bound:
            assert bound.getsockname() == ("127.0.0.1", port + 1)


def test_every_answer_forbids_the_browser_to_ask_others() -> None:
    async def app(scope: dict[str, Any], receive: object, send: server.Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(server._guarded(app)({}, None, send))
    (policy,) = [value.decode() for name, value in sent[0]["headers"] if name == b"content-security-policy"]
    assert policy.startswith("default-src 'self' ")
    assert "http" not in policy
