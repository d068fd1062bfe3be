from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orthomask.engine.images import regions
from orthomask.engine.images.grid import Window
from orthomask.protocol import Areas, ClassInfo, ClassValue, ErrorCode, Labels, OrthomaskError, Split, Touch
from orthomask.training.truth import burning
from orthomask.training.truth.labels import Grid, Truth, open_truth, resolve_classes

UTM = "EPSG:32645"
PIXELS = Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)
ONE = (ClassInfo(1, "building", "#ff0000"),)
TWO = (*ONE, ClassInfo(2, "field", "#00ff00"))
needs_gdal = pytest.mark.skipif(not shutil.which("gdal_rasterize"), reason="the oracle is not installed")


def grid(width: int = 40, height: int = 30, transform: Affine = PIXELS, crs: str = UTM) -> Grid:
    return Grid(pyproj.CRS(crs).to_wkt(), transform, width, height)


def write(
    path: Path, geometries: Sequence[Any], layer: str = "labels", crs: str | None = UTM, **columns: Sequence[Any]
) -> Path:
    """A layer from geometries in its CRS; object columns are text."""
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(geometries, object)), [np.array(column) for column in columns.values()],
        list(columns), layer=layer, driver="GPKG", geometry_type="Unknown", crs=crs, append=path.exists(),
    )  # fmt: skip
    return path


def placed(geometry: Any, transform: Affine = PIXELS) -> Any:
    """A geometry in pixels, as coordinates."""
    return regions.transformed(geometry, transform)


def truth_of(labels: Sequence[Labels], target: Grid, classes: Sequence[ClassInfo] = (), **options: Any) -> Truth:
    with open_truth(labels, options.get("areas"), classes, target, options.get("touch", Touch.CENTRE)) as truth:
        truth.mask(whole(target))  # rasters are read while they are open
        return truth


def whole(target: Grid) -> Window:
    return Window(0, 0, target.width_px, target.height_px)


def box(x: float, y: float, size: float) -> shapely.Polygon:
    return shapely.box(x, y, x + size, y + size)


# --- the oracle: gdal_rasterize

coordinates = st.one_of(
    st.integers(-4, 44).map(float), st.integers(-8, 88).map(lambda n: n / 2), st.floats(-4, 44, width=32)
)
points = st.tuples(coordinates, coordinates)


@st.composite
def drawn_polygons(draw: st.DrawFn) -> list[shapely.Geometry]:
    """Polygons in pixels, many with corners and edges exactly on pixel edges and centres, some with holes."""
    found = []
    for corners in draw(st.lists(st.lists(points, min_size=3, max_size=7, unique=True), min_size=1, max_size=6)):
        hull = shapely.convex_hull(shapely.multipoints(corners))
        ring = shapely.make_valid(shapely.polygons(corners)) if draw(st.booleans()) else hull
        hole = shapely.make_valid(shapely.affinity.scale(hull, 0.5, 0.5))
        shape = shapely.difference(ring, hole) if draw(st.booleans()) else ring
        parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and part.area > 0]
        found += [shapely.multipolygons(parts)] if parts else []
    assume(found)
    return found


TRANSFORMS = [
    Affine(2, 0, 0, 0, -2, 0),
    Affine(1, 0, 3, 0, -1, 77),
    PIXELS,
    Affine(0.1, 0, 612_345.7, 0, -0.1, 4_512_345.3),
    Affine(0.25, 0.07, 400_000, 0.07, -0.25, 5_000_000),
]
transforms = st.sampled_from(TRANSFORMS)


def rasterized(folder: Path, target: Grid, vector: Path, touch: Touch) -> np.ndarray:
    """The same with GDAL's own program, on the same grid."""
    raster = folder / "oracle.tif"
    profile = {"driver": "GTiff", "width": target.width_px, "height": target.height_px, "count": 1, "dtype": "uint8"}
    with rasterio.open(raster, "w", **profile, crs=target.crs, transform=target.transform):
        pass
    flags = ["-at"] if touch is Touch.ALL else []
    command = ["gdal_rasterize", "-q", *flags, "-a", "class", "-l", "labels", str(vector), str(raster)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    with rasterio.open(raster) as dataset:
        return np.asarray(dataset.read(1))


def known(shapes: list[Any], transform: Affine, touch: Touch, folder: Path) -> tuple[Path, Truth | None]:
    """Labels of two classes in a file, and the truth; None where they lie outside of the grid."""
    values = [index % 2 + 1 for index in range(len(shapes))]
    vector = write(folder / "labels.gpkg", [placed(shape, transform) for shape in shapes], **{"class": values})
    try:
        truth = truth_of([Labels(str(vector), class_field="class")], grid(transform=transform), TWO, touch=touch)
        assume("repaired" not in " ".join(truth.warnings))  # GDAL burns what crosses itself as it is
        return vector, truth
    except OrthomaskError as error:
        if error.code is not ErrorCode.LABELS_OUTSIDE:
            raise
        return vector, None


@needs_gdal
@given(drawn_polygons(), transforms)
@settings(max_examples=12, deadline=None)
def test_a_mask_by_pixel_centres_is_what_gdal_rasterize_burns(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[Any], transform: Affine
) -> None:
    folder = tmp_path_factory.mktemp("oracle")
    vector, truth = known(shapes, transform, Touch.CENTRE, folder)
    expected = rasterized(folder, grid(transform=transform), vector, Touch.CENTRE)
    assert np.array_equal(truth.mask(whole(truth.grid)) if truth else np.zeros((30, 40)), expected)


def off_the_edges(shape: Any) -> Any:
    """Polygons whose corners are not on pixel edges: what is touched there differs between versions of GDAL."""
    snapped = regions.transformed(shape, Affine.scale(4))
    return shapely.transform(snapped, lambda points: (np.round(points) + 0.31) / 4)


@needs_gdal
@given(drawn_polygons(), transforms)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_a_mask_of_all_touched_is_what_gdal_rasterize_burns(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[Any], transform: Affine
) -> None:
    folder = tmp_path_factory.mktemp("oracle")
    moved = [shape for shape in map(off_the_edges, shapes) if shape.is_valid and shape.area > 0]
    assume(moved)
    vector, truth = known(moved, transform, Touch.ALL, folder)
    expected = rasterized(folder, grid(transform=transform), vector, Touch.ALL)
    assert np.array_equal(truth.mask(whole(truth.grid)) if truth else np.zeros((30, 40)), expected)


@needs_gdal
@pytest.mark.parametrize("touch", Touch)
@pytest.mark.parametrize("number", range(4))
def test_many_triangles_on_pixel_centres_are_what_gdal_rasterize_burns(
    tmp_path: Path, touch: Touch, number: int
) -> None:
    transform = TRANSFORMS[number]
    random = np.random.default_rng(number)
    corners = (random.integers(0, [740, 540], (800, 1, 2)) + random.integers(0, 60, (800, 3, 2))) / 2
    corners += 0.31 if touch is Touch.ALL else 0  # on pixel edges versions of GDAL differ in what is touched
    triangles = shapely.polygons(corners)
    placed_triangles = placed(triangles[shapely.area(triangles) > 0], transform)
    values = np.arange(len(placed_triangles)) % 2 + 1
    vector = write(tmp_path / "labels.gpkg", placed_triangles, **{"class": values})
    target = grid(400, 300, transform)
    truth = truth_of([Labels(str(vector), class_field="class")], target, TWO, touch=touch)
    assert np.array_equal(truth.mask(whole(target)), rasterized(tmp_path, target, vector, touch))


@given(drawn_polygons(), transforms, st.sampled_from(Touch), st.sampled_from([1, 3, 7, 30]), st.data())
@settings(max_examples=15, deadline=None)
def test_windows_agree_with_the_whole_and_with_gdal_in_one_go(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[Any], transform: Affine, touch: Touch, rows: int, data: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(burning, "STRIP_PX", rows * 40)
        _, truth = known(shapes, transform, touch, tmp_path_factory.mktemp("windows"))
    if truth is None:
        return
    mask, objects = truth.mask(whole(truth.grid)), truth.objects(whole(truth.grid))
    if touch is Touch.CENTRE or rows == 30:
        pairs = [(placed(shape, transform), index % 2 + 1) for index, shape in enumerate(shapes)]
        burned = rasterio.features.rasterize(
            pairs, (30, 40), transform=transform, all_touched=touch is Touch.ALL, dtype="uint8"
        )
        assert np.array_equal(mask, burned)
    x, y = data.draw(st.integers(0, 39)), data.draw(st.integers(0, 29))
    window = Window(x, y, data.draw(st.integers(1, 40 - x)), data.draw(st.integers(1, 30 - y)))
    part = np.s_[y : y + window.height, x : x + window.width]
    assert np.array_equal(truth.mask(window), mask[part])
    assert np.array_equal(truth.objects(window), objects[part])
    drawn = {polygon.number: polygon.class_value for polygon in truth.polygons(window)}
    assert set(np.unique(objects[part])) - {0} <= set(drawn)
    assert all((mask[objects == number] == value).all() for number, value in drawn.items())


@needs_gdal
@given(drawn_polygons(), st.sampled_from(["EPSG:4326", "EPSG:3857", "EPSG:32644", "EPSG:24345"]))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_labels_in_another_crs_are_what_gdal_reprojects_and_burns(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[Any], crs: str
) -> None:
    folder = tmp_path_factory.mktemp("crs")
    moved = [shape for shape in map(off_the_edges, shapes) if shape.is_valid and shape.area > 0]
    inside = [shape for shape in moved if shape.intersects(shapely.box(0, 0, 40, 30))]
    assume(inside)
    elsewhere = regions.reprojected(np.array([placed(shape) for shape in inside], object), UTM, crs)
    vector = write(folder / "labels.gpkg", elsewhere, crs=crs, **{"class": [1] * len(inside)})
    truth = truth_of([Labels(str(vector), class_field="class")], grid(), ONE)
    reprojected = folder / "reprojected.gpkg"
    command = ["ogr2ogr", "-q", "-t_srs", UTM, str(reprojected), str(vector)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert np.array_equal(truth.mask(whole(truth.grid)), rasterized(folder, grid(), reprojected, Touch.CENTRE))


# --- classes


def test_values_are_mapped_as_text(tmp_path: Path) -> None:
    squares = [placed(box(x, 2, 4)) for x in (1, 11, 21)]
    vector = write(tmp_path / "a.gpkg", squares, kind=[1.0, 2.0, 30.0])
    mapping = (ClassValue("1", 2), ClassValue("2.0", 1), ClassValue("30", 0))
    truth = truth_of([Labels(str(vector), class_field="kind", mapping=mapping)], grid(), TWO)
    mask = truth.mask(whole(truth.grid))
    assert [mask[4, 3], mask[4, 13], mask[4, 23]] == [2, 1, 0]


def test_classes_come_from_names_numbers_mappings_and_layers(tmp_path: Path) -> None:
    squares = [placed(box(x, 2, 4)) for x in (1, 11, 21)]
    path = str(write(tmp_path / "a.gpkg", squares, layer="roofs", kind=["tin", "tile", "tin"], value=[3, 1, 1]))
    named = resolve_classes([Labels(path, class_field="kind")])
    assert [(info.value, info.name) for info in named] == [(1, "tile"), (2, "tin")]
    numbered = resolve_classes([Labels(path, class_field="value")])
    assert [(info.value, info.name) for info in numbered] == [(1, "class 1"), (3, "class 3")]
    mapping = (ClassValue("tin", 1), ClassValue("tile", 1), ClassValue("straw", 2), ClassValue("sky", 0))
    mapped = resolve_classes([Labels(path, class_field="kind", mapping=mapping)])
    assert [(info.value, info.name) for info in mapped] == [(1, "tin / tile"), (2, "straw")]
    assert resolve_classes([Labels(path)])[0].name == "roofs"
    truth = truth_of([Labels(path, class_field="kind")], grid())
    assert np.unique(truth.mask(whole(truth.grid))).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "classes", "code", "words"),
    [
        ({"class_field": "kind", "mapping": (ClassValue("tin", 1),)}, (), ErrorCode.LABELS_CLASSES, "“tile”"),
        ({"class_field": "kind"}, ONE, ErrorCode.LABELS_CLASSES, "“tile”, “tin”"),
        ({"class_field": "typo"}, (), ErrorCode.LABELS_CLASSES, "“typo”"),
        ({"class_value": 7}, ONE, ErrorCode.LABELS_CLASSES, "7"),
        ({"layer": "typo"}, (), ErrorCode.LABELS_UNREADABLE, "“typo”"),
    ],
)
def test_unknown_classes_are_refused_by_name(
    tmp_path: Path, labels: dict[str, Any], classes: tuple[ClassInfo, ...], code: ErrorCode, words: str
) -> None:
    vector = write(tmp_path / "a.gpkg", [placed(box(x, 2, 4)) for x in (1, 11)], kind=["tin", "tile"])
    refused(code, words, [Labels(str(vector), **labels)], classes=classes)


def refused(code: ErrorCode, words: str, labels: Sequence[Labels], **options: Any) -> None:
    classes = options.pop("classes", ())
    with pytest.raises(OrthomaskError) as caught:
        truth_of(labels, options.pop("target", grid()), classes, **options)
    assert caught.value.code is code
    assert words in caught.value.sentence + caught.value.remedy
    assert caught.value.remedy


# --- precedence, parts, mending


def test_later_labels_lie_over_earlier_ones_and_subtraction_cuts(tmp_path: Path) -> None:
    below = write(tmp_path / "a.gpkg", [placed(box(0, 0, 20))])
    above = write(tmp_path / "b.gpkg", [placed(box(10, 10, 20))])
    cut = write(tmp_path / "c.gpkg", [placed(box(12, 12, 4))])
    first, second = Labels(str(below)), Labels(str(above), class_value=2)
    truth = truth_of([first, second, Labels(str(cut), subtract=True)], grid(), TWO)
    mask, objects = truth.mask(whole(truth.grid)), truth.objects(whole(truth.grid))
    assert [mask[5, 5], mask[11, 11], mask[14, 14], mask[25, 25], mask[25, 5]] == [1, 2, 0, 2, 0]
    assert [objects[5, 5], objects[11, 11], objects[14, 14]] == [1, 2, 0]
    turned = truth_of([second, Labels(str(cut), subtract=True), first], grid(), TWO)
    assert [turned.mask(whole(grid()))[y, y] for y in (11, 14, 25)] == [1, 1, 2]


def test_parts_of_a_feature_are_objects_and_holes_stay(tmp_path: Path) -> None:
    ring = shapely.difference(box(1, 1, 10), box(4, 4, 4))
    vector = write(tmp_path / "a.gpkg", [placed(shapely.multipolygons([ring, box(20, 1, 5)]))])
    truth = truth_of([Labels(str(vector))], grid())
    objects = truth.objects(whole(truth.grid))
    assert [objects[2, 2], objects[5, 5], objects[2, 22]] == [1, 0, 2]
    assert [(p.number, p.class_value) for p in truth.polygons(Window(20, 0, 4, 4))] == [(2, 1)]


def test_whatever_is_wrong_with_geometries_is_mended_or_left_out_and_counted(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(1, 1), (9, 9), (9, 1), (1, 9)])
    path = tmp_path / "a.gpkg"
    write(path, [
        placed(bow_tie), None, shapely.Polygon(), placed(shapely.Point(3, 3)), placed(box(500, 500, 3)),
        shapely.force_3d(placed(box(20, 20, 5)), 100.0),
    ])  # fmt: skip
    truth = truth_of([Labels(str(path))], grid())
    mask = truth.mask(whole(truth.grid))
    assert [mask[3, 2], mask[2, 4], mask[22, 22]] == [1, 0, 1]
    assert len(truth.polygons(whole(truth.grid))) == 3
    assert truth.warnings == (
        "1 of 6 features in “labels” were not valid and have been repaired.",
        "2 of 6 features in “labels” have no geometry and were left out.",
        "1 of 6 features in “labels” are points or lines and were left out.",
        "1 of 6 features in “labels” lie outside the image.",
    )


def test_bad_labels_are_refused_with_one_sentence(tmp_path: Path) -> None:
    away = write(tmp_path / "away.gpkg", [placed(box(500, 500, 3))])
    points = write(tmp_path / "points.gpkg", [placed(shapely.Point(3, 3))])
    with pytest.warns(UserWarning, match="crs"):
        nowhere = write(tmp_path / "nowhere.gpkg", [placed(box(1, 1, 5))], crs=None)
    text = tmp_path / "text.txt"
    text.write_text("no labels")
    refused(ErrorCode.LABELS_OUTSIDE, "outside the image", [Labels(str(away))])
    refused(ErrorCode.LABELS_EMPTY, "no polygons", [Labels(str(points))])
    pyogrio.raw.write(
        points, None, [np.array([1])], ["n"], layer="table", driver="GPKG", append=True, geometry_type=None
    )
    refused(ErrorCode.LABELS_EMPTY, "no polygons", [Labels(str(points), layer="table")])
    refused(ErrorCode.LABELS_CRS, "no known coordinate reference system", [Labels(str(nowhere))])
    refused(ErrorCode.LABELS_UNREADABLE, "text.txt", [Labels(str(text))])
    refused(ErrorCode.LABELS_UNREADABLE, "does not exist", [Labels(str(tmp_path / "gone.gpkg"))])
    assert truth_of([Labels(str(nowhere), crs=UTM)], grid()).mask(whole(grid()))[3, 3] == 1


def test_a_class_without_label_is_told(tmp_path: Path) -> None:
    vector = write(tmp_path / "a.gpkg", [placed(box(1, 1, 5))])
    assert truth_of([Labels(str(vector))], grid(), TWO).warnings == ("No label belongs to the class “field”.",)


def test_the_users_files_are_left_as_they_are(tmp_path: Path) -> None:
    vector = write(tmp_path / "a.gpkg", [placed(box(1, 1, 5))], crs=UTM)
    write(vector, [placed(box(0, 0, 20))], layer="areas", name=["a"], split=["train"])
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.iterdir()}
    truth_of([Labels(str(vector))], grid(), areas=Areas(str(vector))).mask(whole(grid()))
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.iterdir()} == before


# --- areas


def with_areas(tmp_path: Path, splits: Sequence[str], offset: float = 0) -> Areas:
    squares = [placed(box(offset + 12 * index, 0, 10)) for index in range(len(splits))]
    path = write(tmp_path / "areas.gpkg", squares, layer="areas", split=list(splits))
    return Areas(str(path))


def test_outside_of_finished_areas_everything_is_unknown(tmp_path: Path) -> None:
    labels = [Labels(str(write(tmp_path / "a.gpkg", [placed(box(5, 5, 30))])))]
    areas = with_areas(tmp_path, ["train", "todo", "Test"])
    truth = truth_of(labels, grid(), areas=areas)
    mask = truth.mask(whole(truth.grid))
    assert [mask[2, 2], mask[7, 7], mask[7, 18], mask[7, 28], mask[20, 20]] == [0, 1, 255, 1, 255]
    assert [area.split for area in truth.areas] == [Split.TRAIN, Split.TODO, Split.TEST]
    assert (
        truth.areas[0].polygon.equals(box(0, 0, 10)) or truth.areas[0].polygon.hausdorff_distance(box(0, 0, 10)) < 1e-6
    )


@pytest.mark.parametrize(
    ("splits", "offset", "words"),
    [([], 0, "no areas"), (["todo"], 0, "still to do"), (["train"], 900, "No area lies on the image")],
)
def test_without_an_area_there_is_no_truth(tmp_path: Path, splits: list[str], offset: float, words: str) -> None:
    labels = [Labels(str(write(tmp_path / "a.gpkg", [placed(box(5, 5, 30))])))]
    refused(ErrorCode.AREAS_EMPTY, words, labels, areas=with_areas(tmp_path, splits, offset))


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    labels = [Labels(str(write(tmp_path / "a.gpkg", [placed(box(5, 5, 30))])))]
    refused(ErrorCode.LABELS_CLASSES, "“later”", labels, areas=with_areas(tmp_path, ["later"]))


# --- rasters as labels


def write_raster(path: Path, pixels: np.ndarray, palette: dict[int, Any] | None = None, **profile: Any) -> Path:
    bands, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=pixels.dtype, **profile
    ) as dataset:
        dataset.write(pixels)
        if palette:
            dataset.write_colormap(1, palette)
    return path


def class_raster() -> np.ndarray:
    values = np.zeros((1, 30, 40), np.uint8)
    values[0, 2:8, 3:9], values[0, 2:8, 9:12], values[0, 20:25, 20:30] = 1, 2, 1
    return values


def test_a_raster_of_classes_on_the_same_grid_is_its_own_mask(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", class_raster(), crs=UTM, transform=PIXELS)
    truth = truth_of([Labels(str(path))], grid())
    assert np.array_equal(truth.mask(whole(truth.grid)), class_raster()[0])
    objects = truth.objects(whole(truth.grid))
    assert len(np.unique(objects)) == 4
    found = truth.polygons(whole(truth.grid))
    assert sorted((p.class_value, p.polygon.area) for p in found) == [(1, 36), (1, 50), (2, 18)]
    assert all((objects[rasterio.features.rasterize([p.polygon], (30, 40)) > 0] == p.number).all() for p in found)


def test_objects_of_a_raster_keep_their_class_outside_of_areas(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", class_raster(), crs=UTM, transform=PIXELS)
    truth = truth_of([Labels(str(path))], grid(), areas=with_areas(tmp_path, ["train"]))
    assert sorted(p.class_value for p in truth.polygons(whole(truth.grid))) == [1, 1, 2]


def test_a_raster_elsewhere_is_warped_and_nothing_is_known_beyond_it(tmp_path: Path) -> None:
    coarse = class_raster()[:, ::2, ::2][:, :10]
    path = write_raster(tmp_path / "a.tif", coarse, crs=UTM, transform=PIXELS @ Affine.scale(2))
    mask = truth_of([Labels(str(path))], grid()).mask(whole(grid()))
    assert np.array_equal(mask[:20], np.kron(coarse[0], np.ones((2, 2), np.uint8)))
    assert (mask[20:] == 255).all()
    drawn = write(tmp_path / "b.gpkg", [placed(box(0, 22, 3))])
    both = truth_of([Labels(str(path)), Labels(str(drawn), class_value=2)], grid(), TWO).mask(whole(grid()))
    assert np.array_equal(both[:20], mask[:20])
    assert [both[23, 1], both[28, 30]] == [2, 0]


@pytest.mark.parametrize("georeferenced", [True, False])
def test_an_rgb_map_and_a_palette_are_read_by_colour(tmp_path: Path, georeferenced: bool) -> None:
    values = class_raster()
    colours = np.array([[0x3C, 0x10, 0x98], [0xFE, 0xDD, 0x3A], [0, 0, 1]], np.uint8)
    place = {"crs": UTM, "transform": PIXELS} if georeferenced else {}
    rgb = write_raster(tmp_path / "rgb.tif", colours[values[0]].transpose(2, 0, 1), **place, photometric="rgb")
    palette = {value: (*map(int, colour), 255) for value, colour in enumerate(colours)}
    indexed = write_raster(tmp_path / "indexed.tif", values, palette, **place)
    mapping = (ClassValue("#3C1098", 0), ClassValue("#fedd3a", 2), ClassValue("#000001", 255))
    expected = np.array([0, 2, 255])[values[0]]
    for path in (rgb, indexed):
        truth = truth_of([Labels(str(path), mapping=mapping)], grid(), TWO)
        assert np.array_equal(truth.mask(whole(truth.grid)), expected)
    refused(ErrorCode.LABELS_CLASSES, "“#3c1098”", [Labels(str(rgb), mapping=mapping[1:])])


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", class_raster()[:, :20])
    refused(ErrorCode.LABELS_SIZE, "40 x 20 px", [Labels(str(path))])


def test_an_unknown_value_of_a_raster_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", class_raster(), crs=UTM, transform=PIXELS)
    refused(ErrorCode.LABELS_CLASSES, "“2”", [Labels(str(path))], classes=ONE)
