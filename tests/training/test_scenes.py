"""Reading labelled images, and joining tiles that touch."""

import numpy as np
import pytest

from orthomask.protocol import OrthomaskError
from orthomask.training.recipe import Source
from orthomask.training.scenes import UNKNOWN, Tile, read_scenes, read_tiles

from .images import write_tile


def test_mask_values_become_classes_and_others_unknown(tmp_path):
    write_tile(tmp_path, "a", np.zeros((3, 2, 2)), np.array([[0, 255], [128, 0]]))
    (tile,) = read_tiles(tmp_path, (0, 255))
    assert tile.mask.tolist() == [[0, 1], [UNKNOWN, 0]]


@pytest.mark.parametrize("north_up", [False, True])
def test_neighbours_are_joined_and_gaps_stay_unknown(tmp_path, north_up):
    random = np.random.default_rng(0)
    whole = random.integers(1, 256, (3, 64, 96), np.uint8)
    mask = random.integers(0, 2, (64, 96)).astype(np.uint8)
    for row, column in [(0, 0), (0, 1), (1, 1)]:
        box = np.s_[..., row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        y = -row if north_up else row
        write_tile(tmp_path / "there", f"t_{500 + 2.5 * column}_{700 + 2.5 * y}", whole[box], mask[box])
    write_tile(tmp_path / "there", "t_900_700", whole[:, :32, 64:], mask[:32, 64:])
    source = Source("Somewhere", "there", "t_*", 0.3, tile_step=2.5, north_up=north_up)
    large, alone = sorted(read_scenes(tmp_path, source), key=lambda scene: -scene.known_px)
    assert large.known_px == 3 * 32 * 32
    known = large.mask != UNKNOWN
    np.testing.assert_array_equal(large.mask[known], mask[:, :64][known])
    np.testing.assert_array_equal(large.levels[0][:3, known], whole[:, :, :64][:, known])
    assert not known[32:, :32].any()
    assert not large.levels[0][3, 32:, :32].any()
    np.testing.assert_array_equal(alone.levels[0][:3], whole[:, :32, 64:])


@pytest.mark.parametrize(
    ("name", "place"),
    [("inria512_austin4_00061_481_276", "austin"), ("inria_ds_chicago1_21", "chicago"), ("12_3", "unknown")],
)
def test_place_comes_from_the_file_name(name, place):
    assert Tile(name, np.zeros((3, 1, 1)), np.zeros((1, 1))).place == place


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(OrthomaskError, match="There are no images"):
        read_tiles(tmp_path, (0, 1))
    write_tile(tmp_path, "a", np.zeros((3, 2, 2)), np.zeros((3, 2)))
    with pytest.raises(OrthomaskError, match=r"“a.png” is not of the size"):
        read_tiles(tmp_path, (0, 1))
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(OrthomaskError, match=r"a.png” cannot be read"):
        read_tiles(tmp_path, (0, 1))
