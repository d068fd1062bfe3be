"""The metadata of ONNX files by which the QGIS plugin Deepness runs them.

Each value is JSON. Deepness's documents say `tiles_size`, its reader wants `tile_size`; old files have Python's
notation for `class_names`, or call them `names`. Images are divided by 255, then standardised.
"""

from __future__ import annotations

import ast
import json
import math
from dataclasses import dataclass
from typing import Any

from ...protocol import OVERLAP_PX, WINDOW_PX
from ..models.bundle import Card, described

SEGMENTATION = ("", "segmentor", "segmentation")
"""Types of models whose outputs are probabilities of classes."""
LONGEST = 1_000_000
"""Characters of a value that is read."""
WHITE = 255.0
CARD = "orthomask"
"""Key of the card in files that Orthomask wrote."""


@dataclass(frozen=True)
class Metadata:
    """What a file says about its model; empty, None or 0 where it does not.

    Attributes:
        kind: of the model.
        heads: names of the channels of each output.
        mean, std: for each band, of pixels divided by 255.
        card: what Orthomask's own files say besides.
    """

    kind: str = ""
    heads: tuple[tuple[str, ...], ...] = ()
    gsd_m: float | None = None
    threshold: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    card: dict[str, Any] | None = None


def read(properties: dict[str, str]) -> Metadata:
    """The metadata in a file's properties; values that make no sense count as absent."""
    values = {name: _value(text) for name, text in properties.items()}
    resolution_cm, threshold = _number(values.get("resolution")), _number(values.get("seg_thresh"))
    mean, std = (_numbers(values.get(f"standardization_{name}")) for name in ("mean", "std"))
    is_paired = len(mean) == len(std) and all(number > 0 for number in std)
    card = values.get(CARD)
    return Metadata(
        kind=str(values.get("model_type") or ""),
        heads=_heads(values.get("class_names", values.get("names"))),
        gsd_m=resolution_cm / 100 if resolution_cm and 0.1 <= resolution_cm <= 1e7 else None,
        threshold=threshold if threshold and 0 < threshold < 1 else None,
        mean=mean if is_paired else (),
        std=std if is_paired else (),
        card=card if isinstance(card, dict) else None,
    )


def written(card: Card, side_px: int) -> dict[str, str]:
    """A model's card as such properties; for Orthomask itself also what Deepness does not know."""
    names = ["background", *(info.name for info in card.classes)]
    values = {
        "model_type": "Segmentor",
        "class_names": [{str(number): name for number, name in enumerate(names)}],
        "resolution": round(card.gsd_m * 100, 6),
        "tile_size": side_px,
        "tiles_size": side_px,
        "tiles_overlap": round(100 * OVERLAP_PX / WINDOW_PX),
        "standardization_mean": [band.mean / WHITE for band in card.bands],
        "standardization_std": [band.std / WHITE for band in card.bands],
        "seg_thresh": card.threshold,
        "seg_small_segment": 0,
        CARD: described(card),
    }
    return {name: json.dumps(value) for name, value in values.items()}


def _value(text: Any) -> Any:
    if not isinstance(text, str) or len(text) > LONGEST:  # protobuf gives bytes that are no text as bytes
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _numbers(value: Any) -> tuple[float, ...]:
    numbers = [_number(item) for item in value] if isinstance(value, list) else []
    return tuple(number for number in numbers if number is not None) if None not in numbers else ()


def _heads(value: Any) -> tuple[tuple[str, ...], ...]:
    """Names by output and channel; none unless all are numbered from 0 on."""
    heads = []
    for names in value if isinstance(value, list) else [value]:
        try:
            numbered = {int(number): str(name) for number, name in names.items()}
        except (AttributeError, ValueError, TypeError):
            return ()
        if sorted(numbered) != list(range(len(numbered))):
            return ()
        heads.append(tuple(numbered[number].strip() for number in range(len(numbered))))
    return tuple(heads)
