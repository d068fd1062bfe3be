"""Areas are to do until they hold a label, or somebody confirms that nothing is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from truth_data import box, read_layer, write_image, write_layer

from orthomask.engine.progress import Progress
from orthomask.protocol import UNKNOWN, Areas, AreasRequest, ErrorCode, Image, Labels, MaskRequest, OrthomaskError
from orthomask.training.truth import areas, masks

BOXES = [box(2, 2, 20), box(30, 2, 20), box(2, 30, 20)]


def burned(
    folder: Path, states: Sequence[str] | None, labels: Sequence[object], **more: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The mask of three areas of 20 x 20 px, one label by default, and the warnings."""
    image = Image(str(write_image(folder / "image.tif", 60, 80)))
    columns = {} if states is None else {"state": list(states)}
    known = write_layer(folder / "areas.gpkg", BOXES, "areas", split=["train"] * 3, **columns, **more)
    drawn = Labels(str(write_layer(folder / "labels.gpkg", labels)))
    request = MaskRequest(image, (drawn,), str(folder / "mask.tif"), Areas(str(known)))
    result = masks.run(request, Progress())
    with rasterio.open(result.mask_path) as dataset:
        return dataset.read(1), result.warnings


ROOF = [box(5, 5, 10)]
"""In the first area."""


@pytest.mark.parametrize(
    ("states", "left_out"),
    [
        (None, 0),
        (["", "", ""], 0),
        (["todo", "Illinois", "todo"], 1),
        (["todo", "todo", "todo"], 2),
        (["todo", "checked", "todo"], 1),
    ],
)
def test_an_area_to_do_counts_once_it_holds_a_label(tmp_path: Path, states: list[str] | None, left_out: int) -> None:
    mask, warnings = burned(tmp_path, states, ROOF)
    assert np.count_nonzero(mask != UNKNOWN) == (3 - left_out) * 400
    told = [words for words in warnings if "is nothing there, or not drawn yet?" in words]
    assert [words.split()[0] for words in told] == [str(left_out)] * bool(left_out)


def test_areas_of_which_none_is_done_are_refused(tmp_path: Path) -> None:
    beside = [box(22, 2, 8)]  # touches two areas, and lies in none
    with pytest.raises(OrthomaskError, match="All 3 areas on the image are still to do") as caught:
        burned(tmp_path, ["todo"] * 3, beside)
    assert caught.value.code is ErrorCode.AREAS_EMPTY
    assert "if nothing is there, confirm" in caught.value.remedy


def test_a_suggested_square_counts_once_it_is_checked_even_with_labels(tmp_path: Path) -> None:
    mask, warnings = burned(tmp_path, ["todo", "checked", "todo"], ROOF, reason=["unsure", "unsure", ""])
    assert np.count_nonzero(mask != UNKNOWN) == 400
    assert "1 suggested square is left out: it is not checked yet." in warnings
    assert any("1 area without labels" in words for words in warnings)


def test_squares_of_which_none_is_checked_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OrthomaskError, match="All 3 areas on the image are still to do") as caught:
        burned(tmp_path, ["todo", "", "todo"], ROOF, reason=["unsure"] * 3)
    assert "Review panel" in caught.value.remedy


def test_placed_areas_are_to_do_unless_everything_is_labelled(tmp_path: Path) -> None:
    image = Image(str(write_image(tmp_path / "image.tif", 60, 80)))
    for checked in (False, True):
        request = AreasRequest(image, str(tmp_path / "areas.gpkg"), count=2, size_m=3, seed=checked, checked=checked)
        areas.run(request, Progress())
    assert read_layer(tmp_path / "areas.gpkg", "areas")[1]["state"] == ["todo", "todo", "checked", "checked"]
    old = write_layer(tmp_path / "old.gpkg", BOXES[:1], "areas", name=["area 1"], split=["train"])
    areas.run(AreasRequest(image, str(old), count=1, size_m=3), Progress())
    assert list(read_layer(old, "areas")[1]) == ["name", "split"]
