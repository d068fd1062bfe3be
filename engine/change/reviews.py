"""What a person said of changes, kept when the same dates are compared again into the same folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...protocol import CHANGES_LAYER, PROVENANCE_TABLE
from ..shapes.layers import read_layer
from ..shapes.vector_files import NOT_READ

KEY = ("step", "kind", "before_ids", "after_ids")
SAME = ("date", "path", "run_id")
"""Dates are the same if these are."""

Said = dict[tuple[str, ...], tuple[str, str]]
"""The answer and its time, by step, kind and ids."""


def said(path: Path, provenance: dict[str, np.ndarray]) -> Said:
    """The answers in an earlier file of changes; none if there is no file, or it compares other dates."""
    if not path.exists():
        return {}
    try:
        dates = _table(str(path), PROVENANCE_TABLE)
        if any(list(map(str, dates[name])) != list(map(str, provenance[name])) for name in SAME):
            return {}
        rows = _table(str(path), CHANGES_LAYER, where="review <> ''")
        keys = zip(*(map(str, rows[name]) for name in KEY))
        return {key: (str(answer), str(when)) for key, answer, when in zip(keys, rows["review"], rows["reviewed_at"])}
    except (*NOT_READ, KeyError):
        return {}


def _table(path: str, layer: str, **options: str) -> dict[str, np.ndarray]:
    meta, _, data = read_layer(path, layer, read_geometry=False, **options)
    return dict(zip(meta["fields"], data))


def fill(columns: dict[str, np.ndarray], answers: Said) -> None:
    """Write answers into the columns of the same changes."""
    if not answers:
        return
    for row, key in enumerate(zip(*(map(str, columns[name]) for name in KEY))):
        if key in answers:
            columns["review"][row], columns["reviewed_at"][row] = answers[key]
