"""The scores, against counts made by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.protocol import UNKNOWN
from orthomask.training.scores import Scoreboard, foreground


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


def test_foreground_is_everything_but_background():
    logits = torch.tensor([2.0, 1.0, 0.5])[None, :, None, None]
    assert foreground(logits).item() == pytest.approx(float(torch.softmax(logits, 1)[0, 1:].sum()))
