"""Matching of objects, against rectangles counted by hand and against pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from orthomask.training.accuracy.objects import Matches, average_precision, match, object_scores
from orthomask.training.truth.components import components

SIZE = 32


def drawn(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Numbers of the rectangles `(left, top, right, bottom)`, in their order, from 1."""
    shapes = [(shapely.box(*box), number) for number, box in enumerate(boxes, start=1)]
    return rasterio.features.rasterize(shapes, (SIZE, SIZE), dtype="int32") if shapes else np.zeros((SIZE, SIZE), int)


def matched(found: np.ndarray, true: np.ndarray, probability: np.ndarray | float = 0.8, least_px: float = 1) -> Matches:
    probabilities = np.broadcast_to(probability, found.shape)
    return match(found, (found > 0).astype(np.uint8), probabilities, true, (true > 0).astype(np.uint8), least_px)


def test_overlap_is_that_of_the_polygons() -> None:
    one, other = (2, 3, 12, 15), (4, 5, 15, 16)
    a, b = shapely.box(*one), shapely.box(*other)
    iou = a.intersection(b).area / a.union(b).area
    result = matched(drawn(one), drawn(other))
    assert result.found[0].iou == pytest.approx(iou)
    assert result.found[0].partner == (1 if iou >= 0.5 else 0)


@pytest.mark.parametrize(("right", "partner"), [(20, 1), (21, 0)])
def test_half_is_enough_and_less_is_not(right: int, partner: int) -> None:
    """A true rectangle 10 wide in a predicted one of 20, then of 21."""
    result = matched(drawn((0, 0, right, 10)), drawn((0, 0, 10, 10)))
    assert result.found[0].partner == partner
    assert len(result.missed) == 1 - partner


def test_a_true_object_is_matched_once_by_the_most_confident() -> None:
    """Two halves of a building: both overlap it by half, one of them counts."""
    found = drawn((0, 0, 5, 10), (5, 0, 10, 10))
    probability = np.where(found == 2, 0.9, 0.7)
    result = matched(found, drawn((0, 0, 10, 10)), probability)
    assert [(row.number, row.partner) for row in result.found] == [(2, 1), (1, 0)]
    assert result.found[0].confidence == pytest.approx(0.9)


def test_objects_of_different_classes_never_match() -> None:
    box = drawn((0, 0, 10, 10))
    classes = (box > 0).astype(np.uint8)
    result = match(box, classes, np.ones(box.shape), box, 2 * classes)
    assert (result.found[0].partner, len(result.missed)) == (0, 1)
    first, second = object_scores([result], ("house", "shed"))
    assert (first.false, first.missed, second.false, second.missed) == (1, 0, 0, 1)


def test_touching_buildings_stay_apart() -> None:
    """One predicted block over two labelled buildings of a row matches neither."""
    result = matched(drawn((0, 0, 21, 10)), drawn((0, 0, 10, 10), (10, 0, 21, 10)))
    assert [row.partner for row in result.found] == [2]
    assert [row.number for row in result.missed] == [1]
    assert result.missed[0].iou == pytest.approx(10 / 21)


def test_specks_are_neither_false_nor_missed() -> None:
    result = matched(drawn((0, 0, 2, 2), (8, 8, 14, 14)), drawn((20, 20, 22, 21), (8, 8, 14, 14)), least_px=5)
    assert (len(result.found), len(result.missed)) == (1, 0)


def test_scores_count_over_all_pieces() -> None:
    good = matched(drawn((0, 0, 10, 10)), drawn((0, 0, 10, 10)))
    bad = matched(drawn((0, 0, 10, 10)), drawn((20, 20, 30, 30), (0, 20, 10, 30)))
    (scores,) = object_scores([good, bad], ("house",))
    assert (scores.matched, scores.false, scores.missed) == (1, 1, 2)
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx((1 / 2, 1 / 3, 2 / 5))


def test_average_precision_by_hand() -> None:
    """Hit, false, hit among four objects: precision 1 up to recall 1/4, then 2/3 up to 1/2, then 0."""
    confidence, hit = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    expected = (26 * 1 + 25 * 2 / 3) / 101
    assert average_precision(confidence, hit, 4) == pytest.approx(expected)
    assert average_precision(confidence[::-1], hit, 4) == pytest.approx(expected)


def encoded(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def coco_average_precision(found: np.ndarray, probability: np.ndarray, true: np.ndarray) -> float:
    """The average precision at IoU 0.5 as pycocotools has it."""
    truth, predicted = COCO(), COCO()
    numbers = [number for number in np.unique(true).tolist() if number]
    truth.dataset = {
        "info": {}, "images": [{"id": 1, "width": SIZE, "height": SIZE}], "categories": [{"id": 1, "name": "house"}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int((true == number).sum()),
             "segmentation": encoded(true == number)} for number in numbers
        ],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        rows = [
            {"image_id": 1, "category_id": 1, "segmentation": encoded(found == number),
             "score": round(float(probability[found == number].mean()), 6)}
            for number in np.unique(found).tolist() if number
        ]  # fmt: skip
        predicted = truth.loadRes(rows)
        judge = COCOeval(truth, predicted, "segm")
        judge.params.iouThrs = np.array([0.5])
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.maxDets = [1000]
        judge.evaluate()
        judge.accumulate()
    return float(judge.eval["precision"].mean())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, SIZE - 12, (8, 2))
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners.tolist(), random.integers(4, 12, (8, 2)).tolist())]
    true = drawn(*boxes)
    found = components((np.roll(drawn(*boxes[:6]), random.integers(0, 3), axis=1) > 0).astype(np.uint8))
    probability = random.random((SIZE, SIZE))
    (scores,) = object_scores([matched(found, true, probability)], ("house",))
    assert scores.average_precision == pytest.approx(coco_average_precision(found, probability, true), abs=1e-9)
