"""What the check says of missing data, against the exact share by numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine

from conftest import UTM, scene
from orthomask.engine import check, predict
from orthomask.engine.images import coverage
from orthomask.engine.images.georeference import degrees
from orthomask.engine.images.grid import select
from orthomask.engine.images.raster import open_image
from orthomask.engine.images.regions import reprojected, to_lattice
from orthomask.engine.progress import Progress
from orthomask.protocol import CheckRequest, Image, Level, Light, OrthomaskError, PredictRequest, Region

GRID = Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)
HEIGHT, WIDTH = 300, 400


def light(image: Image, model: Path, region: Region | None = None) -> Light:
    result = check.run(CheckRequest(image, str(model), region), Progress())
    return next(light for light in result.lights if light.name == "data")


def measured(path: Path, region: Region | None = None, gsd_m: float = 0.3) -> coverage.Coverage:
    with open_image(Image(str(path))) as source:
        lattice = source.lattice(gsd_m, 512, 0)
        geometry = to_lattice(region, lattice)[0] if region else None
        return coverage.measure(source, lattice, select(lattice, geometry), region)


def drawn(geometry: shapely.Geometry) -> Region:
    """A region of pixels of the image."""
    return Region(shapely.transform(geometry, lambda xy: xy * (0.3, -0.3) + (500_000, 3_000_000)).wkt, UTM)


def bright() -> np.ndarray:
    return np.clip(scene(HEIGHT, WIDTH), 1, 254)


def corner(share: float) -> np.ndarray:
    """The pixels above a line across the upper left corner, about this part of the image."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return x / WIDTH + y / HEIGHT < np.sqrt(2 * share)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_an_image_without_gaps_holds_data_everywhere(make_raster: Callable[..., Path], tiny: Path, crs: str) -> None:
    """On the lattice of a geographic image lie corners that are none of it."""
    place = Affine(2.7e-6, 0, 16, 0, -2.7e-6, 48) if crs == "EPSG:4326" else Affine(0.45, 0, 1.8e6, 0, -0.45, 6.1e6)
    found = light(Image(str(make_raster(bright(), crs=crs, transform=place))), tiny)
    assert (found.level, found.reason) == (Level.GREEN, "OK: 100% of the image has data.")


def test_a_turned_image_is_no_image_with_gaps(make_raster: Callable[..., Path], tiny: Path) -> None:
    turned = GRID @ Affine.rotation(30)
    found = light(Image(str(make_raster(bright(), transform=turned))), tiny)
    assert "100%" in found.reason


@pytest.mark.parametrize("shape", ["whole", "box", "triangle", "speck"])
@pytest.mark.parametrize("gsd_m", [0.3, 0.75])
def test_the_share_is_what_numpy_counts(make_raster: Callable[..., Path], shape: str, gsd_m: float) -> None:
    pixels = bright()
    gone = corner(0.3) | (np.random.default_rng(1).random((HEIGHT // 10, WIDTH // 10)) < 0.2).repeat(10, 0).repeat(
        10, 1
    )
    pixels[:, gone] = 0
    path = make_raster(pixels, nodata=0)
    geometry = {
        "whole": None,
        "box": shapely.box(30, 40, 230, 290),
        "triangle": shapely.Polygon([(5, 5), (395, 50), (90, 290)]),
        "speck": shapely.box(100.2, 100.2, 100.6, 100.6),
    }[shape]
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = shapely.contains_xy(geometry, x, y) if geometry else np.ones(gone.shape, bool)
    inside = inside if inside.any() else shapely.intersects(geometry, shapely.box(x - 0.5, y - 0.5, x + 0.5, y + 0.5))
    found = measured(path, drawn(geometry) if geometry else None, gsd_m)
    assert found.share == pytest.approx((~gone)[inside].mean(), abs=0.03)
    assert found.on_image == pytest.approx(1)
    assert found.margin == 0, "what is known to be missing is no margin"


@pytest.mark.parametrize(("value", "share"), [(0, 0.08), (255, 0.27), (0, 0.02)])
def test_a_plain_margin_is_amber_and_can_be_no_data(
    make_raster: Callable[..., Path], tiny: Path, tmp_path: Path, value: int, share: float
) -> None:
    pixels, gone = bright(), corner(share)
    pixels[:, gone] = value
    path = make_raster(pixels)
    found = light(Image(str(path)), tiny)
    assert (found.level, found.nodata) == (Level.AMBER, value)
    assert measured(path).margin == pytest.approx(gone.mean(), abs=0.02)
    known = light(Image(str(path), nodata=found.nodata), tiny)
    assert (known.level, known.nodata) == (Level.GREEN, None)
    result = predict.run(PredictRequest(Image(str(path), nodata=value), str(tiny), str(tmp_path / "run")), Progress())
    with rasterio.open(result.classes_path) as dataset:
        np.testing.assert_array_equal(dataset.dataset_mask() == 0, gone)


def test_dark_water_and_white_roofs_inside_are_no_margin(make_raster: Callable[..., Path], tiny: Path) -> None:
    pixels = bright()
    pixels[:, 50:150, 60:260] = 0
    pixels[:, 160:260, 60:260] = 255
    pixels[0, :20] = 0  # and a band that is dark up to the edge is not black
    found = light(Image(str(make_raster(pixels))), tiny)
    assert (found.level, found.nodata) == (Level.GREEN, None)


def test_a_margin_far_from_the_region_does_not_count(make_raster: Callable[..., Path]) -> None:
    pixels = bright()
    pixels[:, corner(0.2)] = 0
    pixels[:, 200:220, 300:320] = 0
    path = make_raster(pixels)
    assert measured(path, drawn(shapely.box(260, 180, 360, 260))).margin == 0
    box = shapely.box(0, 0, 100, 100)
    assert measured(path, drawn(box)).margin == pytest.approx(corner(0.2)[:100, :100].mean(), abs=0.03)


def test_only_what_lies_on_the_image_counts(make_raster: Callable[..., Path], tiny: Path) -> None:
    path = Image(str(make_raster(bright())))
    beside = light(path, tiny, drawn(shapely.box(-WIDTH, 0, WIDTH / 2, HEIGHT)))
    assert beside.level is Level.AMBER
    assert beside.reason == "Only 33% of the region lies on the image; 100% of that has data. The rest is left out."
    pair = shapely.box(-WIDTH, 0, -10, HEIGHT).union(shapely.box(10, 0, WIDTH, HEIGHT)).reverse()
    assert light(path, tiny, drawn(pair)).reason.startswith("Only 50% of the region lies on the image")
    for bounds in ((80, 20, 95, 35), (-180, 0, 180, 90), (-180, -90, 180, 90)):
        speck = light(path, tiny, Region(shapely.box(*bounds).wkt, "EPSG:4326"))
        assert speck.level is Level.AMBER
        assert speck.reason.startswith("Only less than 1% of the region lies on the image")


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", UTM])
def test_a_region_inside_the_image_lies_on_it_in_any_crs(make_raster: Callable[..., Path], crs: str) -> None:
    path = make_raster(bright())
    inside = reprojected(shapely.from_wkt(drawn(shapely.box(20, 20, WIDTH - 20, HEIGHT - 20)).wkt), UTM, crs)
    assert measured(path, Region(inside.wkt, crs)).on_image == 1


@pytest.mark.parametrize(
    ("code", "box"),
    [
        (4326, (10, 40, 12, 42)), (32632, (500_000, 4e6, 600_000, 4.1e6)), (32660, (700_000, 4e6, 900_000, 4.1e6)),
        (4807, (2, 50, 3, 51)),
    ],
)  # fmt: skip
def test_areas_are_those_of_the_ellipsoid(code: int, box: tuple[float, ...]) -> None:
    crs = pyproj.CRS(code)
    corners = shapely.get_coordinates(shapely.segmentize(shapely.box(*box), (box[2] - box[0]) / 200))
    expected = abs(crs.get_geod().polygon_area_perimeter(*degrees(corners, crs))[0])
    assert coverage._ground_m2(shapely.box(*box), crs) == pytest.approx(expected, rel=1e-6)


def test_a_value_that_no_pixel_can_have_is_refused(make_raster: Callable[..., Path]) -> None:
    path = str(make_raster((20, 30)))
    for value in (256, -1, 0.5):
        with pytest.raises(OrthomaskError, match="uint8"), open_image(Image(path, nodata=value)):
            pass
    with pytest.raises(OrthomaskError, match="is not a number"):
        Image(path, nodata=float("nan"))


def test_what_a_raster_says_itself_comes_first(make_raster: Callable[..., Path]) -> None:
    path = make_raster((20, 30), nodata=7)
    with open_image(Image(str(path), nodata=0)) as source:
        assert source.dataset.nodata == 7


def test_the_value_belongs_to_the_run(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> None:
    path = str(make_raster((40, 50)))
    folders = [str(tmp_path / name) for name in ("one", "other")]
    runs = [
        predict.run(PredictRequest(Image(path, nodata=value), str(tiny), folder), Progress())
        for value, folder in zip((None, 0.0), folders)
    ]
    assert runs[0].run_id != runs[1].run_id
    assert '"nodata": 0.0' in (tmp_path / "other" / "run.json").read_text(encoding="utf-8")
