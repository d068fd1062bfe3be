"""The static page of a run: whole, safe, bounded, and it says what it leaves out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import towns
from click.testing import CliRunner, Result
from rasterio.io import MemoryFile

from orthomask.cli import commands
from orthomask.engine.interop import overview, page, selection
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import Existing, OrthomaskError, PageRequest

HOUSES = [(number, towns.square(20 + 30 * (number % 3), 20 + 30 * (number // 3))) for number in range(9)]
EVIL = "</script><img src=x onerror=alert(1)>&\"'{{7*7}}"


class Page(HTMLParser):
    """What a browser would see of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self.seen = ""
        self._open = ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._open = (dict(attributes).get("id") or tag) if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open] = self.inside.get(self._open, "") + data
        else:
            self.seen += data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def json(self, name: str) -> Any:
        return json.loads(self.inside[name])


def made(run: str, target: Path, **options: Any) -> Page:
    result = page.run(PageRequest(run, str(target), existing=Existing.OVERWRITE, **options), Progress())
    assert result.size_bytes == target.stat().st_size
    return Page(target)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["page", *map(str, arguments)])


def image(path: Path, kind: str = "uint8", bands: int = 3, side: int = 600) -> Path:
    """An image of a town: bright in the south."""
    gsd_m = 120 / side
    pixels = np.zeros((bands, side, side), kind)
    pixels[:, side // 2 :] = 200 if kind == "uint8" else 4000
    transform = rasterio.Affine(gsd_m, 0, towns.ORIGIN[0], 0, -gsd_m, towns.ORIGIN[1] + 120)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": bands, "dtype": kind}
    with rasterio.open(path, "w", crs=towns.CRS, transform=transform, **profile) as dataset:
        dataset.write(pixels)
    return path


def picture(found: Page) -> np.ndarray:
    """The pixels of the page's image."""
    (source,) = [str(attributes["src"]) for tag, attributes in found.tags if tag == "img"]
    with MemoryFile(base64.b64decode(source.partition(",")[2])) as memory, memory.open() as dataset:
        return np.asarray(dataset.read())


def test_image_objects_and_provenance_are_in_one_file(tmp_path: Path) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES, image=image(tmp_path / "town.tif"), date="2020-05-01")
    found = made(run, tmp_path / "page.html", credit="(c) Somebody, CC BY 4.0")
    pixels = picture(found)
    assert pixels.shape == (3, 600, 600)
    assert (pixels[:, :290] < 20).all()
    assert (pixels[:, 310:] > 180).all()
    collection = found.json("collection")
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in collection["features"]]
    assert len(shapes) == 9
    assert np.allclose(shapely.bounds(shapes), [87.0, 27.12, 87.0, 27.13], atol=0.01)
    data = found.json("data")
    kind, confidence, size, rings = data["objects"][0]
    assert (kind, confidence, size) == (0, 0.95, pytest.approx(144, rel=0.01))
    corners = np.cumsum(np.reshape(rings[0], (-1, 2)), axis=0) / data["unit"]
    assert shapely.box(100, 440, 160, 500).equals(shapely.Polygon(corners))  # 20 m from the lower left, 0.2 m pixels
    assert data["pixel_m"] == pytest.approx(0.2, rel=0.01)
    for fact in ("town.tif", "2020-05-01", "(c) Somebody, CC BY 4.0", "Town (abc)", "0.5", "building"):
        assert fact in found.seen
    assert str(tmp_path) not in found.text  # nobody's folders are mailed


def test_nothing_in_it_asks_a_server_or_runs_but_its_own_script(tmp_path: Path) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES, image=image(tmp_path / "town.tif"))
    found = made(run, tmp_path / "page.html")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", found.text.replace("data:image/jpeg", ""))
    addresses = [attributes for _, attributes in found.tags if {"src", "href", "action"} & set(attributes)]
    assert [str(attributes["src"])[:5] for attributes in addresses] == ["data:"]
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on") or name == "style"]
    (policy,) = [attributes["content"] for _, attributes in found.tags if attributes.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for part in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(found.inside[part].encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in policy


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = towns.write_run(folder, HOUSES, name=EVIL)
    record = json.loads((folder / "run.json").read_text())
    record["model"] |= {"title": EVIL, "licence": EVIL}
    record["model"]["classes"][0]["color"] = '"><script>'
    record["image_date"] = EVIL
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "name.json").write_text(json.dumps({"name": EVIL, "note": ""}))
    found = made(run, tmp_path / "page.html", credit=EVIL)
    assert [attributes.get("id") for tag, attributes in found.tags if tag == "script"] == ["data", "collection", None]
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert found.seen.count(EVIL) >= 5
    (shown,) = found.json("data")["classes"]
    assert (shown["name"], shown["color"], shown["number"]) == (EVIL, page.GREY, 9)
    assert found.json("collection")["features"][0]["properties"]["class"] == EVIL
    assert re.fullmatch(r"[\w.-]+\.geojson", found.json("data")["file"])


def test_without_the_image_it_says_so(tmp_path: Path) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES)
    found = made(run, tmp_path / "page.html")
    assert "The image could not be opened, so the page shows only the objects." in found.seen
    assert len(found.json("data")["objects"]) == 9
    (tmp_path / "run" / "classes.tif").unlink()
    with pytest.raises(OrthomaskError, match=r"missing classes\.tif"):
        made(run, tmp_path / "page.html")


def test_images_of_other_types_are_stretched_and_large_ones_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES, image=image(tmp_path / "town.tif", "uint16", 1))
    monkeypatch.setattr(overview, "LONGEST_PX", 150)
    pixels = picture(made(run, tmp_path / "page.html"))
    assert pixels.shape == (1, 150, 150)
    assert pixels[0, 20].mean() < 20
    assert pixels[0, 130].mean() > 230


def test_a_big_run_shows_the_largest_objects_in_simpler_outlines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = [(number, outline.centroid.buffer(3 + number, quad_segs=64)) for number, outline in HOUSES]
    run = towns.write_run(tmp_path / "run", round_)
    monkeypatch.setattr(selection, "MOST_OBJECTS", 4)
    monkeypatch.setattr(selection, "MOST_CORNERS", 200)
    found = made(run, tmp_path / "page.html")
    assert "The page shows the 4 largest of 9 objects; all of them are in the run's GeoPackage." in found.seen
    assert re.search(r"Outlines on this page are simplified by up to 0\.\d+ m", found.seen)
    objects = found.json("data")["objects"]
    assert [each[2] for each in objects] == pytest.approx([np.pi * r * r for r in (8, 9, 10, 11)], rel=0.01)
    assert sum(len(ring) // 2 for each in objects for ring in each[3]) < 200
    shapes = [shapely.geometry.shape(each["geometry"]) for each in found.json("collection")["features"]]
    assert shapely.get_num_coordinates(shapes).sum() <= 200
    assert ">9</td>" in found.text  # the table counts all


def test_an_empty_run_and_objects_that_a_person_drew(tmp_path: Path) -> None:
    run = Path(towns.write_run(tmp_path / "run", []))
    found = made(str(run), tmp_path / "page.html")
    assert found.json("data")["objects"] == []
    columns = {"class": np.array(["building", None], object), "confidence": np.full(2, np.nan)}
    two = shapely.MultiPolygon([towns.square(50, 50), towns.square(80, 80).difference(towns.square(84, 84, 4))])
    outlines = shapely.to_wkb([towns.square(0, 0), two])
    write_layer(run / "polygons-2.gpkg", "polygons", columns, outlines, "Unknown", towns.CRS)
    data = made(str(run), tmp_path / "page.html").json("data")
    assert [each[:2] for each in data["objects"]] == [[0, None], [1, None]]
    assert [each["name"] for each in data["classes"]] == ["building", "no class"]
    assert [len(each[3]) for each in data["objects"]] == [1, 3]
    assert data["objects"][1][2] == pytest.approx(144 + 144 - 16, rel=0.01)


def test_the_command_and_its_errors(tmp_path: Path) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES)
    done = command(run, "--static")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == str(tmp_path / "run" / "page.html")
    again = command(run, "--static")
    assert again.exit_code == 3
    assert "already exists" in again.output
    assert "Use RUN and --static together" in command(run).output
    assert "only with RUN and --static" in command("--out", "page.html").output
    assert "only without RUN" in command(run, "--static", "--port", "8000").output
    assert "contains no finished run" in command(tmp_path, "--static").output
    assert "ends in .html" in command(run, "--static", "--out", tmp_path / "page.txt").output
