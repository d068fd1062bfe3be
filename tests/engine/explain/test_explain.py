"""Explanations of a network whose answer is known: it sees red in a place, and blue `SHIFT` pixels to its left.

The toy's weights are set by hand, so that the logit of its class is red plus blue from the left, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from click.testing import CliRunner

from conftest import CancelAfter
from orthomask.cli import commands
from orthomask.engine.explain import explain, features
from orthomask.engine.images import regions
from orthomask.engine.models import bundle, ensemble
from orthomask.engine.models.unet import Ensemble, UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    Cancelled,
    Encoder,
    EnsembleRequest,
    ErrorCode,
    Existing,
    ExplainRequest,
    ExplainResult,
    Explanation,
    Image,
    OrthomaskError,
)

GSD, LEFT, TOP, SIDE = 0.3, 500_000.0, 3_000_000.0, 320
PLACE = Affine(GSD, 0, LEFT, 0, -GSD, TOP)
SHIFT = 24
"""Pixels between a place and where the toy sees blue."""
ROOF = (slice(150, 170), slice(150, 170))
"""Rows and columns of the object; its cue is `SHIFT` to the left."""
CUE = (ROOF[0], slice(ROOF[1].start - SHIFT, ROOF[1].stop - SHIFT))
FAR = (slice(0, 20), slice(300, 320))


class Toy(torch.nn.Module):
    """Logits of background and class: 0, and `8 * red + 8 * blue from the left - 10`; its one stage is `decoder.0`."""

    divisor = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.encoder = torch.nn.Identity(), torch.nn.ModuleList()
        self.decoder = torch.nn.ModuleList([torch.nn.ReLU()])
        self.head = torch.nn.Conv2d(2, 1, 1)
        self.head.weight.data[:], self.head.bias.data[:] = 8, -10

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        seen = self.decoder[0](image)
        left = torch.nn.functional.pad(seen[:, 2:], (SHIFT, 0))[..., :-SHIFT]
        logit = self.head(torch.cat([seen[:, :1], left], dim=1))
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


@pytest.fixture
def picture() -> np.ndarray:
    """Black, with a red roof and a blue cue: after normalisation both are 1, and the rest is 0."""
    pixels = np.full((3, SIDE, SIDE), 120, np.uint8)
    pixels[0][ROOF] = 180
    pixels[2][CUE] = 180
    return pixels


@pytest.fixture
def toy(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The toy in the place of the bundle's own network."""
    monkeypatch.setattr(bundle.Bundle, "model", lambda _: Toy().eval())
    explain.networks.opened.cache_clear()
    explain.devices.prepare.cache_clear()
    monkeypatch.setattr(explain.devices, "mixed", lambda network, *_: network)
    yield str(tiny)
    explain.networks.opened.cache_clear()
    explain.devices.prepare.cache_clear()


@pytest.fixture
def asked(tmp_path: Path, toy: str) -> Callable[..., ExplainRequest]:
    def make(path: Path, method: Explanation = Explanation.GRAD_CAM, **more: object) -> ExplainRequest:
        x, y = PLACE @ (160, 160)
        given = {"model": toy, "output_path": str(tmp_path / "why.tif"), "x": x, "y": y, "existing": Existing.OVERWRITE}
        return ExplainRequest(Image(str(path)), method=method, device="cpu", **{**given, **more})

    return make


def answer(request: ExplainRequest) -> tuple[ExplainResult, np.ndarray]:
    """The result, and its first band on the whole picture."""
    result = explain.run(request, Progress())
    with rasterio.open(result.path) as dataset:
        column, row = ~PLACE @ (dataset.transform.c, dataset.transform.f)
        whole = np.full((SIDE, SIDE), np.nan, np.float32)
        whole[round(row) : round(row) + dataset.height, round(column) : round(column) + dataset.width] = dataset.read(1)
    return result, whole


def test_occlusion_finds_the_places_that_the_answer_depends_on(
    picture: np.ndarray, make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest]
) -> None:
    result, drop = answer(asked(make_raster(picture), Explanation.OCCLUSION))
    assert result.confidence == pytest.approx(1 / (1 + np.exp(-6)), abs=0.001)
    assert np.nanmean(drop[ROOF]) > 0.4
    assert np.nanmean(drop[CUE]) > 0.4
    beside = drop.copy()
    beside[126:194, 102:194] = np.nan  # further than a patch from both
    assert np.nanmax(np.abs(beside)) == pytest.approx(0, abs=1e-6)
    assert "at most" in result.sentence


class Pale(Toy):
    """Takes all for its class that is not dark: also what is hidden by mean colours."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logit = 4 * image.mean(dim=1, keepdim=True) + 3
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


def test_it_hides_with_what_looks_least_like_the_class(
    picture: np.ndarray,
    make_raster: Callable[..., Path],
    asked: Callable[..., ExplainRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle.Bundle, "model", lambda _: Pale().eval())
    outline = {"object_wkt": regions.transformed(shapely.box(150, 150, 170, 170), PLACE).wkt}
    result, drop = answer(asked(make_raster(picture), Explanation.OCCLUSION, **outline))
    assert "hidden by dark colours" in result.sentence
    assert np.nanmean(drop[ROOF]) > 0.4


def test_grad_cam_finds_them_too_and_nothing_else(
    picture: np.ndarray, make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest]
) -> None:
    picture[0][200:210, 150:170] = 250  # red that belongs to no roof with a cue
    _, found = answer(asked(make_raster(picture)))
    known = np.zeros((SIDE, SIDE), np.float32)
    known[ROOF] = known[CUE] = 1
    there = np.isfinite(found)
    np.testing.assert_allclose(found[there], known[there], atol=1e-5)


def test_activations_are_those_of_the_strongest_channels(
    picture: np.ndarray, make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest]
) -> None:
    result, found = answer(asked(make_raster(picture), Explanation.ACTIVATIONS, channels=1, stage="decoder.0"))
    assert result.bands == ("decoder.0, channel 0",)
    np.testing.assert_allclose(found[ROOF], 1, atol=1e-5)
    assert np.nanmax(np.where(np.isfinite(found), picture[0] < 180, 0) * np.nan_to_num(found)) == 0


@pytest.mark.parametrize("method", [Explanation.GRAD_CAM, Explanation.OCCLUSION])
def test_the_map_changes_with_the_object_and_not_with_a_far_corner(
    picture: np.ndarray, make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest], method: Explanation
) -> None:
    outline = {"object_wkt": regions.transformed(shapely.box(150, 150, 170, 170), PLACE).wkt}
    _, before = answer(asked(make_raster(picture), method, **outline))
    far = picture.copy()
    far[(slice(None), *FAR)] = 250
    _, same = answer(asked(make_raster(far), method, **outline))
    np.testing.assert_array_equal(same, before)
    painted = picture.copy()
    painted[(slice(None), *ROOF)] = 120
    _, changed = answer(asked(make_raster(painted), method, **outline))
    assert np.nanmax(np.abs(changed - before)) > 0.3


@pytest.mark.parametrize("gsd", [0.3, 0.15])
def test_the_layer_lies_on_the_lattice_of_a_run(
    picture: np.ndarray, make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest], gsd: float
) -> None:
    fine = np.kron(picture, np.ones((1, round(GSD / gsd), round(GSD / gsd)), np.uint8))
    path = make_raster(fine, transform=Affine(gsd, 0, LEFT, 0, -gsd, TOP))
    request = asked(path)
    result = explain.run(request, Progress())
    with rasterio.open(result.path) as dataset:
        assert dataset.res == (pytest.approx(GSD, rel=1e-3), pytest.approx(GSD, rel=1e-3))
        assert (dataset.dtypes, dataset.descriptions) == (("float32",), result.bands)
        assert np.isnan(dataset.nodata)
        corner = np.array(~PLACE @ (dataset.transform.c, dataset.transform.f))
        assert np.abs(corner - corner.round()).max() < 0.05
        pixels = dataset.read(1)
        rows, columns = np.nonzero(pixels > 0.5)
        x, _ = dataset.transform @ (columns.max() + 1, 0)
        _, y = dataset.transform @ (0, rows.min())
        record = json.loads(dataset.tags()["ORTHOMASK"])
    assert (x, y) == (pytest.approx(LEFT + 170 * GSD, abs=0.35), pytest.approx(TOP - 150 * GSD, abs=0.35))
    assert record["model"]["sha256"] == bundle.load(request.model).sha256
    assert record["shows"] == result.sentence


def test_places_can_be_in_degrees(
    picture: np.ndarray, make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest]
) -> None:
    path = make_raster(picture)
    _, expected = answer(asked(path))
    point = regions.reprojected(shapely.Point(PLACE @ (160, 160)), "EPSG:32645", "EPSG:4326")
    _, found = answer(asked(path, x=point.x, y=point.y, crs="EPSG:4326"))
    np.testing.assert_array_equal(found, expected)


def test_a_spot_where_nothing_is_found_is_explained_and_said(
    picture: np.ndarray, make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest]
) -> None:
    x, y = PLACE @ (230, 230)
    result, found = answer(asked(make_raster(picture), x=x, y=y))
    assert "finds no object at this place" in result.warnings[0]
    assert "0 everywhere" in result.warnings[1]
    assert np.nanmax(found) == 0


def test_missing_data_is_missing_in_the_layer_and_a_large_object_is_said_to_be_cut(
    make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest]
) -> None:
    pixels = np.full((3, 64, 1200), 250, np.uint8)
    pixels[0, :, :] = 250
    mask = np.full((64, 1200), 255, np.uint8)
    mask[:, 590:600] = 0
    x, y = PLACE @ (700, 30)
    result = explain.run(asked(make_raster(pixels, mask=mask), x=x, y=y), Progress())
    with rasterio.open(result.path) as dataset:
        gap = round((~dataset.transform @ (LEFT + 595 * GSD, TOP - 30 * GSD))[0])
        found = dataset.read(1)
    assert np.isnan(found[:, gap]).all()
    assert "larger than the 512 pixels" in result.warnings[0]


BAD = {
    "outside": ({"x": 0.0, "y": 0.0}, ErrorCode.REGION_OUTSIDE, "outside the image"),
    "no data": ({"x": LEFT + 3, "y": TOP - 3}, ErrorCode.IMAGE_EMPTY, "no data at this place"),
    "crs": ({"crs": "EPSG:nonsense"}, ErrorCode.REGION_CRS, "not a coordinate reference system"),
    "class": ({"class_value": 7}, ErrorCode.BAD_REQUEST, "no class 7"),
    "stage": ({"stage": "attic"}, ErrorCode.BAD_REQUEST, "no stage “attic”"),
    "wkt": ({"object_wkt": "POLYGON (("}, ErrorCode.REGION_UNREADABLE, "not a polygon on this image"),
    "elsewhere": ({"object_wkt": "POLYGON ((0 0, 1 0, 1 1, 0 0))"}, ErrorCode.REGION_OUTSIDE, "not a polygon on this"),
    "exists": ({"existing": Existing.REFUSE}, ErrorCode.OUTPUT_EXISTS, "already exists"),
    "changed": ({"model_sha256": "ab" * 32}, ErrorCode.BAD_REQUEST, "has changed since the run"),
    "model": ({"model": "attic"}, ErrorCode.BUNDLE_UNREADABLE, "no model “attic”"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_leaves_the_file_as_it_was(
    picture: np.ndarray,
    make_raster: Callable[..., Path],
    asked: Callable[..., ExplainRequest],
    tmp_path: Path,
    case: str,
) -> None:
    more, code, words = BAD[case]
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[:40, :40] = 0
    request = asked(make_raster(picture, mask=mask), **more)
    Path(request.output_path).write_text("mine")
    with pytest.raises(OrthomaskError, match=words) as caught:
        explain.run(request, Progress())
    assert caught.value.code is code
    assert caught.value.remedy
    assert Path(request.output_path).read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir() if "why" in path.name) == ["why.tif"]


def test_cancelled_occlusion_writes_nothing(
    picture: np.ndarray, make_raster: Callable[..., Path], asked: Callable[..., ExplainRequest]
) -> None:
    request = asked(make_raster(picture), Explanation.OCCLUSION)
    with pytest.raises(Cancelled):
        explain.run(request, CancelAfter(0.4))
    assert not Path(request.output_path).exists()


SMALL = UNetArguments(3, 2, (8, 8), blocks=1, detail=8)
LITE = UNetArguments(3, 2, (8, 8, 8, 8, 8), detail=8, encoder=Encoder.EFFICIENTNET_LITE0)
NETWORKS = {
    "attention": lambda: UNet(UNetArguments(3, 2, (8, 8), blocks=1, detail=8, attention=True)),
    "efficientnet": lambda: UNet(LITE),
    "ensemble": lambda: Ensemble([SMALL, LITE]),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_stage_of_every_network_can_be_explained(kind: str) -> None:
    torch.manual_seed(1)
    network = NETWORKS[kind]().eval()
    pixels = np.random.default_rng(1).normal(size=(3, 32, 32)).astype(np.float32)
    inside = np.zeros((32, 32), bool)
    inside[10:20, 10:20] = True
    for names in [(name,) for name in features.stages(network)] + [features.usual_stages(network)]:
        found, _ = features.grad_cam(network, pixels, inside, 1, names)
        assert found.shape == (32, 32)
        assert np.isfinite(found).all()
        channels, _ = features.strongest(network, pixels, inside, names, 3)
        assert all(channel.activations.shape == (32, 32) for channel in channels)
    assert len(features.usual_stages(network)) == (2 if kind == "ensemble" else 1)


def test_an_ensemble_is_explained_from_the_command_line(
    make_bundle: Callable[..., Path], make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    both = tmp_path / "both.safetensors"
    members = (str(make_bundle()), str(make_bundle()))
    ensemble.run(EnsembleRequest(members, str(both)), Progress())
    x, y = PLACE @ (60, 50)
    out, image = tmp_path / "why.tif", make_raster()
    command = ["explain", str(image), "--model", str(both), "--at", f"{x},{y}", "--out", str(out), "--json"]
    done = CliRunner().invoke(commands, command)
    assert done.exit_code == 0, done.output
    result = json.loads(done.output)
    assert result["stage"] == "members.0.decoder.0, members.1.decoder.0"
    assert out.exists()
    again = CliRunner().invoke(commands, command)
    assert again.exit_code == 3
    assert CliRunner().invoke(commands, [*command[:-4], "1", *command[-3:]]).exit_code == 2
