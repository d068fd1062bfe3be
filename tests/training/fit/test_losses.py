"""Losses: zero for the truth, blind to the unknown, and those of the literature."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from orthomask.protocol import UNKNOWN, Loss, LossTerm, Objective, OrthomaskError
from orthomask.training.fit.losses import loss


def only(kind, **more):
    smoothing = more.pop("label_smoothing", 0.0)
    weights = more.pop("class_weights", ())
    return Objective((LossTerm(kind, **more),), weights, label_smoothing=smoothing)


def example(seed, classes=3, unknown=True):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 6, 5, generator=generator)
    mask = torch.randint(0, classes, (2, 6, 5), generator=generator)
    if unknown:
        mask[torch.rand(mask.shape, generator=generator) < 0.4] = UNKNOWN
    return logits, mask


@pytest.mark.parametrize("kind", Loss)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4))
@settings(max_examples=15, deadline=None)
def test_unknown_pixels_change_neither_value_nor_gradient(kind, seed, classes):
    logits, mask = example(seed, classes)
    unknown = (mask == UNKNOWN)[:, None].expand_as(logits)
    logits.requires_grad_()
    value = loss(only(kind), logits, mask)
    value.backward()
    assert (logits.grad[unknown] == 0).all()
    changed = torch.where(unknown, 50 * torch.randn_like(logits), logits.detach())
    torch.testing.assert_close(loss(only(kind), changed, mask), value.detach())


@pytest.mark.parametrize("kind", Loss)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_truth_costs_nothing_and_the_opposite_much(kind, seed):
    _, mask = example(seed, unknown=False)
    right = functional.one_hot(mask, 3).movedim(-1, 1) * 30.0
    assert loss(only(kind), right, mask) < 1e-3
    assert loss(only(kind), -right, mask) > 0.3


@pytest.mark.parametrize("kind", Loss)
def test_nothing_known_is_no_trouble(kind):
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    value = loss(only(kind), logits, torch.full((1, 4, 4), UNKNOWN))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@given(seed=st.integers(0, 10_000), smoothing=st.sampled_from([0.0, 0.1]))
@settings(max_examples=20, deadline=None)
def test_cross_entropy_is_that_of_torch(seed, smoothing):
    logits, mask = example(seed)
    expected = functional.cross_entropy(logits, mask, ignore_index=UNKNOWN, label_smoothing=smoothing)
    torch.testing.assert_close(loss(only(Loss.CROSS_ENTROPY, label_smoothing=smoothing), logits, mask), expected)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_class_weights_are_those_of_torch(seed):
    logits, mask = example(seed)
    weights = (0.5, 2.0, 1.5)
    expected = functional.cross_entropy(logits, mask, torch.tensor(weights), ignore_index=UNKNOWN)
    torch.testing.assert_close(loss(only(Loss.CROSS_ENTROPY, class_weights=weights), logits, mask), expected)


@given(seed=st.integers(0, 10_000), smoothing=st.sampled_from([0.0, 0.1]))
@settings(max_examples=20, deadline=None)
def test_binary_cross_entropy_is_that_of_torch_for_each_class(seed, smoothing):
    logits, mask = example(seed, unknown=False)
    probabilities = logits.softmax(1)[:, 1:]
    truth = functional.one_hot(mask, 3).movedim(-1, 1)[:, 1:].float()
    expected = functional.binary_cross_entropy(probabilities, truth * (1 - smoothing) + smoothing / 2)
    found = loss(only(Loss.BINARY_CROSS_ENTROPY, label_smoothing=smoothing), logits, mask)
    torch.testing.assert_close(found, expected)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_families_meet(seed):
    """Tversky with even shares is Dice; focal with gamma 0 is cross-entropy; Jaccard is never below Dice."""
    logits, mask = example(seed)
    dice = loss(only(Loss.DICE), logits, mask)
    torch.testing.assert_close(loss(only(Loss.TVERSKY, false_positives=0.5), logits, mask), dice)
    torch.testing.assert_close(
        loss(only(Loss.FOCAL, gamma=0.0), logits, mask), loss(only(Loss.CROSS_ENTROPY), logits, mask)
    )
    assert loss(only(Loss.JACCARD), logits, mask) >= dice - 1e-6


def test_tversky_punishes_what_it_is_told_to():
    mask = torch.zeros(1, 8, 8, dtype=torch.long)
    mask[:, :4] = 1
    everywhere = torch.stack([torch.zeros(1, 8, 8), torch.full((1, 8, 8), 9.0)], dim=1)
    lenient, strict = (loss(only(Loss.TVERSKY, false_positives=share), everywhere, mask) for share in (0.1, 0.9))
    assert strict > lenient + 0.2


def test_weights_of_pixels_count_as_often():
    logits, mask = example(1)
    twice = torch.ones(mask.shape)
    twice[1] = 2
    doubled = torch.cat([logits, logits[1:]]), torch.cat([mask, mask[1:]])
    torch.testing.assert_close(
        loss(only(Loss.CROSS_ENTROPY), logits, mask, twice), loss(only(Loss.CROSS_ENTROPY), *doubled)
    )


def test_terms_are_added_by_weight():
    logits, mask = example(2)
    both = Objective((LossTerm(Loss.DICE, 2.0), LossTerm(Loss.FOCAL, 0.5)), label_smoothing=0.0)
    expected = 2 * loss(only(Loss.DICE), logits, mask) + 0.5 * loss(only(Loss.FOCAL), logits, mask)
    torch.testing.assert_close(loss(both, logits, mask), expected)


@pytest.mark.parametrize("odd", [{"terms": ()}, {"label_smoothing": 1.0}, {"class_weights": (-1.0,)}])
def test_an_objective_checks_itself(odd):
    with pytest.raises(OrthomaskError):
        Objective(**odd)
