"""Where a run is unsure: on its grid, by measures checked against scipy and against networks without a handedness."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.stats
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from conftest import CancelAfter
from orthomask.cli import commands
from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.explain import uncertainty
from orthomask.engine.explain.measures import disagreement, entropy, views
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.engine.runs.runs import NODATA, SCALE
from orthomask.protocol import (
    Cancelled,
    ErrorCode,
    Existing,
    Image,
    OrthomaskError,
    PredictRequest,
    Region,
    UncertaintyRequest,
    UncertaintyResult,
)

REGION = Region(
    "POLYGON((500003 2999997, 500030 2999994, 500028 2999975, 500006 2999972, 500003 2999997))", "EPSG:32645"
)


@pytest.fixture
def run_dir(make_bundle: Callable[..., Path], make_raster: Callable[..., Path], tmp_path: Path) -> Path:
    """A run of two classes in a region, several windows wide and high."""
    model = shutil.copy(make_bundle(classes=2), tmp_path / "two.safetensors")
    request = PredictRequest(
        Image(str(make_raster())), str(model), str(tmp_path / "run"), REGION, window_px=64, overlap_px=16
    )
    predict.run(request, Progress())
    return tmp_path / "run"


def ask(run_dir: Path, progress: Progress | None = None, **options: object) -> UncertaintyResult:
    return uncertainty.run(UncertaintyRequest(str(run_dir), **options), progress or Progress())  # type: ignore[arg-type]


def read(path: Path | str) -> np.ndarray:
    with rasterio.open(path) as dataset:
        found: np.ndarray = dataset.read()
        return found


shares = npst.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(7)), elements=st.floats(0, 1))


@given(shares)
def test_the_entropy_is_scipys_of_all_classes(shares: np.ndarray) -> None:
    probabilities = shares / np.maximum(1, shares.sum(axis=0))
    every = np.concatenate([probabilities, 1 - probabilities.sum(axis=0, keepdims=True)]).clip(0)
    expected = scipy.stats.entropy(every, base=len(every), axis=0)
    np.testing.assert_allclose(entropy(probabilities), expected, atol=1e-4)


@given(shares, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_disagreement_is_the_probability_that_changes_class(shares: np.ndarray, seed: int) -> None:
    every = np.random.default_rng(seed).dirichlet(np.ones(len(shares) + 1), (4, 1, 4, 6))  # (view, B, H, W, class)
    turned = [every[0], every[1][..., ::-1, :], every[2][..., ::-1, :, :], every[3][..., ::-1, ::-1, :]]
    found = [torch.tensor(np.moveaxis(each[..., 1:], -1, 1).copy()) for each in turned]
    expected = np.mean([np.abs(each - every[0]).sum(axis=-1) / 2 for each in every[1:]], axis=0)
    np.testing.assert_allclose(disagreement(found), expected, atol=1e-9)


def test_a_network_without_handedness_never_disagrees() -> None:
    def pointwise(images: torch.Tensor) -> torch.Tensor:
        return images.sigmoid()

    images = torch.randn(2, 3, 8, 8)
    assert disagreement([pointwise(view) for view in views(images)]).max() == 0
    one_sided = [view.cumsum(dim=-1).sigmoid() for view in views(images)]
    assert disagreement(one_sided).max() > 0.1


def test_the_raster_lies_on_the_runs_grid(run_dir: Path) -> None:
    result = ask(run_dir)
    assert result.path == str(run_dir / "uncertainty.tif")
    with rasterio.open(result.path) as dataset, rasterio.open(run_dir / "probabilities.tif") as own:
        assert (dataset.transform, dataset.shape, dataset.crs) == (own.transform, own.shape, own.crs)
        assert dataset.descriptions == ("entropy", "disagreement")
        assert dataset.nodata == NODATA
        assert dataset.scales == pytest.approx((1 / SCALE, 1 / SCALE))
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        found, probabilities = dataset.read(), own.read()
    missing = probabilities[0] == NODATA
    assert missing.any()
    np.testing.assert_array_equal(found == NODATA, np.stack([missing, missing]))
    expected = scipy.stats.entropy(
        np.concatenate([probabilities, SCALE - np.minimum(probabilities.sum(axis=0, keepdims=True), SCALE)]) + 1e-12,
        base=3, axis=0,
    )  # fmt: skip
    np.testing.assert_allclose(found[0][~missing] / SCALE, expected[~missing], atol=0.6 / SCALE)
    assert result.unsure_share == pytest.approx((expected[~missing] > 0.5).mean(), abs=0.01)
    assert 0 < found[1][~missing].max() <= SCALE
    assert not list(run_dir.glob(".unc*"))


@pytest.mark.parametrize("flips", [True, False])
def test_nothing_is_said_beyond_the_region(
    tiny: Path, make_raster: Callable[..., Path], tmp_path: Path, flips: bool
) -> None:
    """The run's probabilities reach beyond it, so that objects at its edge stay whole."""
    image = Image(str(make_raster((300, 300))))
    region = Region("POLYGON((500042 2999955, 500048 2999952, 500044 2999947, 500042 2999955))", "EPSG:32645")
    request = PredictRequest(image, str(tiny), str(tmp_path / "run"), region, whole_objects=True)
    result = predict.run(request, Progress())
    inside = read(result.classes_path)[0] != NODATA
    assert 0 < inside.sum() < (read(result.probabilities_path)[0] != NODATA).sum()
    for band in read(ask(tmp_path / "run", flips=flips).path):
        np.testing.assert_array_equal(band != NODATA, inside)


def test_disagreement_is_that_of_runs_on_mirrored_images(
    tiny: Path, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    """A single window as large as the image: mirroring either is the same."""
    pixels = np.random.default_rng(1).integers(0, 255, (3, 64, 64)).astype(np.uint8)

    def found(pixels: np.ndarray, name: str) -> np.ndarray:
        request = PredictRequest(
            Image(str(make_raster(pixels, name=f"{name}.tif"))), str(tiny), str(tmp_path / name), window_px=64,
            overlap_px=0,
        )  # fmt: skip
        return read(predict.run(request, Progress()).probabilities_path)[0] / SCALE

    straight = found(pixels, "run")
    mirrored = [
        np.flip(found(np.flip(pixels, axes).copy(), f"flipped{n}"), axes)
        for n, axes in enumerate([(-1,), (-2,), (-1, -2)])
    ]
    expected = np.mean([abs(each - straight) for each in mirrored], axis=0)
    np.testing.assert_allclose(read(ask(tmp_path / "run").path)[1] / SCALE, expected, atol=1.6 / SCALE)


def test_a_model_that_looks_at_pixels_alone_does_not_disagree(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.Predictor, "__call__", lambda self, windows: windows[:, :2].sigmoid() / 2)
    found = read(ask(run_dir).path)[1]
    assert found[found != NODATA].max() == 0


def test_without_flips_neither_image_nor_model_is_needed(run_dir: Path, tmp_path: Path) -> None:
    flipped = read(ask(run_dir).path)
    (tmp_path / "image.tif").unlink()
    (tmp_path / "two.safetensors").unlink()
    found = read(ask(run_dir, output_path=str(tmp_path / "entropy.tif"), flips=False).path)
    np.testing.assert_array_equal(found, flipped[:1])


def test_a_cancelled_raster_leaves_nothing_and_starts_again(run_dir: Path) -> None:
    before = sorted(run_dir.iterdir())
    with pytest.raises(Cancelled):
        ask(run_dir, CancelAfter(0.4))
    with pytest.raises(Cancelled):
        ask(run_dir, CancelAfter(0.9))
    assert sorted(run_dir.iterdir()) == before
    assert ask(run_dir).unsure_share > 0


def test_too_little_memory_means_smaller_batches(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, call = read(ask(run_dir).path), devices.Predictor.__call__

    def tight(self: devices.Predictor, windows: torch.Tensor) -> torch.Tensor:
        if len(windows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(self, windows)

    monkeypatch.setattr(devices.Predictor, "__call__", tight)
    monkeypatch.setitem(devices.BATCH, "cpu", 4)
    np.testing.assert_array_equal(read(ask(run_dir, existing=Existing.OVERWRITE).path), expected)


def refused(run_dir: Path, **options: object) -> OrthomaskError:
    before = {path: path.read_bytes() for path in run_dir.parent.rglob("*") if path.is_file()}
    with pytest.raises(OrthomaskError) as caught:
        ask(run_dir, **options)
    assert {path: path.read_bytes() for path in run_dir.parent.rglob("*") if path.is_file()} == before
    assert caught.value.remedy
    return caught.value


def test_an_unfinished_run_is_refused(run_dir: Path) -> None:
    (run_dir / "run.json").unlink()
    assert "not the folder of a finished run" in refused(run_dir).sentence


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_a_run_without_probabilities_is_refused(run_dir: Path, content: bytes | None) -> None:
    (run_dir / "probabilities.tif").unlink()
    if content:
        (run_dir / "probabilities.tif").write_bytes(content)
    assert "not the folder of a finished run" in refused(run_dir).sentence


def test_damaged_probabilities_are_told_as_such(run_dir: Path) -> None:
    path = run_dir / "probabilities.tif"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    error = refused(run_dir, flips=False)
    assert error.code is ErrorCode.IMAGE_UNREADABLE
    assert "probabilities.tif" in error.sentence


def test_a_model_that_is_gone_or_changed_is_refused(run_dir: Path, tmp_path: Path, tiny: Path) -> None:
    path = tmp_path / "two.safetensors"
    path.unlink()
    assert "There is no model" in refused(run_dir).sentence
    shutil.copy(tiny, path)
    bundle._load.cache_clear()
    assert "has changed since the run" in refused(run_dir).sentence


def test_an_image_that_is_gone_or_changed_is_refused(
    run_dir: Path, tmp_path: Path, make_raster: Callable[..., Path]
) -> None:
    make_raster((101, 120))
    assert refused(run_dir).code is ErrorCode.IMAGE_CHANGED
    (tmp_path / "image.tif").unlink()
    error = refused(run_dir)
    assert error.code is ErrorCode.IMAGE_UNREADABLE
    assert "without flips" in error.remedy


def test_a_run_on_another_grid_is_refused(run_dir: Path) -> None:
    """Of an older version, for example."""
    with rasterio.open(run_dir / "probabilities.tif") as dataset:
        pixels, profile = dataset.read(), dataset.profile
    with rasterio.open(run_dir / "probabilities.tif", "w", **{**profile, "height": pixels.shape[1] - 1}) as dataset:
        dataset.write(pixels[:, :-1])
    assert "resamples the image in another way" in refused(run_dir).sentence


def test_an_image_that_changes_meanwhile_is_refused(run_dir: Path, tmp_path: Path) -> None:
    class Touch(Progress):
        def show(self, fraction: float, message: str) -> None:
            os.utime(tmp_path / "image.tif", (1, 1))

    with pytest.raises(OrthomaskError, match="has changed since the run"):
        ask(run_dir, Touch())
    assert not (run_dir / "uncertainty.tif").exists()


def test_nothing_is_replaced_unasked_and_the_run_never(run_dir: Path, tmp_path: Path) -> None:
    ask(run_dir, flips=False)
    assert refused(run_dir, flips=False).code is ErrorCode.OUTPUT_EXISTS
    ask(run_dir, flips=False, existing=Existing.OVERWRITE)
    for own in (run_dir / "probabilities.tif", run_dir / ".." / "run" / "classes.tif", tmp_path / "image.tif"):
        error = refused(run_dir, output_path=str(own), flips=False, existing=Existing.OVERWRITE)
        assert "belongs to the run" in error.sentence


def test_a_new_run_in_the_folder_takes_the_old_uncertainty_away(run_dir: Path, tmp_path: Path) -> None:
    ask(run_dir, flips=False)
    request = PredictRequest(
        Image(str(tmp_path / "image.tif")), str(tmp_path / "two.safetensors"), str(run_dir), threshold=0.3,
        window_px=64, overlap_px=16, existing=Existing.OVERWRITE,
    )  # fmt: skip
    predict.run(request, Progress())
    assert not (run_dir / "uncertainty.tif").exists()


def test_from_a_terminal(run_dir: Path, tmp_path: Path) -> None:
    def orthomask(*arguments: object) -> str:
        result = CliRunner().invoke(commands, ["uncertainty", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.output

    out = tmp_path / "unsure.tif"
    assert "is unsure of" in orthomask(run_dir, "--out", out, "--no-flips")
    assert json.loads(orthomask(run_dir, "--json"))["path"] == str(run_dir / "uncertainty.tif")
    assert CliRunner().invoke(commands, ["uncertainty", str(run_dir)]).exit_code == 3
    orthomask(run_dir, "--overwrite", "--no-flips")
    assert len(read(run_dir / "uncertainty.tif")) == 1
