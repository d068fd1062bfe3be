from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from collect_servers import FakeClock, Reply, Server, grey, osm_xml, serving, tile_reply

from orthomask.cli import commands
from orthomask.engine.images.raster import open_image
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    SOURCES_TABLE,
    Areas,
    Cancelled,
    ChipsRequest,
    CollectRequest,
    CollectResult,
    ErrorCode,
    Existing,
    Image,
    Imagery,
    LabelledImage,
    Labels,
    OpenStreetMap,
    OrthomaskError,
    Outline,
    Sampled,
    TagRule,
    Touch,
    VectorLabels,
    from_json,
    to_json,
)
from orthomask.training.chips import chips
from orthomask.training.collect import web
from orthomask.training.collect.collect import collected
from orthomask.training.collect.grids import WORLD_M, pixel_size
from orthomask.training.fit import recipe
from orthomask.training.truth.labels import image_grid, open_truth

ZOOM = 18
TILE_M = WORLD_M / 2**ZOOM
COLUMN, ROW = 193_000, 110_400
AREA = shapely.box(
    -WORLD_M / 2 + COLUMN * TILE_M + 60,
    WORLD_M / 2 - ROW * TILE_M - 200,
    -WORLD_M / 2 + COLUMN * TILE_M + 200,
    WORLD_M / 2 - ROW * TILE_M - 60,
)
"""140 units of web mercator, over four tiles of zoom 18."""
LICENCE = "CC BY 4.0"
HOUSE_PBF = (
    "AAAADQoJT1NNSGVhZGVyGDsQLxo3eJxT4vMvzg1OzkjNTdQNM9AzU+JySc0rTvXLT0ktbmIUyMlMyi/OzSzN1TfSMzLWMwQAX2cO"
    "kwAAAAsKB09TTURhdGEYSBBNGkR4nONi4WLgYhByFXLmYmECAi05LhYGIBACk1JgUglMarEwAUknrh8XF7cw/ZJg+CnhxXnoY/tq"
    "NoZOGYYgsBIAHkALXwAAAAsKB09TTURhdGEYPhA0Gjp4nOMS5mLg4kgqzcxJycxL52KuTC3mYhCSlZLmYBViZJRiZFLi4mAQYJBg"
    "UGDQYHZiZQICVgDlKwaN"
)
"""`HOUSE` with the tag `building=yes`, as a PBF file written by libosmium."""


def degrees(polygon: shapely.Geometry) -> Any:
    from orthomask.engine.images.regions import reprojected

    return reprojected(polygon, "EPSG:3857", "EPSG:4326")


def inner(x: float, y: float, size: float) -> shapely.Polygon:
    """A square in metres from the corner of the area."""
    left, bottom, _, _ = AREA.bounds
    return shapely.box(left + x, bottom + y, left + x + size, bottom + y + size)


HOUSE = inner(10, 10, 20)
HALF_OUT = inner(-10, 50, 20)
YARD = inner(60, 60, 40).difference(inner(70, 70, 10))
MAP = osm_xml(
    [degrees(HOUSE), degrees(HALF_OUT), degrees(YARD), degrees(inner(100, 10, 9)), degrees(inner(-60, -60, 20))],
    [{"building": "yes"}, {"building": "house"}, {"building": "yes"}, {"building": "no"}, {"building": "yes"}],
)


@pytest.fixture
def tiles() -> Iterator[Server]:
    with serving(tile_reply) as server:
        yield server


@pytest.fixture
def overpass() -> Iterator[Server]:
    with serving(lambda _: Reply(MAP, kind="application/osm3s+xml")) as server:
        yield server


def write_areas(path: Path, *polygons: shapely.Geometry, **columns: str) -> Areas:
    values = [np.array([value] * len(polygons), object) for value in columns.values()]
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(polygons, object)), values, list(columns), layer="areas", driver="GPKG",
        geometry_type="Polygon", crs="EPSG:3857",
    )  # fmt: skip
    return Areas(str(path))


@pytest.fixture
def areas(tmp_path: Path) -> Areas:
    return write_areas(tmp_path / "areas.gpkg", AREA, name="north", split="train")


def imagery(server: Server, **options: Any) -> Imagery:
    return Imagery(f"{server.url}/{{z}}/{{x}}/{{y}}.png", LICENCE, **{"zooms": (ZOOM,), **options})


def do(request: CollectRequest, clock: FakeClock | None = None) -> CollectResult:
    return collected(request, Progress(), clock or FakeClock())


def refusal(request: CollectRequest, clock: FakeClock | None = None) -> OrthomaskError:
    with pytest.raises(OrthomaskError) as caught:
        do(request, clock)
    assert caught.value.code is not ErrorCode.INTERNAL
    assert caught.value.sentence.endswith(".")
    assert caught.value.remedy.endswith(".")
    return caught.value


def rows(path: str, layer: str) -> tuple[list[shapely.Geometry], dict[str, list[Any]]]:
    meta, _, wkb, data = pyogrio.raw.read(path, layer=layer)
    geometries = list(shapely.from_wkb(wkb)) if wkb is not None else []
    return geometries, {name: values.tolist() for name, values in zip(meta["fields"], data)}


def test_labels_and_images_of_an_area(areas: Areas, tiles: Server, overpass: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = CollectRequest(
        str(out), areas, osm=OpenStreetMap(server=f"{overpass.url}/api"), imagery=imagery(tiles), contact="me@home.org"
    )
    result = do(asked)
    assert (result.areas, result.labels, result.tiles, result.missing) == (1, {"building": 3}, 4, 0)
    drawn, fields = rows(result.project_path, "labels")
    assert fields["origin"] == ["collected"] * 3
    assert all(source.startswith(("way/", "relation/")) for source in fields["source"])
    assert sorted(round(each.area) for each in drawn) == [200, 400, 1500]  # half of one, and one with its hole
    assert rows(result.project_path, "areas")[1]["split"] == ["train"]
    _, sources = rows(result.project_path, SOURCES_TABLE)
    assert sources["attribution"][0] == "© OpenStreetMap contributors"
    assert sources["date"][0] == "2026-11-29"
    assert sources["licence"] == ["ODbL 1.0", LICENCE]
    with rasterio.open(result.images[0]) as image:
        assert image.crs == "EPSG:3857"
        assert image.res == pytest.approx((pixel_size(ZOOM),) * 2)
        assert shapely.box(*image.bounds).buffer(1e-3).covers(AREA)
        assert shapely.box(*image.bounds).area < AREA.area * 1.02
        x, y = AREA.centroid.coords[0]
        found = next(image.sample([(x, y)])).tolist()
        column, row = (int(number) for number in ((x + WORLD_M / 2) / TILE_M, (WORLD_M / 2 - y) / TILE_M))
        assert found == [grey(column, row)] * 3
        assert LICENCE in image.tags()["TIFFTAG_COPYRIGHT"]
    agents = {each.agent for each in (*tiles.asked, *overpass.asked)}
    assert len(agents) == 1
    assert all("Orthomask/" in agent and "me@home.org" in agent for agent in agents)
    left, bottom, right, top = degrees(AREA).bounds
    assert "[bbox:" in overpass.asked[0].query
    box = [float(part) for part in overpass.asked[0].query.split("[bbox:")[1].split("]")[0].split(",")]
    assert box == pytest.approx([bottom, left, top, right], abs=1e-4)


def test_what_was_collected_is_trained_with(areas: Areas, tiles: Server, overpass: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = OpenStreetMap(server=f"{overpass.url}/api")
    result = do(CollectRequest(str(out), areas, osm=source, imagery=imagery(tiles)))
    asked = recipe.load(Path(result.recipes[0]), "run", str(out))
    assert (asked.classes[0].name, asked.classes[0].outline) == ("building", Outline.SQUARED)
    project = LabelledImage(
        Image("images/zoom_18/area_001.tif"), (Labels("labels.gpkg"),), Areas("labels.gpkg"), place="area_001"
    )
    assert asked.data.projects == (project,)
    data = LabelledImage(Image(result.images[0]), (Labels(result.project_path),), Areas(result.project_path))
    cut = chips.run(ChipsRequest((data,), str(tmp_path / "chips"), chip_px=64, stride_px=64), Progress())
    assert cut.counts["train"] > 2


def test_an_area_without_labels_teaches_only_once_it_is_checked(
    tiles: Server, overpass: Server, tmp_path: Path
) -> None:
    south = shapely.affinity.translate(AREA, 0, -300)
    both = write_areas(tmp_path / "areas.gpkg", AREA, south, split="train", state="todo")
    source = OpenStreetMap(server=f"{overpass.url}/api")
    asked = CollectRequest(str(tmp_path / "out"), both, osm=source, imagery=imagery(tiles), existing=Existing.RESUME)
    result = do(asked)
    assert len(result.images) == 2
    assert "1 area without labels is in no recipe" in result.warnings[-1]
    assert Path(result.recipes[0]).read_text(encoding="utf-8").count("[[data.projects]]") == 1
    both = write_areas(tmp_path / "checked.gpkg", AREA, south, split="train", state="checked")
    result = do(replace(asked, areas=both, existing=Existing.OVERWRITE))
    assert Path(result.recipes[0]).read_text(encoding="utf-8").count("[[data.projects]]") == 2
    with open_image(Image(result.images[1])) as source:
        drawn, known = (Labels(result.project_path),), Areas(result.project_path)
        with open_truth(drawn, known, (), image_grid(source), Touch.CENTRE) as truth:
            assert [(area.split, len(truth.drawn)) for area in truth.areas] == [("train", 0)]
            assert not truth.warnings or "No label belongs" in truth.warnings[0]


class CancelsAt(Progress):
    def __init__(self, words: str) -> None:
        self.words = words

    def show(self, fraction: float, message: str) -> None:
        assert 0 <= fraction <= 1
        if self.words in message:
            raise Cancelled


def test_what_was_fetched_before_a_cancel_is_kept(
    areas: Areas, tiles: Server, overpass: Server, tmp_path: Path
) -> None:
    source = OpenStreetMap(server=f"{overpass.url}/api")
    asked = CollectRequest(str(tmp_path / "out"), areas, osm=source, imagery=imagery(tiles), existing=Existing.RESUME)
    with pytest.raises(Cancelled):
        collected(asked, CancelsAt("tiles: 3 of 4"), FakeClock())
    assert do(asked).fetched == 2
    assert (len(tiles.asked), len(overpass.asked)) == (4, 1)


def test_a_silent_server_is_given_up(
    areas: Areas, tiles: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.1)
    tiles.replies = [Reply(b"", hangs=True)] * 3
    error = refusal(CollectRequest(str(tmp_path / "out"), areas, imagery=imagery(tiles)))
    assert (error.code, error.sentence) == (ErrorCode.NETWORK, "127.0.0.1 does not answer.")
    assert len(tiles.asked) == 3


def test_it_resumes_and_asks_for_nothing_twice(areas: Areas, tiles: Server, overpass: Server, tmp_path: Path) -> None:
    asked = CollectRequest(
        str(tmp_path / "out"), areas, osm=OpenStreetMap(server=f"{overpass.url}/api"), imagery=imagery(tiles)
    )
    usual, tiles.usual = tiles.usual, lambda path: Reply(b"", 503)
    tiles.replies = [usual(f"/{ZOOM}/{COLUMN}/{ROW}")]
    clock = FakeClock()
    error = refusal(asked, clock)
    assert "busy" in error.sentence
    assert clock.slept[-3:] == [30, 60, 120]
    before = len(tiles.asked), len(overpass.asked)
    tiles.usual = usual
    assert refusal(asked).code is ErrorCode.OUTPUT_EXISTS
    result = do(replace(asked, existing=Existing.RESUME))
    assert len(result.images) == 1
    assert (len(tiles.asked) - before[0], len(overpass.asked)) == (3, before[1])
    again = do(replace(asked, existing=Existing.RESUME))
    assert again.fetched == 0
    assert again.labels == {"building": 3}


def test_missing_tiles_are_unknown_and_told(areas: Areas, tiles: Server, tmp_path: Path) -> None:
    tiles.replies = [Reply(b"no", 404)]
    result = do(CollectRequest(str(tmp_path / "out"), areas, imagery=imagery(tiles)))
    assert result.missing == 1
    assert "1 of 4 tiles is missing" in result.warnings[0]
    with rasterio.open(result.images[0]) as image:
        valid = image.dataset_mask() > 0
        assert 0.2 < valid.mean() < 0.95
        assert not image.read()[:, ~valid].any()


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ([Reply(b"", 403)], "refused access"),
        ([Reply(b"<html>Log in</html>", 200, "text/html")], "web page"),
        ([Reply(b'{"error": "no"}', 200, "application/json")], "no tiles"),
        ([Reply(b"<VRTDataset/>", 200, "image/png")], "no tiles"),
        ([Reply(tile_reply("/1/1").content[:200], 200, "image/png")] * 3, "broke off"),
        ([Reply(tile_reply("/1/1").content, cut=50)] * 3, "broke off"),
        ([Reply(b"", 500)] * 3, "error 500"),
        ([Reply(b"", 429, headers=(("Retry-After", "7200"),))], "busy"),
    ],
)  # fmt: skip
def test_tile_servers_that_misbehave(
    areas: Areas, tiles: Server, tmp_path: Path, replies: list[Reply], words: str
) -> None:
    tiles.replies = list(replies)
    error = refusal(CollectRequest(str(tmp_path / "out"), areas, imagery=imagery(tiles)))
    assert words in error.sentence
    assert len(tiles.asked) == len(replies)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(b"", 406), "contact"),
        (Reply(b"<!DOCTYPE html><html>Hotel</html>", 200, "text/html"), "web page"),
        (Reply(b"<osm><remark> runtime error: Query timed out </remark></osm>"), "Query timed out"),
        (Reply(b"{}", 200, "application/json"), "is not an Overpass server"),
        (Reply(b"", 404), "is not an Overpass server"),
        (Reply(b"", 400), "error 400"),
    ],
)
def test_overpass_servers_that_misbehave(
    areas: Areas, overpass: Server, tmp_path: Path, reply: Reply, words: str
) -> None:
    overpass.replies = [reply]
    error = refusal(CollectRequest(str(tmp_path / "out"), areas, osm=OpenStreetMap(server=f"{overpass.url}/api")))
    assert words in error.sentence
    assert len(overpass.asked) == 1
    assert not (tmp_path / "out" / "labels.gpkg").exists()


@pytest.mark.parametrize("reply", [Reply(b"", 429), Reply(b"", 504)])
def test_a_busy_overpass_server_is_left_alone_for_a_while(
    areas: Areas, overpass: Server, tmp_path: Path, reply: Reply
) -> None:
    overpass.replies, clock = [reply, reply], FakeClock()
    result = do(CollectRequest(str(tmp_path / "out"), areas, osm=OpenStreetMap(server=f"{overpass.url}/api")), clock)
    assert result.labels == {"building": 3}
    assert clock.slept == [30, 60]


def test_an_answer_of_overpass_that_breaks_off_is_asked_for_again(
    areas: Areas, overpass: Server, tmp_path: Path
) -> None:
    overpass.replies = [Reply(MAP[: len(MAP) // 2])]
    result = do(CollectRequest(str(tmp_path / "out"), areas, osm=OpenStreetMap(server=f"{overpass.url}/api")))
    assert result.labels == {"building": 3}
    assert len(overpass.asked) == 2


def test_no_network(areas: Areas, tmp_path: Path) -> None:
    source = OpenStreetMap(server="http://127.0.0.1:9/api")
    error = refusal(CollectRequest(str(tmp_path / "out"), areas, osm=source))
    assert error.code is ErrorCode.NETWORK
    assert "cannot be reached" in error.sentence


def test_an_extract_gives_the_same_and_farmyards_are_cut_out(areas: Areas, tmp_path: Path) -> None:
    extract = tmp_path / "town.osm"
    field = shapely.box(*AREA.bounds).buffer(50)
    extract.write_bytes(
        osm_xml([degrees(field), degrees(inner(0, 0, 50))], [{"landuse": "farmland"}, {"landuse": "farmyard"}])
    )
    rules = (TagRule("landuse=farmland|meadow", "field"), TagRule("landuse=farmyard"))
    result = do(CollectRequest(str(tmp_path / "out"), areas, osm=OpenStreetMap(rules, str(extract))))
    drawn, _ = rows(result.project_path, "labels")
    assert [round(each.area) for each in drawn] == [140 * 140 - 50 * 50]
    extract.write_bytes(extract.read_bytes()[:900])
    asked = CollectRequest(str(tmp_path / "other"), areas, osm=OpenStreetMap(rules, str(extract)))
    assert "not a complete OpenStreetMap file" in refusal(asked).sentence


def test_outlines_that_are_broken_in_openstreetmap_are_told(areas: Areas, overpass: Server, tmp_path: Path) -> None:
    lost = '<relation id="99"><member type="way" ref="98" role="outer"/><tag k="type" v="multipolygon"/>'
    lost += '<tag k="building" v="yes"/></relation>'
    overpass.replies = [Reply(MAP.replace(b"</osm>", lost.encode() + b"</osm>"))]
    result = do(CollectRequest(str(tmp_path / "out"), areas, osm=OpenStreetMap(server=f"{overpass.url}/api")))
    assert result.labels == {"building": 3}
    assert result.warnings == ("1 outline of OpenStreetMap is broken there and was left out: relation/99",)


def test_other_labels_do_not_resume_a_collection(areas: Areas, tiles: Server, overpass: Server, tmp_path: Path) -> None:
    asked = CollectRequest(str(tmp_path / "out"), areas, imagery=imagery(tiles), existing=Existing.RESUME)
    do(asked)
    labelled = replace(asked, osm=OpenStreetMap(server=f"{overpass.url}/api"))
    assert "of other places or labels" in refusal(labelled).sentence
    moved = write_areas(tmp_path / "moved.gpkg", shapely.affinity.translate(AREA, 5, 0), name="north", split="train")
    assert "of other places or labels" in refusal(replace(asked, areas=moved)).sentence
    anew = do(replace(labelled, existing=Existing.OVERWRITE))
    assert (anew.labels, anew.fetched) == ({"building": 3}, 4)


def test_what_the_user_has_there_is_not_touched(areas: Areas, tiles: Server, overpass: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    own = write_areas(out / "labels.gpkg", AREA)
    before = Path(own.path).read_bytes()
    for existing in Existing:
        asked = CollectRequest(str(out), areas, imagery=imagery(tiles), existing=existing)
        assert refusal(asked).code is ErrorCode.OUTPUT_EXISTS
    assert Path(own.path).read_bytes() == before
    Path(own.path).unlink()
    source = OpenStreetMap(server=f"{overpass.url}/api")
    done = do(CollectRequest(str(out), areas, osm=source, imagery=imagery(tiles)))
    (out / "images" / "mine.tif").write_bytes(b"mine")
    overpass.usual = lambda _: Reply(b"", 406)
    refusal(CollectRequest(str(out), areas, osm=source, imagery=imagery(tiles), existing=Existing.OVERWRITE))
    assert Path(done.images[0]).exists()  # nothing is lost before there is something new
    assert rows(done.project_path, "labels")[1]["class"] == [1, 1, 1]
    do(CollectRequest(str(out), areas, imagery=imagery(tiles, zooms=(17,)), existing=Existing.OVERWRITE))
    assert not Path(done.images[0]).exists()
    assert not list(out.glob("*.toml"))
    assert (out / "images" / "mine.tif").exists()


def test_an_extract_may_be_a_pbf_file(areas: Areas, tmp_path: Path) -> None:
    extract = tmp_path / "town.osm.pbf"
    extract.write_bytes(base64.b64decode(HOUSE_PBF))
    result = do(CollectRequest(str(tmp_path / "out"), areas, osm=OpenStreetMap(extract=str(extract))))
    assert [round(each.area) for each in rows(result.project_path, "labels")[0]] == [400]


def test_rules_come_in_order_and_keys_may_have_colons(areas: Areas, tmp_path: Path) -> None:
    extract = tmp_path / "town.osm"
    tags = [{"building": "yes", "building:material": "mud"}, {"building": "hut"}, {"building": "no"}]
    extract.write_bytes(osm_xml([degrees(inner(x, 10, 9)) for x in (10, 30, 50)], tags))
    rules = (TagRule("building:material=mud", "mud"), TagRule("building=hut|shed", "hut"))
    result = do(CollectRequest(str(tmp_path / "out"), areas, osm=OpenStreetMap(rules, str(extract))))
    assert result.labels == {"mud": 1, "hut": 1}


def test_a_cadastre_gives_classes_by_attribute(areas: Areas, tmp_path: Path) -> None:
    bowtie = shapely.Polygon([inner(x, y, 1).bounds[:2] for x, y in ((60, 60), (80, 80), (80, 60), (60, 80))])
    shapes = [degrees(each) for each in (HOUSE, YARD, inner(2, 100, 10), bowtie)]
    path = tmp_path / "parcels.gpkg"
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(shapes, object)), [np.array([1000, 3000, 9998, 3000])], ["funktion"],
        layer="parcels", driver="GPKG", geometry_type="Polygon", crs="EPSG:4326",
    )  # fmt: skip
    source = VectorLabels(
        str(path), class_field="funktion", classes={"1000": "house", "3000": "shed"}, licence="dl-de/zero-2-0",
        attribution="Land", date="2024-05",
    )  # fmt: skip
    result = do(CollectRequest(str(tmp_path / "out"), areas, vectors=(source,)))
    assert result.labels == {"house": 1, "shed": 2}
    assert any("1 outline was not valid" in warning for warning in result.warnings)
    assert result.attributions == ("Land",)
    again = VectorLabels(result.project_path, "labels")
    assert do(CollectRequest(str(tmp_path / "again"), areas, vectors=(again,))).labels == result.labels
    wrong = replace(source, class_field="function")
    assert "has no attribute" in refusal(CollectRequest(str(tmp_path / "b"), areas, vectors=(wrong,))).sentence
    missing = replace(source, path=str(tmp_path / "none.gpkg"))
    assert "does not exist" in refusal(CollectRequest(str(tmp_path / "c"), areas, vectors=(missing,))).sentence


def test_images_from_a_raster_at_two_resolutions(areas: Areas, tmp_path: Path) -> None:
    path = tmp_path / "ortho.tif"
    left, bottom, right, top = AREA.buffer(30).bounds
    transform = rasterio.transform.from_bounds(left, bottom, right, top, 400, 400)
    with rasterio.open(
        path, "w", driver="GTiff", count=4, height=400, width=400, dtype="uint16", crs="EPSG:3857", transform=transform
    ) as dataset:
        dataset.write(np.full((4, 400, 400), 777, np.uint16))
        dataset.descriptions = ("red", "green", "blue", "nir")
    result = do(CollectRequest(str(tmp_path / "out"), areas, imagery=Imagery(str(path), LICENCE, gsds_m=(1.0, 0.5))))
    assert [Path(each).parent.name for each in result.images] == ["gsd_1", "gsd_0.5"]
    with rasterio.open(result.images[1]) as image:
        assert (image.count, image.dtypes[0], image.descriptions[3]) == (4, "uint16", "nir")
        assert (image.read(1)[image.dataset_mask() > 0] == 777).all()
    whole = do(CollectRequest(str(tmp_path / "whole"), areas, imagery=Imagery(str(path), LICENCE)))
    assert Path(whole.images[0]).parent.name == "original"


def test_secrets_are_used_but_never_written(areas: Areas, tiles: Server, tmp_path: Path) -> None:
    source = replace(
        imagery(tiles), url=f"{tiles.url}/{{key}}/{{z}}/{{x}}/{{y}}.png?token=open",
        access={"key": "s3cret", "GDAL_HTTP_USERPWD": "me:hush"},
    )  # fmt: skip
    tiles.usual = lambda path: tile_reply(path.partition("?")[0])
    asked = CollectRequest(str(tmp_path / "out"), areas, imagery=source)
    do(asked)
    assert "/s3cret/" in tiles.asked[0].path
    assert tiles.asked[0].authorization.startswith("Basic ")
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    for secret in (b"s3cret", b"hush", b"token=open"):
        assert secret not in written
    tiles.replies = [Reply(b"key s3cret is not valid", 403)]
    error = refusal(replace(asked, output_dir=str(tmp_path / "b")))
    assert "s3cret" not in json.dumps(error.to_json())


def test_too_much_is_refused_before_anything_is_asked(areas: Areas, tiles: Server, tmp_path: Path) -> None:
    few = CollectRequest(str(tmp_path / "out"), areas, imagery=imagery(tiles), most_tiles=3)
    assert "takes 4 tiles" in refusal(few).sentence
    fine = CollectRequest(str(tmp_path / "out"), areas, imagery=imagery(tiles, zooms=(24,)))
    assert "pixels along a side" in refusal(fine).sentence
    wide = write_areas(tmp_path / "county.gpkg", AREA.buffer(5000))
    county = CollectRequest(str(tmp_path / "out"), wide, osm=OpenStreetMap(server=f"{tiles.url}/api"))
    assert "up to 25 km²" in refusal(county).sentence
    assert not tiles.asked


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Imagery("https://a.org/{z}/{x}/{y}.png", " ", (17,)), "licence"),
        (lambda: Imagery("https://a.org/{z}/{x}/{y}.png", LICENCE), "zoom level"),
        (lambda: Imagery("https://{s}.org/{z}/{x}/{y}.png", LICENCE, (17,)), "no value for {s}"),
        (lambda: Imagery("https://a.tile.openstreetmap.org/{z}/{x}/{y}.png", LICENCE, (17,)), "in bulk"),
        (lambda: Imagery("https://mt1.google.com/vt?x={x}&y={y}&z={z}", LICENCE, (17,)), "contract"),
        (lambda: TagRule('building"];node(1);out;['), "not a tag"),
        (lambda: TagRule("building,landuse"), "not a tag"),
        (lambda: OpenStreetMap(server="file:///etc/passwd"), "not the address"),
        (lambda: CollectRequest("out"), "no places"),
        (lambda: CollectRequest("out", sample=Sampled(within="a.gpkg")), "no size"),
    ],
)
def test_requests_that_are_refused(make: Any, words: str) -> None:
    with pytest.raises(OrthomaskError) as caught:
        make()
    assert words in caught.value.sentence


def test_a_request_survives_the_way_through_json(areas: Areas) -> None:
    asked = CollectRequest(
        "out", areas, None, OpenStreetMap((TagRule("building", "b"),)), (VectorLabels("a.gpkg", classes={"1": "x"}),),
        Imagery("https://a.org/{z}/{x}/{y}", LICENCE, (17, 18)),
    )  # fmt: skip
    assert from_json(CollectRequest, to_json(asked)) == asked


def test_one_command_collects_by_population(
    tiles: Server, overpass: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.Clock, "sleep", lambda *_: None)
    country, people, out = tmp_path / "country.gpkg", tmp_path / "people.tif", tmp_path / "out"
    whole = degrees(AREA.buffer(600))
    pyogrio.raw.write(
        country, shapely.to_wkb(np.array([whole], object)), [np.array(["Here"])], ["name"], layer="countries",
        driver="GPKG", geometry_type="Polygon", crs="EPSG:4326",
    )  # fmt: skip
    with rasterio.open(
        people, "w", driver="GTiff", count=1, height=4, width=4, dtype="float32", crs="EPSG:4326", nodata=-1,
        transform=rasterio.transform.from_bounds(*whole.bounds, 4, 4),
    ) as dataset:  # fmt: skip
        dataset.write(np.array([[[-1, -1, -1, -1], [-1, 5, 5, -1], [-1, 5, 5, -1], [-1, -1, -1, -1]]], np.float32))
    arguments = [
        "collect", "--within", country, "--where", "name = 'Here'", "--weights", people, "--count", 2, "--size", 256,
        "--zoom", "17,18", "--tiles", f"{tiles.url}/{{z}}/{{x}}/{{y}}.png", "--labels", "osm", "--overpass",
        f"{overpass.url}/api", "--licence", LICENCE, "--rate", 50, "--out", out, "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(commands, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    result = json.loads(done.output)
    assert [os.path.relpath(path, out) for path in result["images"]] == [
        f"images/zoom_{zoom}/area_00{number}.tif" for zoom in (17, 18) for number in (1, 2)
    ]
    for path, side in zip(result["images"], (256, 256, 512, 512)):
        with rasterio.open(path) as image:
            assert image.shape == (side, side)
    assert [Path(path).name for path in result["recipes"]] in ([], ["zoom_17.toml", "zoom_18.toml"])
