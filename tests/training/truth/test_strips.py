from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthomask.protocol import UNKNOWN
from orthomask.training.truth import strips


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 90))
@settings(max_examples=60, deadline=None)
def test_runs_are_looked_up_as_pixels_are(seed: int, height: int, width: int, cached_px: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.repeat(rng.integers(0, 9, (height, width)), rng.integers(1, 5), axis=1).astype(np.uint16)
    table, where = rng.integers(-99, 99, 9).astype(np.int32), rng.random(codes.shape) < 0.7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "CACHED_PX", cached_px)
        assert np.array_equal(strips.looked_up(table, codes), table[codes])
        assert np.array_equal(strips.distinct(codes, where), np.unique(codes * where))


def test_codes_of_very_many_labels_have_room() -> None:
    assert strips.code_type(65_279) == np.uint16
    assert strips.code_type(65_280) == np.int32


def test_codes_stand_for_labels_and_for_what_rasters_say() -> None:
    values = np.array([0, 7, 0, 3], np.uint8)
    classes, objects = strips.tables(np.array([1, 2, 3]), values)
    assert classes[:4].tolist() == [0, 7, 0, 3]
    assert objects[:4].tolist() == [0, 1, 0, 3]  # the second label takes away
    said = np.array([0, 5, UNKNOWN]) + 4
    assert classes[said].tolist() == [0, 5, UNKNOWN]
    assert objects[said].tolist() == [0, -5, 0]
