"""The scores, against counts made by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torchmetrics.functional.classification import binary_calibration_error, binary_precision_recall_curve

from orthomask.engine.runs.runs import SCALE, classify
from orthomask.protocol import UNKNOWN
from orthomask.training.accuracy.calibration import BINS, Histogram
from orthomask.training.accuracy.scores import THRESHOLDS, Scoreboard, accuracy, kappa, pixel_scores


def counted(probability, mask, threshold):
    """Hits, false alarms and misses, one pixel at a time."""
    hits = alarms = misses = 0
    for p, truth in zip(probability.ravel().tolist(), mask.ravel().tolist()):
        if truth == UNKNOWN:
            continue
        found = p >= threshold
        hits += found and truth > 0
        alarms += found and truth == 0
        misses += not found and truth > 0
    return hits, alarms, misses


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.25, 0.5, 0.75]))
def test_scores_are_those_of_the_counts(seed, threshold):
    random = np.random.default_rng(seed)
    probability = random.random((9, 13))
    mask = random.choice([0, 0, 0, 1, UNKNOWN], (9, 13))
    hits, alarms, misses = counted(probability, mask, threshold)
    board = Scoreboard((threshold,))
    board.add("here", torch.from_numpy(probability), torch.from_numpy(mask))
    scores = board.scores(0)
    assert scores.iou == pytest.approx(hits / max(hits + alarms + misses, 1), abs=1e-5)
    assert scores.precision == pytest.approx(hits / max(hits + alarms, 1), abs=1e-5)
    assert scores.recall == pytest.approx(hits / max(hits + misses, 1), abs=1e-5)
    assert scores.f1 == pytest.approx(2 * hits / max(2 * hits + alarms + misses, 1), abs=1e-5)


def test_precision_and_recall_are_torchmetrics_at_every_threshold():
    random = torch.Generator().manual_seed(0)
    probability, mask = torch.rand(40, 50, generator=random), torch.randint(0, 3, (40, 50), generator=random)
    probability[0, :17] = torch.tensor(THRESHOLDS)
    board = Scoreboard(THRESHOLDS)
    board.add("here", probability, torch.where(mask == 2, UNKNOWN, mask))
    thresholds = torch.tensor(THRESHOLDS, dtype=torch.float64)
    precisions, recalls, _ = binary_precision_recall_curve(probability.double(), mask, thresholds, ignore_index=2)
    scores = [board.scores(index) for index in range(len(THRESHOLDS))]
    assert [row.precision for row in scores] == pytest.approx(precisions[:-1].tolist(), abs=1e-6)
    assert [row.recall for row in scores] == pytest.approx(recalls[:-1].tolist(), abs=1e-6)


def test_a_training_does_not_slow_the_counting(monkeypatch):
    """torchmetrics leaves `torch.bincount` in deterministic mode, and a validation took four times as long."""
    calls = []
    count = torch.bincount
    monkeypatch.setattr(torch, "bincount", lambda *given, **named: calls.append(1) or count(*given, **named))
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        Scoreboard(THRESHOLDS).add("here", torch.rand(8, 8), torch.ones(8, 8))
    finally:
        torch.use_deterministic_algorithms(False)
    assert calls == [1]


def test_precision_and_recall_are_not_transposed():
    """A model that finds everything everywhere: recall 1, precision a quarter."""
    mask = torch.tensor([[1, 0], [0, 0]])
    board = Scoreboard((0.5,))
    board.add("here", torch.ones(2, 2), mask)
    assert (board.scores(0).precision, board.scores(0).recall) == pytest.approx((0.25, 1.0))


def test_places_are_scored_apart_and_all_pixels_together():
    board = Scoreboard((0.5,))
    board.add("good", torch.tensor([[1.0, 0.0]]), torch.tensor([[1, 0]]))
    board.add("bad", torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0, 1, 1, UNKNOWN]]))
    table = board.table()
    assert list(table) == ["all", "bad", "good"]
    assert [row.iou for row in table.values()] == pytest.approx([1 / 4, 0, 1])
    assert [row.images for row in table.values()] == [2, 1, 1]


def test_the_best_threshold_has_the_best_overlap():
    board = Scoreboard((0.2, 0.5, 0.8))
    board.add("here", torch.tensor([[0.1, 0.3, 0.6, 0.9]]), torch.tensor([[0, 0, 1, 1]]))
    assert board.best().threshold == pytest.approx(0.5)
    assert board.best().iou == pytest.approx(1)


confusions = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 60), min_size=n, max_size=n), min_size=n, max_size=n)
)


@settings(max_examples=50, deadline=None)
@given(rows=confusions)
def test_scores_of_a_confusion_are_scikit_learns(rows):
    confusion = np.array(rows)
    truth, found = np.indices(confusion.shape).reshape(2, -1).repeat(confusion.ravel(), axis=1)
    if truth.size == 0:
        return
    classes = range(1, len(rows))
    names = [f"class {value}" for value in classes]
    everything, *each = pixel_scores(confusion, names)
    options = {"zero_division": 0, "average": None, "labels": list(classes)}
    assert [row.iou for row in each] == pytest.approx(metrics.jaccard_score(truth, found, **options))
    assert [row.f1 for row in each] == pytest.approx(metrics.f1_score(truth, found, **options))
    assert [row.precision for row in each] == pytest.approx(metrics.precision_score(truth, found, **options))
    assert [row.recall for row in each] == pytest.approx(metrics.recall_score(truth, found, **options))
    assert [row.pixels for row in each] == [np.count_nonzero(truth == value) for value in classes]
    assert everything.iou == pytest.approx(metrics.jaccard_score(truth > 0, found > 0, zero_division=0))
    assert everything.precision == pytest.approx(metrics.precision_score(truth > 0, found > 0, zero_division=0))
    assert everything.recall == pytest.approx(metrics.recall_score(truth > 0, found > 0, zero_division=0))
    assert accuracy(confusion) == pytest.approx(metrics.accuracy_score(truth, found))
    agreement = metrics.cohen_kappa_score(truth, found)
    assert kappa(confusion) == pytest.approx(0.0 if np.isnan(agreement) else agreement)


def test_rows_of_a_confusion_are_the_truth():
    """Three of four true pixels found, and as many false ones as right ones."""
    confusion = np.array([[90, 3], [1, 3]])
    everything, house = pixel_scores(confusion, ["house"])
    assert (house.precision, house.recall) == pytest.approx((1 / 2, 3 / 4))
    assert (everything.precision, everything.recall, everything.pixels) == pytest.approx((1 / 2, 3 / 4, 4))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(1, 3))
def test_the_sweep_counts_what_a_run_would_show(seed, classes):
    random = np.random.default_rng(seed)
    probabilities = random.integers(0, SCALE + 1, (classes, 200)).astype(np.uint8)
    truth = random.choice([*range(classes + 1), UNKNOWN], 200)
    histogram = Histogram.empty()
    histogram.add(probabilities[:, :80], truth[:80])
    histogram.add(probabilities[:, 80:], truth[80:])
    known = truth != UNKNOWN
    for row in histogram.sweep()[:: SCALE // 6]:
        found = classify(probabilities, round(row.threshold, 3))[known] > 0
        assert row.iou == pytest.approx(metrics.jaccard_score(truth[known] > 0, found, zero_division=0))
        assert row.precision == pytest.approx(metrics.precision_score(truth[known] > 0, found, zero_division=0))
        assert row.recall == pytest.approx(metrics.recall_score(truth[known] > 0, found, zero_division=0))
    assert histogram.best().iou == max(row.iou for row in histogram.sweep())


def test_the_best_threshold_lies_in_the_middle_of_equally_good_ones():
    histogram = Histogram.empty()
    histogram.add(np.array([[50, 200]], np.uint8), np.array([0, 1]))
    assert histogram.best().threshold == pytest.approx(125.5 / SCALE)


def test_the_scores_are_those_of_the_threshold_that_is_wanted():
    board = Scoreboard(THRESHOLDS)
    random = np.random.default_rng(0)
    mask = torch.from_numpy(random.integers(0, 2, (40, 40)))
    board.add("Town", torch.from_numpy(random.random((40, 40)) * 0.6 + mask.numpy() * 0.4), mask)
    assert [board.best(wanted).threshold for wanted in (0.1, 0.7, 0.72, 0.9)] == [0.1, 0.7, 0.7, 0.9]
    assert board.best().iou == max(board.best(threshold).iou for threshold in THRESHOLDS) > board.best(0.9).iou


def test_the_calibration_error_is_torchmetrics():
    random = np.random.default_rng(1)
    stored = random.integers(0, SCALE + 1, 5000).astype(np.uint8)
    truth = (random.random(5000) < (stored / SCALE) ** 2).astype(np.int64)
    histogram = Histogram.empty()
    histogram.add(stored[None], truth)
    expected = binary_calibration_error(torch.from_numpy(stored / SCALE), torch.from_numpy(truth), n_bins=BINS)
    assert histogram.error() == pytest.approx(float(expected), abs=1e-3)
    assert sum(row.share for row in histogram.reliability()) == pytest.approx(1)


def test_a_probability_that_keeps_its_word_has_no_calibration_error():
    histogram = Histogram.empty()
    histogram.add(np.repeat(np.array([[0, 127, SCALE]], np.uint8), 2, axis=1), np.array([0, 0, 0, 1, 1, 1]))
    assert histogram.error() == pytest.approx(0, abs=1e-9)
    assert [row.frequency for row in histogram.reliability()] == [0, 0.5, 1]
