"""Polygons of every kind of file, form and CRS become the mask that GDAL burns of them, or are told."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.engine.images import regions
from orthomask.engine.images.grid import Lattice
from orthomask.protocol import ErrorCode, Labels, Region
from orthomask.training.truth.labels import Grid

from .test_labels import ONE, PIXELS, UTM, box, grid, placed, points, refused, truth_of, whole, write

needs_gdal = pytest.mark.skipif(not shutil.which("ogr2ogr"), reason="the oracle is not installed")
WORLD = shapely.box(-180, -90, 180, 90)


def burned(geometries: list[Any], target: Grid) -> np.ndarray:
    """What GDAL burns of geometries in the grid's CRS, as they are."""
    shape = (target.height_px, target.width_px)
    return np.asarray(rasterio.features.rasterize(geometries, shape, transform=target.transform, dtype="uint8"))


def mask_of(path: Path, target: Grid, **options: Any) -> np.ndarray:
    return truth_of([Labels(str(path), **options)], target, ONE).mask(whole(target))


# --- what is not valid


def square_ring(x: float, y: float, size: float) -> list[tuple[float, float]]:
    return [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]


FORMS = {
    "overlapping parts": shapely.MultiPolygon([box(2.2, 2.2, 12), box(8.2, 8.2, 12)]),
    "nested parts": shapely.MultiPolygon([box(2.2, 2.2, 20), box(8.2, 8.2, 6)]),
    "parts with a common edge": shapely.MultiPolygon([box(2.2, 2.2, 10), box(12.2, 2.2, 10)]),
    "bow-tie": shapely.Polygon([(2.2, 2.2), (20.2, 19.7), (20.2, 2.2), (2.2, 20.4)]),
    "overlapping bow-ties": shapely.MultiPolygon(
        [
            shapely.Polygon([(2.2, 2.2), (20.2, 19.7), (20.2, 2.2), (2.2, 20.4)]),
            shapely.Polygon([(8.2, 2.2), (26.2, 19.7), (26.2, 2.2), (8.2, 20.4)]),
        ]
    ),
    "hole outside": shapely.Polygon(square_ring(2.2, 2.2, 8), [square_ring(15.2, 15.2, 5)]),
    "hole across the edge": shapely.Polygon(square_ring(2.2, 2.2, 12), [square_ring(10.2, 10.2, 8)]),
    "overlapping holes": shapely.Polygon(
        square_ring(2.2, 2.2, 24), [square_ring(5.2, 5.2, 10), square_ring(10.2, 10.2, 10)]
    ),
    "twice round": shapely.Polygon([*square_ring(2.2, 2.2, 20), (2.2, 2.2), *square_ring(6.2, 6.2, 8), (6.2, 6.2)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_valid_is_mended_as_gdal_fills_it(tmp_path: Path, form: str) -> None:
    drawn = placed(FORMS[form])
    assert not drawn.is_valid
    expected = burned([drawn], grid())
    truth = truth_of([Labels(str(write(tmp_path / "a.gpkg", [drawn])))], grid())
    assert np.array_equal(truth.mask(whole(truth.grid)), expected)
    assert truth.warnings == ("1 of 1 features in “labels” were not valid and have been repaired.",)
    lattice = Lattice(grid().crs, PIXELS, 40, 30, 32, 0)
    region, warnings = regions.to_lattice(Region(drawn.wkt, UTM), lattice)
    assert np.array_equal(rasterio.features.rasterize([region], (30, 40)), expected)
    assert len(warnings) == 1


@given(st.lists(st.lists(points, min_size=3, max_size=8), min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_any_rings_are_mended_as_gdal_fills_them(
    tmp_path_factory: pytest.TempPathFactory, rings: list[list[tuple[float, float]]]
) -> None:
    parts = [shapely.transform(shapely.Polygon(ring), lambda xy: np.round(xy * 4) / 4 + 0.06) for ring in rings]
    drawn = shapely.MultiPolygon(parts)
    expected = rasterio.features.rasterize([drawn], (30, 40), dtype="uint8")
    mended = regions.mended(drawn)
    assert mended.is_valid
    found = rasterio.features.rasterize([mended], (30, 40), dtype="uint8") if mended.area else np.zeros((30, 40))
    assert np.array_equal(found, expected)


def test_labels_without_area_are_told_as_such(tmp_path: Path) -> None:
    line = shapely.Polygon([(2, 2), (9, 9), (2, 2)])
    path = write(tmp_path / "a.gpkg", [placed(line), placed(box(2, 2, 5))])
    assert (
        "1 of 2 features in “labels” have no area and were left out." in truth_of([Labels(str(path))], grid()).warnings
    )


# --- labels round the globe


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:2193", "EPSG:3031", "EPSG:6933", "EPSG:32760", "EPSG:3832"])
@pytest.mark.parametrize("reach", [180.0, 179.0])
def test_labels_round_the_globe_cover_the_image(tmp_path: Path, crs: str, reach: float) -> None:
    places = {
        UTM: (500_000, 3_000_000),
        "EPSG:2193": (1_570_000, 5_180_000),
        "EPSG:32760": (830_000 if reach == 180 else 500_000, 9e6),
    }
    x, y = places.get(crs, (1_000_000, 1_000_000))
    target = grid(transform=Affine(10, 0, x, 0, -10, y), crs=crs)
    path = write(tmp_path / "world.gpkg", [shapely.box(-reach, -reach / 2, reach, reach / 2)], crs="EPSG:4326")
    truth = truth_of([Labels(str(path))], target)
    assert truth.mask(whole(target)).all()
    assert truth.warnings == ()


def test_a_hemisphere_ends_where_it_was_drawn(tmp_path: Path) -> None:
    target = grid(400, 300, Affine(10, 0, 498_000, 0, -10, 3_000_000))  # around 87 degrees east
    path = write(tmp_path / "east.gpkg", [shapely.box(87, -90, 180, 90)], crs="EPSG:4326")
    mask = mask_of(path, target)
    assert not mask[:, :200].any()
    assert mask[:, 200:].all()


@pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:32701", "EPSG:3832"])
def test_labels_across_180_degrees(tmp_path: Path, crs: str) -> None:
    middle = regions.reprojected(shapely.Point(180, 0.1 if crs != "EPSG:32701" else -0.1), "EPSG:4326", crs)
    target = grid(transform=Affine(10, 0, middle.x - 200, 0, -10, middle.y + 150), crs=crs)
    ring = placed(shapely.box(5.2, 5.2, 35.2, 25.2), target.transform)
    degrees = regions.reprojected(ring, crs, "EPSG:4326")
    assert degrees.bounds[2] - degrees.bounds[0] > 350
    path = write(tmp_path / "a.gpkg", [degrees], crs="EPSG:4326")
    assert np.array_equal(mask_of(path, target), burned([ring], target))
    beside = grid(transform=target.transform * Affine.translation(-30, 0), crs=crs)  # not beyond 180 degrees itself
    assert np.array_equal(mask_of(path, beside), burned([ring], beside))
    east = shapely.transform(degrees, lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
    path = write(tmp_path / "b.gpkg", [east], crs="EPSG:4326")
    assert np.array_equal(mask_of(path, target), burned([ring], target))


def test_projected_labels_across_180_degrees_on_an_image_in_degrees(tmp_path: Path) -> None:
    target = grid(transform=Affine(0.001, 0, 179.98, 0, -0.001, 0.05), crs="EPSG:4326")
    drawn = shapely.box(179.9902, 0.0302, 180.0302, 0.0402)
    shifted = regions.reprojected(drawn, "EPSG:4326", "EPSG:3832")
    path = write(tmp_path / "a.gpkg", [shifted], crs="EPSG:3832")
    assert np.array_equal(mask_of(path, target), burned([drawn], target))


def test_vertices_without_place_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.box(86.9, 95, 87.1, 97), shapely.box(86, 26, 88, 28)], crs="EPSG:4326")
    told = truth_of([Labels(str(path))], grid()).warnings
    assert told == ("1 of 2 features in “labels” cannot be projected to the CRS of the image and were left out.",)


# --- CRS that is missing or wrong


def test_geojson_in_metres_without_a_crs_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    mercator = regions.reprojected(placed(box(2.2, 2.2, 9)), UTM, "EPSG:3857")
    feature = {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(mercator))}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    refused(ErrorCode.LABELS_CRS, "--labels-crs", [Labels(str(path))])
    assert np.array_equal(mask_of(path, grid(), crs="EPSG:3857"), burned([placed(box(2.2, 2.2, 9))], grid()))


def test_the_crs_of_labels_is_kept_where_it_fits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [placed(box(2.2, 2.2, 9))])
    assert np.array_equal(mask_of(path, grid(), crs="EPSG:3857"), burned([placed(box(2.2, 2.2, 9))], grid()))


# --- kinds of files


@pytest.mark.parametrize("column", ["WKT", "geometry", "wkt_geom", "the_geom"])
def test_text_tables_with_wkt(tmp_path: Path, column: str) -> None:
    shapes = [placed(box(2.2, 2.2, 9)), placed(box(20.2, 2.2, 5))]
    path = tmp_path / "a.csv"
    path.write_text(f"kind,{column}\n" + "".join(f'{kind},"{shape.wkt}"\n' for kind, shape in zip((3, 300), shapes)))
    refused(ErrorCode.LABELS_CRS, "--labels-crs", [Labels(str(path))])
    assert np.array_equal(mask_of(path, grid(), crs=UTM), burned(shapes, grid()))
    truth = truth_of([Labels(str(path), class_field="kind", crs=UTM)], grid())
    assert [info.name for info in truth.classes] == ["3", "300"]
    assert np.array_equal(truth.mask(whole(grid())), burned(list(zip(shapes, (1, 2))), grid()))
    (tmp_path / "b.csv").write_text("kind\n1\n")
    refused(ErrorCode.LABELS_UNREADABLE, "no layer with geometry", [Labels(str(tmp_path / "b.csv"))])


def test_closed_lines_of_drawings_are_polygons(tmp_path: Path) -> None:
    outlines = [placed(box(2.2, 2.2, 9)).exterior, placed(box(20.2, 2.2, 5)).exterior]
    open_line = shapely.LineString(placed(shapely.MultiPoint([(1, 1), (5, 9), (30, 20)])).geoms)
    path = tmp_path / "a.dxf"
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.raw.write(
            path, shapely.to_wkb(np.array([*outlines, open_line], object)), [np.array(list("AAB"), object)], ["Layer"],
            driver="DXF", geometry_type="Unknown",
        )  # fmt: skip
    refused(ErrorCode.LABELS_CRS, "--labels-crs", [Labels(str(path))])
    truth = truth_of([Labels(str(path), crs=UTM)], grid(), ONE)
    assert np.array_equal(truth.mask(whole(grid())), burned([shapely.Polygon(line) for line in outlines], grid()))
    assert truth.warnings == (
        "2 of 3 features in “entities” are closed lines and were read as polygons.",
        "1 of 3 features in “entities” are points or lines and were left out.",
    )


@needs_gdal
@pytest.mark.parametrize("kind", ["GEOMETRYZM", "GEOMETRY25D", "GEOMETRYM", "MULTIPOLYGONZM"])
def test_layers_with_heights_and_measures(tmp_path: Path, kind: str) -> None:
    shapes = [placed(box(2.2, 2.2, 9)), placed(box(20.2, 2.2, 5))]
    table = tmp_path / "a.csv"
    marked = (f"POLYGON ZM (({', '.join(f'{x} {y} 7 8' for x, y in shape.exterior.coords)}))" for shape in shapes)
    table.write_text("kind,WKT\n" + "".join(f'{kind},"{text}"\n' for kind, text in zip((3, 300), marked)))
    path = tmp_path / "a & b.gpkg"
    command = ["ogr2ogr", "-q", "-a_srs", UTM, "-nlt", kind, "-nln", "fields & more", str(path), str(table)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert np.array_equal(mask_of(path, grid()), burned(shapes, grid()))
    truth = truth_of([Labels(str(path), "fields & more", "kind")], grid())
    assert np.array_equal(truth.mask(whole(grid())), burned(list(zip(shapes, (1, 2))), grid()))
