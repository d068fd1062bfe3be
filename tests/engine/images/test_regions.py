"""Regions of any shape, size and CRS on a raster; what is far from it has no say."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import pyproj
import pytest
import shapely
from affine import Affine
from click.testing import CliRunner
from test_predict import Bright

from conftest import UTM
from orthomask.cli import commands
from orthomask.cli.prediction import region_of
from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.images.grid import Lattice
from orthomask.engine.images.regions import reprojected, to_lattice, transformed
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, Image, OrthomaskError, PredictRequest, Region

LATTICE = Lattice(pyproj.CRS(UTM).to_wkt(), Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000), 400, 300, 64, 16)
WHOLE = shapely.box(0, 0, 400, 300)


def geographic(left: float, size: float = 1e-3) -> Lattice:
    return Lattice(pyproj.CRS("EPSG:4326").to_wkt(), Affine(size / 100, 0, left, 0, -size / 100, 10), 100, 100, 64, 16)


@pytest.mark.parametrize(
    ("wkt", "crs"),
    [
        ("POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))", "EPSG:4326"),
        ("POLYGON ((0 -90, 360 -90, 360 90, 0 90, 0 -90))", "EPSG:4326"),
        ("POLYGON ((0 0, 180 0, 180 90, 0 90, 0 0))", "EPSG:4326"),
        ("POLYGON ((-2e7 -2e7, 2e7 -2e7, 2e7 2e7, -2e7 2e7, -2e7 -2e7))", "EPSG:3857"),
    ],
)
def test_a_region_as_large_as_the_world_is_the_whole_image(wkt: str, crs: str) -> None:
    assert to_lattice(Region(wkt, crs), LATTICE)[0].equals(WHOLE)


def test_a_hemisphere_whose_edge_crosses_the_image_is_cut_there() -> None:
    middle = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True).transform(500_000 + 60, 3_000_000 - 45)[0]
    polygon, _ = to_lattice(Region(shapely.box(middle - 90, -80, middle, 80).wkt, "EPSG:4326"), LATTICE)
    assert polygon.area == pytest.approx(WHOLE.area / 2, rel=0.01)
    assert polygon.bounds[0] == 0


@pytest.mark.parametrize("left", [190.0, -170.0, 179.9995, -180.0005])
@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_longitudes_meet_however_they_are_counted(left: float, turns: int) -> None:
    region = shapely.box(left + 0.00025 + 360 * turns, 9.9995, left + 0.00075 + 360 * turns, 10)
    polygon, _ = to_lattice(Region(region.wkt, "EPSG:4326"), geographic(left))
    np.testing.assert_allclose(polygon.bounds, (25, 0, 75, 50), atol=1e-3)


def test_a_region_in_metres_across_the_antimeridian_meets_a_geographic_image() -> None:
    lattice = geographic(179.9995)
    region = reprojected(shapely.box(180.0 - 2e-4, 9.9995, 180.0 + 2e-4, 9.9999), "EPSG:4326", "EPSG:32660")
    polygon, _ = to_lattice(Region(region.wkt, "EPSG:32660"), lattice)
    np.testing.assert_allclose(polygon.bounds, (30, 10, 70, 50), atol=0.1)


@pytest.mark.parametrize("kind", ["collection", "overlapping"])
def test_only_the_polygons_of_a_collection_count_and_overlaps_once(kind: str) -> None:
    near, far = shapely.box(500_000, 2_999_940, 500_060, 3_000_000), shapely.box(500_030, 2_999_940, 500_090, 3_000_000)
    line = shapely.LineString([(500_000, 3_000_000), (500_500, 2_999_000)])
    nested = shapely.GeometryCollection([line, shapely.GeometryCollection([near, shapely.Point(1, 1)]), far])
    drawn = nested if kind == "collection" else shapely.MultiPolygon([near, far])
    polygon, _ = to_lattice(Region(drawn.wkt, UTM), LATTICE)
    assert polygon.area == pytest.approx(300 * 200)


def test_a_region_that_only_touches_or_lies_elsewhere_is_refused() -> None:
    for region in (shapely.box(499_000, 2_999_000, 500_000, 3_000_000), shapely.box(0, 0, 1, 1)):
        with pytest.raises(OrthomaskError) as caught:
            to_lattice(Region(region.wkt, UTM), LATTICE)
        assert caught.value.code is ErrorCode.REGION_OUTSIDE


def test_a_missing_grid_is_told() -> None:
    _, warnings = to_lattice(Region("POLYGON ((86 26, 88 26, 88 28, 86 28, 86 26))", "EPSG:4267"), LATTICE)
    assert not warnings or "shift" in warnings[0]
    lattice = Lattice(pyproj.CRS("EPSG:32615").to_wkt(), Affine(1, 0, 500_000, 0, -1, 4_400_000), 100, 100, 64, 16)
    _, (warning,) = to_lattice(Region("POLYGON ((-94 39, -92 39, -92 41, -94 41, -94 39))", "EPSG:4267"), lattice)
    assert "NAD27" in warning


@pytest.mark.parametrize("kind", ["Unknown", "Polygon ZM", "Unknown ZM", "mixed", "several layers"])
def test_a_region_file_of_any_kind_gives_its_polygons(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "region.gpkg"
    square = shapely.box(500_000, 2_999_970, 500_030, 3_000_000)
    geometries = [square, shapely.LineString([(0, 0), (1, 1)])] if kind == "mixed" else [square]
    wkb = [shapely.to_wkb(geometry) for geometry in geometries]
    if kind.endswith("ZM"):
        corners = " , ".join(f"{x} {y} 5 7" for x, y in square.exterior.coords)
        wkb = [shapely.to_wkb(shapely.from_wkt(f"POLYGON ZM (({corners}))"), flavor="iso")]
    if kind == "several layers":
        write(path, "points", [shapely.to_wkb(shapely.Point(1, 1))], "Point")
        write(path, "roads", [shapely.to_wkb(shapely.LineString([(0, 0), (1, 1)]))], "LineString")
    write(path, "polygons", wkb, "Polygon" if kind in {"Polygon ZM", "several layers"} else "Unknown")
    if kind.endswith("ZM"):
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE gpkg_geometry_columns SET z = 1, m = 1 WHERE table_name = 'polygons'")
    write(path, "others", [shapely.to_wkb(square.buffer(10))], "Polygon")
    region = region_of(str(path))
    assert region is not None
    assert shapely.from_wkt(region.wkt).equals(square)
    other = region_of(f"{path}|others")
    assert other is not None
    assert shapely.from_wkt(other.wkt).area > 1.5 * square.area
    with pytest.raises(OrthomaskError) as caught:
        region_of(f"{path}|none")
    assert caught.value.code is ErrorCode.REGION_UNREADABLE


def test_a_region_file_without_polygons_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "points.gpkg", "points", [shapely.to_wkb(shapely.Point(1, 1))], "Point")
    with pytest.raises(OrthomaskError) as caught:
        region_of(str(tmp_path / "points.gpkg"))
    assert caught.value.code is ErrorCode.REGION_EMPTY


def write(path: Path, layer: str, wkb: list[bytes], kind: str) -> None:
    pyogrio.raw.write(
        path, np.array(wkb, object), [np.arange(len(wkb))], ["number"], layer=layer, driver="GPKG",
        append=path.exists(), geometry_type=kind, crs=UTM,
    )  # fmt: skip


@pytest.mark.parametrize("left", [179.9995, 190.0, -180.0005])
def test_polygons_across_the_antimeridian_lie_where_the_image_does(
    make_raster: Callable[..., Path], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    pixels = np.full((3, 100, 400), 20, np.uint8)
    pixels[:, 20:80, 60:340] = 230
    transform = Affine(2.7e-6, 0, left, 0, -2.7e-6, 60)
    image = make_raster(pixels, crs="EPSG:4326", transform=transform)
    ready = devices.Predictor(Bright(), devices.choose("cpu"), "fp32")
    monkeypatch.setattr(devices, "prepare", lambda *_: ready)
    result = predict.run(PredictRequest(Image(str(image)), str(tiny), str(tmp_path / "out")), Progress())
    expected = transformed(shapely.box(60, 20, 340, 80), transform)
    found = shapely.union_all(shapely.from_wkb(pyogrio.raw.read(result.polygons_path, layer="polygons")[2]))
    assert found.intersection(expected).area / found.union(expected).area > 0.95
    again = tmp_path / "again.gpkg"
    arguments = ["polygonize", result.probabilities_path, "--threshold", "0.5", "--out", str(again)]
    assert CliRunner().invoke(commands, arguments).exit_code == 0
    assert shapely.union_all(shapely.from_wkb(pyogrio.raw.read(again, layer="polygons")[2])).equals(found)
    for wrong in (result.classes_path, str(image)):
        refused = CliRunner().invoke(
            commands, ["polygonize", wrong, *arguments[2:4], "--out", str(tmp_path / "other.gpkg"), "--json"]
        )
        assert json.loads(refused.stdout.splitlines()[0])["error"]["code"] == ErrorCode.IMAGE_UNREADABLE.value
