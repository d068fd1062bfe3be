"""Objects of a class raster."""

from __future__ import annotations

import numpy as np

from orthomask.training.truth.components import components


def test_diagonal_neighbours_are_two_objects_and_classes_never_join() -> None:
    assert components(np.array([[1, 0], [0, 1]], np.uint8)).max() == 2
    numbers = components(np.array([[1, 2, 255], [1, 2, 2]], np.uint8))
    assert numbers.tolist() == [[1, 2, 0], [1, 2, 2]]
