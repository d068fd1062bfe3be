"""The area estimate: the worked example of its paper, and how often its interval holds the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine

from orthomask.engine.images.grid import Window
from orthomask.engine.progress import Progress
from orthomask.protocol import ClassInfo, ErrorCode, OrthomaskError, to_json
from orthomask.training.accuracy.area_estimate import SAMPLE, Sample, estimate, map_areas, pixel_m2

HOUSE = (ClassInfo(1, "house", "#ff0000"),)


def test_the_worked_example_of_olofsson_2014() -> None:
    """Table 8 and section 5: deforestation, forest gain, stable forest, other, in hectares of 30 m pixels."""
    counts = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    mapped = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09
    rows = estimate(counts, mapped, ("deforestation", "gain", "forest", "other"))
    assert [row.mapped_m2 for row in rows] == pytest.approx(mapped)
    assert [row.estimated_m2 for row in rows] == pytest.approx([21_158, 11_686, 285_770, 581_386], abs=1)
    assert [row.margin_m2 for row in rows] == pytest.approx([6_158, 3_756, 15_510, 16_282], abs=1)


def test_a_transposed_matrix_gives_another_area() -> None:
    counts = np.array([[90, 10], [40, 60]])
    areas = [estimate(matrix, np.array([500.0, 500.0]), ("no", "yes"))[1].estimated_m2 for matrix in (counts, counts.T)]
    assert areas == pytest.approx([350.0, 500.0 * 40 / 130 + 500.0 * 60 / 70], abs=0.1)


def test_the_interval_holds_the_truth_95_times_of_100() -> None:
    random = np.random.default_rng(5)
    truth = random.random(20_000) < 0.2
    mapped = np.where(random.random(truth.size) < np.where(truth, 0.8, 0.1), 1, 0)
    areas = np.bincount(mapped).astype(float)
    held = []
    for seed in range(400):
        sample = Sample(2, seed)
        for part in range(4):
            sample.add(mapped[part::4], truth[part::4].astype(np.int64))
        row = estimate(sample.counts(), areas, ("no", "yes"))[1]
        held.append(abs(row.estimated_m2 - truth.sum()) <= row.margin_m2)
    assert 0.92 <= np.mean(held) <= 0.98


def test_a_sample_is_bounded_drawn_from_all_pieces_and_repeats_itself() -> None:
    samples = []
    for _ in range(2):
        sample = Sample(3, seed=4)
        for part in range(3):
            sample.add(np.zeros(5000, int), np.full(5000, part))
        sample.add(np.array([1, 1]), np.array([2, 1]))
        samples.append(sample.counts())
    assert (samples[0] == samples[1]).all()
    assert samples[0].sum(axis=1).tolist() == [SAMPLE, 2, 0]
    assert samples[0][0] == pytest.approx(SAMPLE / 3, abs=40)


def test_a_class_that_was_never_sampled_is_taken_as_mapped() -> None:
    rows = estimate(np.array([[50, 0], [0, 0]]), np.array([900.0, 100.0]), ("no", "yes"))
    assert [(row.estimated_m2, row.margin_m2) for row in rows] == [(900, 0), (100, 0)]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32645", Affine(0.5, 0, 400_000, 0, -0.5, 3_000_000)),
        ("EPSG:3857", Affine(0.5, 0, 9_500_000, 0, -0.5, 3_200_000)),
        ("EPSG:4326", Affine(5e-6, 0, 85.5, 0, -5e-6, 27.6)),
    ],
)
def test_pixels_are_measured_on_the_ground(crs: str, transform: Affine) -> None:
    """Against the product of two geodesics across a pixel."""
    x, y = (transform @ (50, 50), transform @ (51, 51))
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    (west, north), (east, south) = to_degrees.transform(*x), to_degrees.transform(*y)
    geod = pyproj.Geod(ellps="WGS84")
    expected = geod.inv(west, north, east, north)[2] * geod.inv(west, north, west, south)[2]
    assert pixel_m2(pyproj.CRS(crs), transform, Window(0, 0, 100, 100)) == pytest.approx(expected, rel=2e-3)


def class_raster(path: Path, classes: tuple[ClassInfo, ...] = HOUSE) -> Path:
    values = np.full((1500, 40), 255, np.uint8)
    values[:1200, :30] = 0
    values[1100:1200, :10] = 1
    profile = {"driver": "GTiff", "width": 40, "height": 1500, "count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(path, "w", crs="EPSG:32645", transform=Affine(2, 0, 5e5, 0, -2, 3e6), **profile) as dataset:
        dataset.write(values, 1)
        dataset.update_tags(ORTHOMASK=json.dumps({"run_id": "x", "classes": [to_json(info) for info in classes]}))
    return path


def test_a_map_is_measured_without_what_has_no_data(tmp_path: Path) -> None:
    areas = map_areas(class_raster(tmp_path / "classes.tif"), HOUSE, Progress())
    assert areas == pytest.approx([(36_000 - 1000) * 4, 1000 * 4], rel=1e-3)  # UTM stretches a little


def test_another_models_map_and_other_files_are_refused(tmp_path: Path) -> None:
    other = class_raster(tmp_path / "classes.tif", (ClassInfo(1, "field", "#00ff00"),))
    text = tmp_path / "notes.tif"
    text.write_text("nothing")
    for path, code in ((other, ErrorCode.LABELS_CLASSES), (text, ErrorCode.IMAGE_UNREADABLE)):
        with pytest.raises(OrthomaskError) as caught:
            map_areas(path, HOUSE, Progress())
        assert caught.value.code is code


def test_where_all_is_labelled_the_area_is_known() -> None:
    counts, labelled = np.array([[90, 10], [40, 60]]), np.array([[450.0, 50.0], [120.0, 380.0]])
    no, yes = estimate(counts, labelled.sum(axis=1), ("no", "yes"), labelled)
    assert (no.estimated_m2, no.margin_m2) == (570, 0)
    assert (yes.estimated_m2, yes.margin_m2) == (430, 0)


def test_the_interval_narrows_with_the_labelled_share() -> None:
    counts, mapped = np.array([[90, 10], [40, 60]]), np.array([500.0, 500.0])
    labelled = np.array([[450.0, 50.0], [200.0, 300.0]])
    margins = [estimate(counts, mapped, ("no", "yes"), labelled * part)[1].margin_m2 for part in (0, 0.5, 0.75, 1)]
    assert margins[1:] == pytest.approx([margins[0] * np.sqrt(0.5), margins[0] / 2, 0], abs=0.1)


def test_the_interval_of_a_map_that_is_mostly_labelled_holds_the_truth() -> None:
    """All pixels of a random part of the map are labelled, as with areas; the sample is drawn from these."""
    random = np.random.default_rng(6)
    truth = (random.random(2000) < 0.2).astype(np.int64)
    mapped = np.where(random.random(truth.size) < np.where(truth, 0.8, 0.1), 1, 0)
    held = []
    for seed in range(400):
        known = random.permutation(truth.size) < 600
        sample = Sample(2, seed)
        sample.add(mapped[known], truth[known])
        labelled = np.zeros((2, 2))
        np.add.at(labelled, (mapped[known], truth[known]), 1)
        row = estimate(sample.counts(), np.bincount(mapped).astype(float), ("no", "yes"), labelled)[1]
        held.append(abs(row.estimated_m2 - truth.sum()) <= row.margin_m2)
    assert 0.92 <= np.mean(held) <= 1
