"""Several bundles as one: the mean of their probabilities, through every door that a single one goes through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
import safetensors
import safetensors.torch
import torch

from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.models import bundle, ensemble
from orthomask.engine.models.unet import UNet, UNetArguments, mixed
from orthomask.engine.progress import Progress
from orthomask.engine.runs.runs import NODATA, SCALE
from orthomask.protocol import (
    ChipSet,
    EnsembleRequest,
    ErrorCode,
    Existing,
    Image,
    LabelledData,
    OrthomaskError,
    PredictRequest,
    TrainRequest,
)
from orthomask.training.fit import start


def another(path: Path, seed: int, **changes: object) -> Path:
    """A bundle like that of `path`, with other weights and, if asked, another card."""
    card = dataclasses.replace(bundle.load(str(path)).card, **changes)
    torch.manual_seed(seed)
    network = UNet(card.architecture)
    torch.nn.init.normal_(network.head.weight, std=2.0)
    copy = path.with_name(f"tiny-{seed}.safetensors")
    bundle.save(copy, network, card)
    return copy


def joined(tmp_path: Path, *paths: Path, name: str = "joined") -> Path:
    out = tmp_path / f"{name}.safetensors"
    ensemble.run(EnsembleRequest(tuple(map(str, paths)), str(out)), Progress())
    return out


def probabilities(path: Path, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return bundle.load(str(path)).model()(image).softmax(dim=1)


@pytest.fixture
def pair(make_bundle: Callable[..., Path]) -> tuple[Path, Path]:
    first = make_bundle(classes=2)
    wider = UNetArguments(3, 3, widths=(8, 12, 16), blocks=1, detail=8, attention=True)
    return first, another(first, 7, architecture=wider, threshold=0.3)


def test_the_softmax_is_the_mean_of_the_members(pair: tuple[Path, Path], tmp_path: Path) -> None:
    image = torch.randn(2, 3, 64, 64)
    mean = (probabilities(pair[0], image) + probabilities(pair[1], image)) / 2
    torch.testing.assert_close(probabilities(joined(tmp_path, *pair), image), mean, rtol=1e-5, atol=1e-6)


def test_logits_far_apart_stay_finite(pair: tuple[Path, Path], tmp_path: Path) -> None:
    logits = bundle.load(str(joined(tmp_path, *pair))).model()(torch.randn(1, 3, 32, 32) * 1e4)
    assert torch.isfinite(logits.softmax(dim=1)).all()


def test_an_ensemble_of_ensembles_counts_every_member(pair: tuple[Path, Path], tmp_path: Path) -> None:
    third = another(pair[0], 9)
    nested = joined(tmp_path, joined(tmp_path, *pair, name="two"), third, name="three")
    image = torch.randn(1, 3, 32, 32)
    mean = sum(probabilities(path, image) for path in (*pair, third)) / 3
    assert len(bundle.load(str(nested)).card.members) == 3
    torch.testing.assert_close(probabilities(nested, image), mean, rtol=1e-5, atol=1e-6)


def test_fusing_does_not_change_an_ensemble(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path, image = joined(tmp_path, *pair), torch.randn(1, 3, 64, 64)
    predictor = devices.prepare(bundle.load(str(path)), devices.choose("cpu"), "fp32")
    torch.testing.assert_close(predictor(image), probabilities(path, image)[:, 1:], rtol=1e-3, atol=1e-4)


def test_an_ensemble_predicts_the_mean_of_the_maps(
    pair: tuple[Path, Path], tmp_path: Path, make_raster: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = devices.prepare
    monkeypatch.setattr(devices, "prepare", lambda opened, device, _: prepare(opened, device, "fp32"))
    image, maps = make_raster(), []
    for number, path in enumerate((*pair, joined(tmp_path, *pair))):
        request = PredictRequest(
            Image(str(image)), str(path), str(tmp_path / str(number)), device="cpu", window_px=128, overlap_px=32
        )
        with rasterio.open(predict.run(request, Progress()).probabilities_path) as dataset:
            maps.append(dataset.read().astype(float))
    assert (maps[2] != NODATA).all()
    assert abs((maps[0] + maps[1]) / 2 - maps[2]).max() < 0.02 * SCALE


def test_the_card_tells_of_its_members(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = joined(tmp_path, *pair)
    card = bundle.load(str(path)).card
    assert (card.name, card.title, card.threshold) == ("joined", "Ensemble of Tiny, Tiny", 0.4)
    assert card.licence == "CC0"
    hashes = [member["sha256"] for member in card.training["ensemble"]]
    assert hashes == [bundle.load(str(one)).sha256 for one in pair]
    with safetensors.safe_open(path, framework="numpy") as file:
        mlm = json.loads(file.metadata()["stac_mlm"])
    stored = {name.split(".")[1] for name in safetensors.torch.load_file(path)}
    parameters = sum(p.numel() for one in pair for p in bundle.load(str(one)).model().parameters())
    assert (stored, mlm["mlm:total_parameters"]) == ({"0", "1"}, parameters)


def test_a_single_network_says_nothing_of_members(tiny: Path) -> None:
    """So that versions from before ensembles go on reading it."""
    with safetensors.safe_open(tiny, framework="numpy") as file:
        assert "members" not in json.loads(file.metadata()[bundle.KEY])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gsd_m": 0.5}, "work at different resolutions"),
        ({"dtype": "uint16"}, "expect different values"),
    ],
)
def test_models_that_do_not_fit_are_refused(tiny: Path, tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(OrthomaskError, match=words):
        joined(tmp_path, tiny, another(tiny, 3, **changes))
    assert not list(tmp_path.glob("*.safetensors*"))


@pytest.mark.parametrize(
    ("shape", "words"), [({"classes": 2}, "find different classes"), ({"bands": 4}, "read different bands")]
)
def test_models_of_other_classes_or_bands_are_refused(
    tiny: Path, make_bundle: Callable[..., Path], tmp_path: Path, shape: dict[str, int], words: str
) -> None:
    with pytest.raises(OrthomaskError, match=words):
        joined(tmp_path, tiny, make_bundle(**shape))
    assert not list(tmp_path.glob("*.safetensors*"))


def test_an_ensemble_is_replaced_only_when_asked(tiny: Path, tmp_path: Path) -> None:
    path = joined(tmp_path, tiny, tiny)
    before = path.read_bytes()
    with pytest.raises(OrthomaskError) as caught:
        joined(tmp_path, tiny, tiny)
    assert (caught.value.code, path.read_bytes()) == (ErrorCode.OUTPUT_EXISTS, before)
    request = EnsembleRequest((str(tiny), str(tiny)), str(path), "Twins", Existing.OVERWRITE)
    assert ensemble.run(request, Progress()).title == "Twins"


def test_an_ensemble_cannot_be_trained_further(pair: tuple[Path, Path], tmp_path: Path) -> None:
    request = TrainRequest(
        LabelledData(chips=(ChipSet("chips"),)), str(tmp_path / "run"), model=str(joined(tmp_path, *pair))
    )
    with pytest.raises(OrthomaskError, match="one of its members"):
        start.parent_of(request)


def shifted(path: Path) -> tuple[bundle.BandStatistics, ...]:
    """The bands of a model fine-tuned on darker images of more contrast."""
    bands = bundle.load(str(path)).card.bands
    return tuple(dataclasses.replace(band, mean=band.mean * 0.6 + 3, std=band.std * 1.7) for band in bands)


def test_members_normalise_the_image_each_by_its_own_statistics(tiny: Path, tmp_path: Path) -> None:
    """The oracle: the mean of what each finds by itself, also beside missing pixels."""
    tuned = another(tiny, 5, bands=shifted(tiny))
    pixels, valid = torch.randint(0, 256, (3, 64, 64)).numpy().astype("uint8"), torch.rand(64, 64).numpy() > 0.1
    both = joined(tmp_path, tiny, tuned)
    third = joined(tmp_path, tuned, both, name="three")  # of which the second's first member is not the first's

    def found(path: Path) -> torch.Tensor:
        return probabilities(path, torch.from_numpy(bundle.load(str(path)).normalise(pixels, valid))[None])

    torch.testing.assert_close(found(both), (found(tiny) + found(tuned)) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found(third), (found(tiny) + 2 * found(tuned)) / 3, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found(tiny), found(tuned), atol=1e-2)


def test_a_fine_tuned_model_and_its_parent_predict_the_mean_of_their_maps(
    tiny: Path, tmp_path: Path, make_raster: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = devices.prepare
    monkeypatch.setattr(devices, "prepare", lambda opened, device, _: prepare(opened, device, "fp32"))
    tuned, image, maps = another(tiny, 5, bands=shifted(tiny)), make_raster(), []
    for number, path in enumerate((tiny, tuned, joined(tmp_path, tiny, tuned))):
        request = PredictRequest(
            Image(str(image)), str(path), str(tmp_path / str(number)), device="cpu", window_px=128, overlap_px=32
        )
        with rasterio.open(predict.run(request, Progress()).probabilities_path) as dataset:
            maps.append(dataset.read().astype(float))
    assert abs((maps[0] + maps[1]) / 2 - maps[2]).max() < 0.02 * SCALE


def test_members_of_the_same_statistics_are_saved_as_older_versions_read_them(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with safetensors.safe_open(joined(tmp_path, *pair), framework="numpy") as file:
        assert "statistics" not in json.loads(file.metadata()[bundle.KEY])


def test_a_lower_precision_does_not_round_how_members_normalise(tiny: Path, tmp_path: Path) -> None:
    network = bundle.load(str(joined(tmp_path, tiny, another(tiny, 5, bands=shifted(tiny))))).model()
    rounded = mixed(network, torch.bfloat16, lambda module, dtype: module.to(dtype))
    numbers = [buffer for name, buffer in rounded.named_buffers() if name.startswith("changes")]
    assert [buffer.dtype for buffer in numbers] == [torch.float32] * 4
