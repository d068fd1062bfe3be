"""The local page in a real browser: pictures in, outlines seen, files out, and nothing leaves the computer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from orthomask.engine.progress import Progress
from orthomask.engine.shapes import polygons
from orthomask.protocol import PolygonizeRequest

PATIENCE_S = 120
"""For a computer that has much else to do."""
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,1000",
)  # fmt: skip
INK = """
const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
const [red, green, blue] = arguments[0];
let count = 0;
for (let i = 0; i < pixels.length; i += 4)
  count += Math.abs(pixels[i] - red) + Math.abs(pixels[i + 1] - green) + Math.abs(pixels[i + 2] - blue) < 30;
return count;
"""
"""How many pixels of the map have a colour."""

TEXT = "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText).join(' ')"
"""What is seen of elements: in one step, for Gradio may replace them at any time."""


class Server:
    """The command `orthomask page`, and all that it says."""

    def __init__(self, folder: Path) -> None:
        self.temp, self._log = folder / "temp", folder / "log.txt"
        self.temp.mkdir()
        command = [sys.executable, str(Path(__file__).with_name("watched.py")), "page", "--no-open"]
        with self._log.open("wb") as log:
            environment = {**os.environ, "TMPDIR": str(self.temp)}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def address(self, _: object = None) -> str:
        """Where the page is; empty before it is there."""
        assert self.process.poll() is None, self.log
        found = re.search(r"http://127\.0\.0\.1:\d+", self.log)
        return found[0] if found else ""


class Page:
    """A tab of the browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def wait(self, condition: Callable[[Any], Any]) -> Any:
        return WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.1).until(condition)

    def find(self, selector: str) -> WebElement:
        found: WebElement = self.wait(lambda driver: driver.find_element(By.CSS_SELECTOR, selector))
        return found

    def text(self, selector: str) -> str:
        """What an element says; empty while it is not there."""
        return str(self.driver.execute_script(TEXT, selector))

    def says(self, selector: str, text: str) -> str:
        try:
            return str(self.wait(lambda _: text in self.text(selector) and self.text(selector)))
        except TimeoutException:
            pytest.fail(f"{selector} says “{self.text(selector)}”, not “{text}”")

    def open(self, address: str) -> None:
        self.driver.get(address)
        self.says("#lights", "OK: the model reads red")

    def drop(self, path: Path) -> None:
        self.find("#file input[type=file]").send_keys(str(path))

    def run(self) -> None:
        self.find("#run").click()
        self.wait(lambda _: self.find("#run").is_displayed() and self.text("#table"))

    def ink(self, color: str) -> int:
        """Pixels of the map that have the colour of outlines."""
        self.driver.switch_to.frame(self.find("#map iframe"))
        count = self.driver.execute_script(INK, list(bytes.fromhex(color)))
        self.driver.switch_to.default_content()
        return int(count)

    def download(self, number: int, folder: Path, name: str) -> Path:
        path = folder / name
        path.unlink(missing_ok=True)
        self.driver.execute_script("arguments[0].scrollIntoView()", self.find(f"#file-{number}"))
        self.find(f"#file-{number}").click()
        self.wait(lambda _: path.exists() and not list(folder.glob("*.crdownload")))
        return path

    def asked(self) -> set[str]:
        """Hosts that the browser asked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        sent += [m["params"]["url"] for m in messages if m["method"] == "Network.webSocketCreated"]
        return {urlsplit(url).netloc for url in sent if urlsplit(url).scheme in ("http", "https", "ws", "wss")}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.process.kill()
    started.process.wait()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield Page(driver)
    driver.save_screenshot(str(tmp_path / "last.png"))  # for a test that failed
    driver.quit()


def test_a_sample_becomes_outlines_and_files_and_nothing_leaves_the_computer(
    server: Server, page: Page, tmp_path: Path
) -> None:
    downloads = tmp_path / "downloads"
    page.open(page.wait(server.address))
    assert "OpenAerialMap" in page.text("#credit")

    choose(page, "Iowa", "Farmland")
    assert page.ink("ffd60a") == 0
    page.run()
    count = int(page.find("#table td:nth-child(2)").text.replace(",", ""))
    assert count > 3
    color = page.driver.execute_script("return getComputedStyle(document.querySelector('#table i')).backgroundColor")
    color = bytes(map(int, re.findall(r"\d+", color)[:3])).hex()
    page.wait(lambda _: page.ink(color) > 200)
    probabilities = page.download(2, downloads, "probabilities.tif")
    classes = page.download(1, downloads, "classes.tif")

    at = f"{float(page.find('#threshold input[type=number]').get_attribute('value')) + 0.2:.2f}"
    page.find("#threshold input[type=range]").send_keys(Keys.ARROW_RIGHT * 20)
    page.says("#file-0", f"Polygons at {at} (GeoPackage)")
    same(page.download(0, downloads, "polygons.gpkg"), probabilities, float(at))
    assert page.text("#file-1") != page.text("#file-0").replace("Polygons", "Classes").replace("Package", "TIFF")
    with rasterio.open(classes) as found, rasterio.open(probabilities) as sure:
        assert found.crs == sure.crs
        assert found.crs is not None

    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.open(server.address())
    assert not page.text("#table")  # it has nothing of the other tab's
    wrong_files(page, tmp_path)
    page.driver.switch_to.window(first)
    page.find("#threshold input[type=range]").send_keys(Keys.ARROW_LEFT)
    at = f"{float(at) - 0.01:.2f}"
    page.says("#file-0", f"Polygons at {at} (GeoPackage)")
    same(page.download(0, downloads, "polygons.gpkg"), probabilities, float(at))

    assert page.asked() == {urlsplit(server.address()).netloc}
    assert not [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE_S) == 0
    assert list(server.temp.iterdir()) == []
    assert "LEFT" not in server.log
    assert "Traceback" not in server.log


def choose(page: Page, sample: str, model: str) -> None:
    """A sample and a model, by how their names begin."""
    for label in page.driver.find_elements(By.CSS_SELECTOR, "#sample label"):
        if label.text.startswith(sample):
            label.click()
    page.says("#credit", "USDA")
    page.find("#model input").click()
    options = page.wait(lambda _: page.driver.find_elements(By.CSS_SELECTOR, "[role=option]"))
    next(option for option in options if option.text.startswith(model)).click()
    page.says("#lights", "trained on 2 m")


def wrong_files(page: Page, folder: Path) -> None:
    """A picture without a position, and a file that is no picture."""
    picture = folder / "picture.png"
    with rasterio.open(picture, "w", driver="PNG", width=64, height=64, count=3, dtype="uint8") as dataset:
        dataset.write(np.full((3, 64, 64), 120, np.uint8))
    page.drop(picture)
    page.says(
        "#lights", "“picture.png” does not say how large its pixels are on the ground. Enter the metres per pixel."
    )
    page.find("#gsd input").send_keys("0.3")
    page.says("#credit", "The picture has no position")
    page.says("#lights", "pixels of 0.3 m")
    page.find("#file [aria-label=Clear]").click()
    page.says("#credit", "OpenAerialMap")
    text = folder / "notes.tif"
    text.write_text("not a raster")
    page.drop(text)
    toast = page.says(".toast-body", "“notes.tif” cannot be opened as a raster.")
    assert "Choose a GeoTIFF or another raster that GDAL reads." in toast
    assert not page.text("#lights p")


def same(path: Path, probabilities: Path, threshold: float) -> None:
    """A GeoPackage holds the polygons that the engine itself makes."""
    own = path.with_name("own.gpkg")
    own.unlink(missing_ok=True)
    polygons.run(PolygonizeRequest(str(probabilities), str(own), threshold), Progress())
    (meta, _, outlines, columns), (_, _, expected, others) = (
        pyogrio.raw.read(each, layer="polygons") for each in (path, own)
    )
    names = list(meta["fields"])
    assert len(outlines)
    assert shapely.equals_exact(shapely.from_wkb(outlines), shapely.from_wkb(expected)).all()
    for name in ("class", "confidence", "area_m2"):
        assert np.array_equal(columns[names.index(name)], others[names.index(name)])
