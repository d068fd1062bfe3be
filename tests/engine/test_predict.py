from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import UTM, CancelAfter, scene
from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.images.grid import Lattice, Window, select
from orthomask.engine.progress import Progress
from orthomask.engine.runs import runs
from orthomask.engine.shapes import polygons
from orthomask.protocol import (
    REACH_PX,
    Cancelled,
    ErrorCode,
    Existing,
    Image,
    OrthomaskError,
    PolygonizeRequest,
    PolygonOptions,
    PredictRequest,
    PredictResult,
    Region,
    from_json,
)

Read = Callable[[Window], tuple[np.ndarray, np.ndarray]]


def reader_of(pixels: np.ndarray, valid: np.ndarray | None = None) -> Read:
    """Reads windows of an array `(H, W)`, padded beyond its edge like `raster.Reader`."""
    valid = np.ones(pixels.shape, bool) if valid is None else valid

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        values, mask = (
            np.zeros((window.height, window.width), np.float32),
            np.zeros((window.height, window.width), bool),
        )
        part = pixels[window.y : window.y + window.height, window.x : window.x + window.width]
        values[: part.shape[0], : part.shape[1]] = part
        mask[: part.shape[0], : part.shape[1]] = valid[
            window.y : window.y + window.height, window.x : window.x + window.width
        ]
        return values[None], mask

    return read


def blended(lattice: Lattice, read: Read, predictor: Callable[[Tensor], Tensor], **options: int) -> np.ndarray:
    strips = predict.strips(lattice, select(lattice, None), read, predictor, 1, Progress(), **options)
    return np.concatenate([strip.probabilities for strip in strips], axis=1)[0]


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    window = draw(st.sampled_from([64, 96]))
    side = st.integers(1, 300)
    return Lattice("", Affine.identity(), draw(side), draw(side), window, draw(st.integers(0, window // 2)))


@settings(max_examples=60, deadline=None)
@given(lattices(), st.integers(1, 5), st.integers(1, 3))
def test_identity_gives_the_image_back_for_every_shape_and_overlap(lattice: Lattice, batch: int, lanes: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (lattice.height_px, lattice.width_px))
    result = blended(lattice, reader_of(pixels / runs.SCALE), lambda windows: windows, batch=batch, lanes=lanes)
    np.testing.assert_array_equal(result, pixels)


@settings(max_examples=40, deadline=None)
@given(lattices())
def test_x_plus_one_adds_one_everywhere(lattice: Lattice) -> None:
    pixels = np.random.default_rng(2).integers(0, 254, (lattice.height_px, lattice.width_px))
    result = blended(lattice, reader_of(pixels / runs.SCALE), lambda windows: windows + 1 / runs.SCALE)
    np.testing.assert_array_equal(result, pixels + 1)


@settings(max_examples=30, deadline=None)
@given(lattices(), st.data())
def test_invalid_pixels_are_nodata_and_windows_without_data_never_reach_the_network(
    lattice: Lattice, data: st.DataObject
) -> None:
    shape = (lattice.height_px, lattice.width_px)
    valid = np.zeros(shape, bool)
    valid[: data.draw(st.integers(0, shape[0])), : data.draw(st.integers(0, shape[1]))] = True
    seen = []

    def predictor(windows: Tensor) -> Tensor:
        seen.append(windows)
        return windows

    result = blended(lattice, reader_of(np.where(valid, 0.5, 0), valid), predictor)
    np.testing.assert_array_equal(result == runs.NODATA, ~valid)
    assert all((window != 0).any() for window in seen)


@settings(max_examples=30, deadline=None)
@given(lattices(), st.integers(1, 8))
def test_strips_from_the_middle_equal_those_of_a_whole_run(lattice: Lattice, first: int) -> None:
    pixels = np.random.default_rng(3).random((lattice.height_px, lattice.width_px))
    arguments = (lattice, select(lattice, None), reader_of(pixels), lambda windows: windows, 1, Progress())
    whole, rest = list(predict.strips(*arguments)), list(predict.strips(*arguments, first=first))
    assert len(rest) == max(0, lattice.rows - first)
    for one, other in zip(whole[first:], rest):
        assert (one.index, one.top) == (other.index, other.top)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    lattice = Lattice("", Affine.identity(), 500, 64, 64, 16)
    pixels = np.random.default_rng(4).integers(0, 255, (64, 500))
    sizes = []

    def predictor(windows: Tensor) -> Tensor:
        sizes.append(len(windows))
        if len(windows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return windows

    result = blended(lattice, reader_of(pixels / runs.SCALE), predictor, batch=8)
    np.testing.assert_array_equal(result, pixels)
    assert sizes[:3] == [8, 4, 2]
    assert set(sizes[2:]) == {2}


def test_where_memory_will_not_do_for_all_lanes_fewer_run_at_a_time() -> None:
    lattice = Lattice("", Affine.identity(), 500, 64, 64, 16)
    pixels = np.random.default_rng(5).integers(0, 255, (64, 500))
    room, refused, at_once = threading.Semaphore(2), threading.Event(), []

    def predictor(windows: Tensor) -> Tensor:
        if not room.acquire(blocking=False):
            refused.set()
            raise MemoryError
        at_once.append(2 - room._value)
        assert refused.wait(60), "no third lane came"
        room.release()
        return windows

    result = blended(lattice, reader_of(pixels / runs.SCALE), predictor, lanes=4)
    np.testing.assert_array_equal(result, pixels)
    assert max(at_once) == 2


def test_memory_too_small_for_one_window_is_said_in_words() -> None:
    def predictor(windows: Tensor) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    lattice = Lattice("", Affine.identity(), 64, 64, 64, 16)
    with pytest.raises(OrthomaskError) as caught:
        blended(lattice, reader_of(np.ones((64, 64))), predictor, batch=4, lanes=3)
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY


def test_other_errors_of_the_network_are_not_swallowed() -> None:
    def predictor(windows: Tensor) -> Tensor:
        raise RuntimeError("shape mismatch")

    lattice = Lattice("", Affine.identity(), 64, 64, 64, 16)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        blended(lattice, reader_of(np.ones((64, 64))), predictor)


@pytest.fixture
def request_(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> PredictRequest:
    return PredictRequest(
        Image(str(make_raster((500, 333)))), str(tiny), str(tmp_path / "out"), window_px=64, overlap_px=16
    )


def rasters(result: PredictResult) -> tuple[bytes, bytes]:
    return Path(result.classes_path).read_bytes(), Path(result.probabilities_path).read_bytes()


def again(request: PredictRequest, out: Path, **changes: object) -> PredictRequest:
    return PredictRequest(**{**request.__dict__, "output_dir": str(out), **changes})  # type: ignore[arg-type]


def box_region(transform: Affine, left: int, top: int, right: int, bottom: int) -> Region:
    (x0, y0), (x1, y1) = transform @ (left, top), transform @ (right, bottom)
    return Region(shapely.box(x0, y1, x1, y0).wkt, UTM)


def test_run_leaves_a_whole_folder_and_nothing_else(request_: PredictRequest) -> None:
    result = predict.run(request_, Progress())
    folder = Path(request_.output_dir)
    assert {path.name for path in folder.iterdir()} == {*runs.RESULTS, "classes.tif.aux.xml"}
    record = json.loads((folder / "run.json").read_text())
    assert record["run_id"] == result.run_id
    assert record["model"]["sha256"]
    assert record["request"]["model"] == request_.model


def test_rasters_are_valid_cogs_with_palette_names_nodata_and_overviews(
    make_raster: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    image = make_raster((900, 1100))
    result = predict.run(PredictRequest(Image(str(image)), str(tiny), str(tmp_path / "out")), Progress())
    for path in (result.classes_path, result.probabilities_path):
        with rasterio.open(path) as dataset, rasterio.open(image) as source:
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert dataset.nodata == runs.NODATA
            assert dataset.overviews(1)
            assert dataset.block_shapes[0] == (512, 512)
            assert (dataset.transform, dataset.shape, dataset.crs) == (source.transform, source.shape, source.crs)
    with rasterio.open(result.classes_path) as dataset:
        assert dataset.colormap(1)[1] == (20, 80, 48, 255)
    assert "<Category>class 1</Category>" in Path(result.classes_path + ".aux.xml").read_text()
    with rasterio.open(result.probabilities_path) as dataset:
        assert dataset.descriptions == ("class 1",)
        assert dataset.scales == (1 / runs.SCALE,)


def test_classes_are_the_likeliest_class_above_the_threshold(
    make_raster: Callable[..., Path], make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    image = Image(str(make_raster((300, 200))))
    result = predict.run(PredictRequest(image, str(make_bundle(3)), str(tmp_path / "out"), threshold=0.3), Progress())
    with rasterio.open(result.classes_path) as dataset:
        classes = dataset.read(1)
    with rasterio.open(result.probabilities_path) as dataset:
        probabilities = dataset.read() / runs.SCALE
    expected = np.where(probabilities.max(axis=0) >= 0.3, probabilities.argmax(axis=0) + 1, 0)
    np.testing.assert_array_equal(classes, expected)
    assert len(np.unique(classes)) > 2


def test_overlapping_regions_agree_on_every_pixel_both_cover(request_: PredictRequest, tmp_path: Path) -> None:
    with rasterio.open(request_.image.path) as dataset:
        transform = dataset.transform
    results = []
    for number, corners in enumerate([(10, 20, 250, 300), (90, 130, 333, 480)]):
        region = box_region(transform, *corners)
        results.append(predict.run(again(request_, tmp_path / str(number), region=region), Progress()))
    with rasterio.open(results[0].probabilities_path) as one, rasterio.open(results[1].probabilities_path) as other:
        common = one.read(window=rasterio.windows.Window(80, 110, 160, 170))
        np.testing.assert_array_equal(common, other.read(window=rasterio.windows.Window(0, 0, 160, 170)))
        assert (common != runs.NODATA).all()


def test_outside_a_polygon_region_and_in_its_holes_nothing_is_predicted(
    request_: PredictRequest, tmp_path: Path
) -> None:
    with rasterio.open(request_.image.path) as dataset:
        transform, crs = dataset.transform, dataset.crs
    ring = shapely.Point(transform @ (150, 200)).buffer(35).difference(shapely.Point(transform @ (150, 200)).buffer(12))
    other = shapely.Point(transform @ (300, 470)).buffer(6)
    region = shapely.MultiPolygon([ring, other])
    result = predict.run(again(request_, tmp_path / "r", region=Region(region.wkt, crs.to_wkt())), Progress())
    with rasterio.open(result.classes_path) as dataset:
        mask = rasterio.features.geometry_mask([region], dataset.shape, dataset.transform)
        np.testing.assert_array_equal(dataset.read(1) == runs.NODATA, mask)


@pytest.mark.parametrize("fraction", [0.1, 0.45, 0.8, 0.88, 0.9])
def test_a_cancelled_run_leaves_no_result_and_repeated_gives_the_same_bytes(
    request_: PredictRequest, tmp_path: Path, fraction: float
) -> None:
    undisturbed = predict.run(again(request_, tmp_path / "whole"), Progress())
    with pytest.raises(Cancelled):
        predict.run(request_, CancelAfter(fraction))
    assert not any((Path(request_.output_dir) / name).exists() for name in runs.RESULTS)
    resumed = predict.run(request_, Progress())
    assert rasters(resumed) == rasters(undisturbed)
    assert resumed.polygon_count == undisturbed.polygon_count


def test_an_unfinished_run_says_itself_how_to_go_on(request_: PredictRequest) -> None:
    with pytest.raises(Cancelled):
        predict.run(request_, CancelAfter(0.6))
    begun = json.loads((Path(request_.output_dir) / ".orthomask" / "state.json").read_text(encoding="utf-8"))
    resumed = predict.run(from_json(PredictRequest, begun["request"]), Progress())
    finished = json.loads((Path(request_.output_dir) / "run.json").read_text(encoding="utf-8"))
    assert resumed.run_id == begun["run_id"] == finished["run_id"]
    assert set(finished) - set(begun) == {"result"}
    assert begun["precision"] == finished["precision"]


def test_a_repeated_run_does_not_run_finished_strips_again(
    request_: PredictRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Cancelled):
        predict.run(request_, CancelAfter(0.6))
    written: list[int] = []
    write = runs.RunFolder.write
    monkeypatch.setattr(
        runs.RunFolder, "write", lambda folder, strip: (written.append(strip.index), write(folder, strip))[1]
    )
    predict.run(request_, Progress())
    assert written
    assert written[0] > 2


def test_a_run_whose_strips_are_all_finished_needs_neither_network_nor_pixels(
    request_: PredictRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Cancelled):
        predict.run(request_, CancelAfter(0.88))
    monkeypatch.setattr(predict, "open_reader", lambda *_: pytest.fail("the image is read again"))
    assert Path(predict.run(request_, Progress()).classes_path).exists()


def test_killed_while_results_are_moved_and_repeated_gives_the_same_bytes(
    request_: PredictRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = predict.run(again(request_, tmp_path / "whole"), Progress())
    replace = os.replace

    def killed_at_the_second_result(source: Path, target: Path) -> None:
        if Path(target) == Path(request_.output_dir) / "probabilities.tif":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed_at_the_second_result)
        with pytest.raises(KeyboardInterrupt):
            predict.run(request_, Progress())
    assert not (Path(request_.output_dir) / "run.json").exists()
    assert rasters(predict.run(request_, Progress())) == rasters(undisturbed)


def test_results_are_never_overwritten_unasked(request_: PredictRequest) -> None:
    first = predict.run(request_, Progress())
    before = rasters(first)
    with pytest.raises(OrthomaskError) as caught:
        predict.run(again(request_, Path(request_.output_dir), threshold=0.9), Progress())
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
    assert rasters(first) == before


def test_resume_returns_a_finished_run_as_it_is(request_: PredictRequest) -> None:
    first = predict.run(request_, Progress())
    changed = Path(first.classes_path).stat().st_mtime_ns
    second = predict.run(again(request_, Path(request_.output_dir), existing=Existing.RESUME), Progress())
    assert second == first
    assert Path(first.classes_path).stat().st_mtime_ns == changed


def test_overwrite_replaces_a_run(request_: PredictRequest) -> None:
    predict.run(request_, Progress())
    request = again(request_, Path(request_.output_dir), existing=Existing.OVERWRITE, threshold=0.9)
    result = predict.run(request, Progress())
    with rasterio.open(result.classes_path) as classes, rasterio.open(result.probabilities_path) as probabilities:
        np.testing.assert_array_equal(classes.read(1) == 1, probabilities.read(1) >= 0.9 * runs.SCALE)


def test_an_image_that_changed_is_not_taken_for_the_same_run(
    request_: PredictRequest, make_raster: Callable[..., Path]
) -> None:
    with pytest.raises(Cancelled):
        predict.run(request_, CancelAfter(0.6))
    make_raster(scene(500, 333) // 2)
    with pytest.raises(OrthomaskError) as caught:
        predict.run(request_, Progress())
    assert caught.value.code is ErrorCode.IMAGE_CHANGED


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_any_bands_and_pixel_type_of_a_model_are_predicted(
    make_raster: Callable[..., Path], make_bundle: Callable[..., Path], tmp_path: Path, dtype: str
) -> None:
    image = make_raster(scene(150, 130, bands=5).astype(dtype))
    model = make_bundle(classes=2, bands=4, dtype=dtype)
    result = predict.run(PredictRequest(Image(str(image)), str(model), str(tmp_path / "out")), Progress())
    with rasterio.open(result.probabilities_path) as dataset:
        assert (dataset.count, dataset.shape) == (2, (150, 130))
        assert (dataset.read() != runs.NODATA).all()


class Bright(torch.nn.Module):
    """Finds what is brighter than the mean."""

    def forward(self, windows: Tensor) -> Tensor:
        bright = 50 * windows.mean(dim=1, keepdim=True)
        return torch.cat([torch.zeros_like(bright), bright], dim=1)


DEGREE = 0.3 / 111_320
GEOREFERENCES = {
    "utm": (UTM, Affine(0.3, 0, 500_000, 0, -0.3, 3_000_000)),
    "finer": (UTM, Affine(0.17, 0, 500_000, 0, -0.17, 3_000_000)),
    "south-up": (UTM, Affine(0.3, 0, 500_000, 0, 0.3, 3_000_000)),
    "rotated": (UTM, Affine.translation(500_000, 3_000_000) @ Affine.rotation(25) @ Affine.scale(0.3, -0.3)),
    "geographic": ("EPSG:4326", Affine(DEGREE * 2, 0, 85.5, 0, -DEGREE, 60.0)),
    "web mercator": ("EPSG:3857", Affine(0.6, 0, 1e6, 0, -0.6, 8_399_738)),
}


@pytest.mark.parametrize("kind", GEOREFERENCES)
def test_polygons_lie_where_the_object_is_in_any_georeference(
    make_raster: Callable[..., Path], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    crs, transform = GEOREFERENCES[kind]
    pixels = np.full((3, 240, 300), 20, np.uint8)
    pixels[:, 60:150, 80:220] = 230
    image = make_raster(pixels, crs=crs, transform=transform)
    ready = devices.Predictor(Bright(), devices.choose("cpu"), "fp32")
    monkeypatch.setattr(devices, "prepare", lambda *_: ready)
    result = predict.run(PredictRequest(Image(str(image)), str(tiny), str(tmp_path / "out")), Progress())
    meta, _, geometries, _ = pyogrio.raw.read(result.polygons_path, layer="polygons")
    found = shapely.union_all(shapely.from_wkb(geometries))
    expected = shapely.Polygon([transform @ corner for corner in ((80, 60), (220, 60), (220, 150), (80, 150))])
    assert meta["crs"] == crs, "polygons come in the source's CRS"
    assert found.intersection(expected).area / found.union(expected).area > 0.97


def outlines(result: PredictResult) -> list[str]:
    _, _, geometries, _ = pyogrio.raw.read(result.polygons_path, layer="polygons")
    return sorted(shapely.to_wkt(shapely.normalize(shapely.from_wkb(geometries)), rounding_precision=3))


@pytest.fixture
def whole(request_: PredictRequest, tmp_path: Path) -> Callable[..., PredictResult]:
    """Runs over a box of pixels, whose objects at the edge are kept whole, with their pixels' outlines."""
    with rasterio.open(request_.image.path) as dataset:
        transform = dataset.transform

    def run(name: str, *corners: int, progress: Progress | None = None) -> PredictResult:
        options = {"whole_objects": True, "polygons": PolygonOptions(0, 0, simplify=False), "threshold": 0.6}
        region = box_region(transform, *corners)
        return predict.run(again(request_, tmp_path / name, region=region, **options), progress or Progress())

    return run


def test_neighbouring_regions_draw_each_whole_object_once(whole: Callable[..., PredictResult]) -> None:
    apart = outlines(whole("left", 20, 40, 150, 300)) + outlines(whole("right", 150, 40, 310, 300))
    joint = outlines(whole("both", 20, 40, 310, 300))
    assert len(joint) > 20
    assert sorted(apart) == joint


def test_classes_end_with_the_region_and_probabilities_reach_beyond(whole: Callable[..., PredictResult]) -> None:
    result = whole("left", 20, 40, 150, 300)
    with rasterio.open(result.classes_path) as classes, rasterio.open(result.probabilities_path) as probabilities:
        known = [dataset.read(1) != runs.NODATA for dataset in (classes, probabilities)]
        corner = ~classes.transform @ (probabilities.transform.c, probabilities.transform.f)
    assert int(known[0].sum()) == 130 * 260
    assert corner == pytest.approx((0, 0), abs=1e-6)
    assert known[1][: 300 + REACH_PX, : 150 + REACH_PX].all()
    assert not known[1][:, 150 + 2 * REACH_PX :].any()


def test_a_cancelled_run_with_whole_objects_goes_on_where_it_stopped(whole: Callable[..., PredictResult]) -> None:
    undisturbed = whole("undisturbed", 20, 40, 150, 300)
    with pytest.raises(Cancelled):
        whole("again", 20, 40, 150, 300, progress=CancelAfter(0.5))
    resumed = whole("again", 20, 40, 150, 300)
    assert rasters(resumed) == rasters(undisturbed)
    assert outlines(resumed) == outlines(undisturbed)


def test_polygons_of_the_raster_are_those_of_the_run(whole: Callable[..., PredictResult], tmp_path: Path) -> None:
    result, target = whole("left", 20, 40, 150, 300), tmp_path / "more.gpkg"
    options = PolygonOptions(0, 0, simplify=False)
    polygons.run(PolygonizeRequest(result.probabilities_path, str(target), 0.6, polygons=options), Progress())
    assert outlines(replace(result, polygons_path=str(target))) == outlines(result)
