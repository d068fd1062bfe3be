"""Objects grown from a click: by known rectangles, by what must hold for any picture, and by bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from shapely import Geometry

from orthomask.cli import commands
from orthomask.engine import predict
from orthomask.engine.grow import grow, looks, square
from orthomask.engine.grow.growth import Growth, Look
from orthomask.engine.images import regions
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.measure import measured
from orthomask.protocol import ErrorCode, GrowRequest, GrowResult, Image, OrthomaskError, PredictRequest, SquareRequest

CRS, LEFT, TOP, GSD = "EPSG:32645", 500_000.0, 3_000_000.0, 0.3
ROOFS = (shapely.box(40, 30, 70, 52), shapely.box(110, 60, 134, 100), shapely.box(72, 30, 90, 52))
"""In pixels; the third one is beside the first."""
NO_DATA = np.s_[:, 150:, :40]


def on_map(geometry: Geometry) -> Geometry:
    return regions.transformed(geometry, Affine(GSD, 0, LEFT, 0, -GSD, TOP))


def iou(one: Geometry, other: Geometry) -> float:
    return float(one.intersection(other).area / one.union(other).area)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> Path:
    """A run over roofs on a lawn by a network that knows nothing; one corner of the picture is missing."""
    folder = tmp_path_factory.mktemp("roofs")
    random = np.random.default_rng(1)
    picture = random.normal(0, 2, (3, 192, 192)) + np.array((70, 110, 60))[:, None, None]
    for roof, colour in zip(ROOFS, ((190, 180, 170), (150, 60, 50), (40, 60, 200))):
        left, top, right, bottom = map(int, roof.bounds)
        picture[:, top:bottom, left:right] += (np.array(colour) - (70, 110, 60))[:, None, None]
    valid = np.full((192, 192), 255, np.uint8)
    valid[NO_DATA[1:]] = 0
    path = folder / "image.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=192, width=192, dtype="uint8", crs=CRS,
        transform=Affine(GSD, 0, LEFT, 0, -GSD, TOP),
    ) as dataset:  # fmt: skip
        dataset.write(np.clip(picture, 0, 255).astype(np.uint8))
        dataset.write_mask(valid)
    request = PredictRequest(Image(str(path)), str(make_bundle(classes=2)), str(folder / "run"), device="cpu")
    predict.run(request, Progress())
    return folder / "run"


def grown(run_dir: Path, column: float, row: float, **more: object) -> tuple[Geometry, GrowResult]:
    x, y = shapely.get_coordinates(on_map(shapely.Point(column, row)))[0]
    result = grow.run(GrowRequest(str(run_dir), x, y, device="cpu", **more), Progress())  # type: ignore[arg-type]
    return shapely.from_wkt(result.wkt), result


@pytest.mark.parametrize("roof", ROOFS)
@pytest.mark.parametrize("where", [(0.5, 0.5), (0.25, 0.7)])
def test_a_roof_is_outlined_from_any_place_on_it(run_dir: Path, roof: Geometry, where: tuple[float, float]) -> None:
    left, top, right, bottom = roof.bounds
    column, row = left + where[0] * (right - left), top + where[1] * (bottom - top)
    polygon, result = grown(run_dir, column, row)
    assert iou(polygon, on_map(roof)) > 0.75
    assert polygon.contains(on_map(shapely.Point(column, row)))
    assert result.outline in ("squared", "kept")
    assert result.has_image
    (area,), _ = measured(np.array([polygon], object), pyproj.CRS(CRS))
    assert result.area_m2 == pytest.approx(area, abs=0.01)


def test_what_others_cover_is_left_to_them(run_dir: Path) -> None:
    other = on_map(shapely.box(40, 30, 58, 52))
    polygon, _ = grown(run_dir, 64, 41, taken=other.wkt)
    assert polygon.intersection(other).area < 1e-6
    assert iou(polygon, on_map(shapely.box(58, 30, 70, 52))) > 0.8


def test_size_moves_to_larger_and_smaller_objects(run_dir: Path) -> None:
    areas = [grown(run_dir, 122, 80, size=size)[1].area_m2 for size in (0.2, 0.5, 1.0, 2.0, 4.0)]
    assert areas == sorted(areas)
    assert areas[-1] > 2 * areas[2] > 4 * areas[0]


def test_the_place_can_be_in_degrees(run_dir: Path) -> None:
    expected, same = grown(run_dir, 55, 41)
    point = regions.reprojected(on_map(shapely.Point(55, 41)), CRS, "EPSG:4326")
    result = grow.run(GrowRequest(str(run_dir), point.x, point.y, "EPSG:4326", device="cpu"), Progress())
    found = regions.reprojected(shapely.from_wkt(result.wkt), "EPSG:4326", CRS)
    assert iou(found, expected) > 0.999
    assert result.area_m2 == pytest.approx(same.area_m2, rel=1e-4)


def test_without_the_image_it_grows_by_the_probabilities(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = looks.open_run(str(run_dir))
    gone = replace(opened, request=replace(opened.request, image=Image("/gone/picture.tif")))
    monkeypatch.setattr(grow, "open_run", lambda _: gone)
    polygon, result = grown(run_dir, 55, 41)
    assert not result.has_image
    assert polygon.contains(on_map(shapely.Point(55, 41)))


def test_the_class_is_the_most_probable_or_the_chosen_one(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, seen = grown(run_dir, 55, 41)
    assert seen.class_name == f"class {seen.class_value}"
    monkeypatch.setattr(grow, "SEEN", 1.1)
    for value in (1, 2):
        assert grown(run_dir, 55, 41, class_value=value)[1].class_value == value
    assert grown(run_dir, 55, 41)[1].class_value == seen.class_value


@pytest.mark.parametrize(
    ("place", "more", "code"),
    [
        ((-5, 20), {}, ErrorCode.REGION_OUTSIDE),
        ((20, 170), {}, ErrorCode.IMAGE_EMPTY),
        ((55, 41), {"taken": on_map(ROOFS[0]).wkt}, ErrorCode.BAD_REQUEST),
        ((55, 41), {"taken": "POLYGON EVERYWHERE"}, ErrorCode.BAD_REQUEST),
        ((55, 41), {"crs": "EPSG:0"}, ErrorCode.REGION_CRS),
        ((55, 41), {"crs": "EPSG:4326"}, ErrorCode.REGION_OUTSIDE),
        ((55, 41), {"size": 0.0}, ErrorCode.BAD_REQUEST),
        ((float("nan"), 41), {}, ErrorCode.BAD_REQUEST),
    ],
)
def test_bad_input_ends_in_a_sentence(
    run_dir: Path, place: tuple[float, float], more: dict[str, object], code: ErrorCode
) -> None:
    with pytest.raises(OrthomaskError) as caught:
        grown(run_dir, *place, **more)
    assert caught.value.code is code


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(OrthomaskError, match="not the folder of a finished run"):
        grown(tmp_path, 55, 41)


def test_the_command_prints_geojson_in_degrees(run_dir: Path) -> None:
    polygon, result = grown(run_dir, 55, 41)
    x, y = shapely.get_coordinates(on_map(shapely.Point(55, 41)))[0]
    said = CliRunner().invoke(commands, ["grow", str(run_dir), "--at", f"{x},{y}", "--device", "cpu", "--json"])
    feature = json.loads(said.stdout)
    found = shapely.from_geojson(json.dumps(feature["geometry"]))
    assert iou(regions.reprojected(found, "EPSG:4326", CRS), polygon) > 0.999
    assert feature["properties"]["class"] == result.class_name
    said = CliRunner().invoke(commands, ["grow", str(run_dir), "--at", f"{x},{y}", "--device", "cpu"])
    assert polygon.wkt[:9] in said.stdout
    assert CliRunner().invoke(commands, ["grow", str(run_dir), "--at", "5"]).exit_code == 2


def noise(seed: int, side: int = 64) -> Look:
    """Colours, features and probabilities that wander; a fifth of the pixels has no data."""
    random = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(random.normal(size=(7, side, side)), (0, 3, 3)) * 12
    features = fields[3:6] / np.linalg.norm(fields[3:6], axis=0)
    valid = ndimage.gaussian_filter(random.normal(size=(side, side)), 4) > -0.05
    return Look(
        fields[:3].astype(np.float32),
        features.astype(np.float32),
        1 / (1 + np.exp(-fields[6:])).astype(np.float32),
        valid,
    )


@given(st.integers(0, 1000), st.integers(8, 55), st.integers(8, 55), st.integers(1, 3000), st.integers(1, 3000))
@settings(max_examples=25, deadline=None)
def test_an_object_is_one_piece_around_the_click_and_grows_with_its_size(
    seed: int, row: int, column: int, fewer: int, more: int
) -> None:
    look = noise(seed)
    look.valid[row, column] = True
    growth = Growth(look, (row, column), look.valid)
    small, large = (growth.object(pixels) for pixels in sorted((fewer, more)))
    for inside in (small, large):
        assert inside[row, column]
        assert ndimage.label(inside)[1] == 1
        assert ndimage.label(~np.pad(inside, 1))[1] == 1, "no holes"
    assert not (small & ~large).any()


@pytest.mark.parametrize("seed", range(3))
def test_the_window_does_not_matter(seed: int) -> None:
    """What is within reach in a part of a picture is the same as in all of it."""
    look, part = noise(seed, 128), np.s_[20:110, 14:104]
    look.valid[:] = True
    smaller = Look(*(values[(..., *part)] for values in (look.colours, look.features, look.probability, look.valid)))
    whole = Growth(look, (64, 60), look.valid).object(400)
    assert not whole[:30].any()
    assert not whole[:, 94:].any()
    np.testing.assert_array_equal(Growth(smaller, (44, 46), smaller.valid).object(400), whole[part])


@pytest.mark.parametrize("angle", [0, 25])
def test_a_roof_in_noise_is_found_by_its_colours_alone(angle: float) -> None:
    rows, columns = np.mgrid[:128, :128] - 60
    turn = np.radians(angle)
    along, across = columns * np.cos(turn) + rows * np.sin(turn), rows * np.cos(turn) - columns * np.sin(turn)
    roof = (abs(along) < 20) & (abs(across) < 12)
    colours = np.random.default_rng(0).normal(0, 0.1, (3, 128, 128)) + 1.2 * roof
    none = np.zeros((0, 128, 128), np.float32)
    look = Look(colours.astype(np.float32), none, np.full((1, 128, 128), 0.01, np.float32), np.ones((128, 128), bool))
    growth = Growth(look, (57, 66), look.valid)
    found = growth.object(growth.proposed(700))
    assert (found & roof).sum() / (found | roof).sum() > 0.9


def test_a_bump_of_probability_alone_is_found() -> None:
    rows, columns = np.mgrid[:96, :96]
    inside = (abs(rows - 50) < 12) & (abs(columns - 44) < 17)
    probability = np.where(inside, 0.3, 0.01).astype(np.float32)[None]
    none = np.zeros((0, 96, 96), np.float32)
    look = Look(none, none, probability, np.ones((96, 96), bool))
    growth = Growth(look, (46, 40), look.valid)
    found = growth.object(growth.proposed(700))
    assert (found & inside).sum() / (found | inside).sum() > 0.95


CROOKED = shapely.Polygon([(0, 0), (12, 0.5), (12.3, 8), (6, 8.2), (6.1, 14), (-0.3, 13.6)])
"""An L of a roof, drawn by hand, metres."""


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326", "EPSG:3857"])
def test_a_crooked_roof_gets_right_angles(crs: str) -> None:
    drawn = shapely.affinity.rotate(shapely.affinity.translate(CROOKED, LEFT, TOP), 20)
    given = regions.reprojected(drawn, CRS, crs)
    result = square.run(SquareRequest(given.wkt, crs), Progress())
    found = regions.reprojected(shapely.from_wkt(result.wkt), crs, CRS)
    assert result.is_squared
    assert iou(found, drawn) > 0.9
    edges = np.diff(shapely.get_coordinates(found), axis=0) @ (1, 1j)
    turns = np.angle(edges[1:] / edges[:-1])
    np.testing.assert_allclose(np.abs(turns), np.pi / 2, atol=0.01)


def test_a_round_object_stays_as_it_is() -> None:
    tank = shapely.Point(LEFT, TOP).buffer(9)
    assert square.run(SquareRequest(tank.wkt, CRS), Progress()).is_squared is False


@pytest.mark.parametrize(
    "wkt", ["", "CIRCLE", "POINT (1 2)", "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))", "MULTIPOLYGON EMPTY"]
)
def test_what_is_no_polygon_is_not_squared(wkt: str) -> None:
    with pytest.raises(OrthomaskError) as caught:
        square.run(SquareRequest(wkt, CRS), Progress())
    assert caught.value.code is ErrorCode.BAD_REQUEST
