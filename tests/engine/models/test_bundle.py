from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet, UNetArguments, fused
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, ModelsRequest, OrthomaskError


def refused(path: Path) -> ErrorCode:
    with pytest.raises(OrthomaskError) as caught:
        bundle.load(str(path)).model()
    return caught.value.code


def test_a_bundle_gives_back_its_card_and_its_network(tiny: Path) -> None:
    opened = bundle.load(str(tiny))
    network = opened.model()
    copy = tiny.with_name("copy.safetensors")
    bundle.save(copy, network, opened.card)
    again = bundle.load(str(copy))
    assert again.card == opened.card
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(again.model()(image), network(image), rtol=0, atol=0)


def test_the_card_is_a_stac_mlm_description(tiny: Path) -> None:
    with safetensors.safe_open(tiny, framework="numpy") as file:
        mlm = json.loads(file.metadata()["stac_mlm"])
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= set(mlm)
    assert [c["name"] for c in mlm["mlm:output"][0]["classification:classes"]] == ["background", "class 1"]
    assert mlm["mlm:input"][0]["value_scaling"][0] == {"type": "z-score", "mean": 120.0, "stddev": 60.0}


def test_normalisation_is_by_the_stored_statistics_and_zero_where_unknown(tiny: Path) -> None:
    pixels = np.full((3, 2, 2), 180, np.uint8)
    valid = np.array([[True, False], [True, True]])
    normalised = bundle.load(str(tiny)).normalise(pixels, valid)
    np.testing.assert_allclose(normalised[:, valid], 1)
    assert not normalised[:, ~valid].any()


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_a_truncated_bundle_is_refused(tiny: Path, tmp_path: Path, keep: float) -> None:
    content = tiny.read_bytes()
    path = tmp_path / "torn.safetensors"
    path.write_bytes(content[: int(keep if keep >= 4 or keep == 0 else keep * len(content))])
    assert refused(path) is ErrorCode.BUNDLE_UNREADABLE


def test_a_pickle_is_refused_unopened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return Path(tmp_path / "sprung").touch, ()  # type: ignore[return-value]

    for name, old in (("new.pt", False), ("old.pt", True)):
        torch.save({"weights": Trap()}, tmp_path / name, _use_new_zipfile_serialization=not old)
        assert refused(tmp_path / name) is ErrorCode.BUNDLE_UNSAFE
    assert not (tmp_path / "sprung").exists()


def test_a_safetensors_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(3)}, path)
    assert refused(path) is ErrorCode.BUNDLE_UNREADABLE


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"format": 99}, ErrorCode.BUNDLE_NEWER),
        ({"format": "x"}, ErrorCode.BUNDLE_UNREADABLE),
        ({"gsd_m": "fine"}, ErrorCode.BUNDLE_UNREADABLE),
        ({"architecture": {"bands": 5, "classes": 2}}, ErrorCode.BUNDLE_UNREADABLE),
    ],
)
def test_a_card_that_cannot_be_followed_is_refused(
    tiny: Path, tmp_path: Path, change: dict[str, object], code: ErrorCode
) -> None:
    with safetensors.safe_open(tiny, framework="numpy") as file:
        card = json.loads(file.metadata()[bundle.KEY])
    path = tmp_path / "changed.safetensors"
    metadata = {bundle.KEY: json.dumps({**card, **change})}
    safetensors.torch.save_file(safetensors.torch.load_file(tiny), path, metadata=metadata)
    assert refused(path) is code


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere.safetensors") is ErrorCode.BUNDLE_UNREADABLE
    assert refused(tmp_path) is ErrorCode.BUNDLE_UNREADABLE


def test_embedded_models_fit_into_the_plugin_and_name_their_licence_and_accuracy() -> None:
    models = bundle.run(ModelsRequest(), Progress()).models
    assert "buildings" in [model.name for model in models]
    for model in models:
        assert Path(model.path).stat().st_size < 9_000_000
        assert model.licence
        assert model.attribution
        assert model.card["accuracy"]


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(("bands", "classes"), [(1, 2), (3, 2), (14, 7)])
def test_networks_keep_the_image_size_for_any_bands_and_classes(bands: int, classes: int, attention: bool) -> None:
    arguments = UNetArguments(bands, classes, widths=(8, 12, 16), detail=8, attention=attention)
    network = UNet(arguments).eval()
    assert network(torch.randn(2, bands, 64, 8 * arguments.divisor)).shape == (2, classes, 64, 64)


@pytest.mark.parametrize("attention", [False, True])
def test_fusing_batch_normalisation_changes_nothing(attention: bool) -> None:
    torch.manual_seed(0)
    network = UNet(UNetArguments(3, 2, widths=(8, 12), detail=8, attention=attention))
    network.train()
    for _ in range(3):
        network(torch.randn(4, 3, 32, 32))
    network.eval()
    image = torch.randn(2, 3, 32, 32)
    expected = network(image)
    ready = fused(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in ready.modules())
    torch.testing.assert_close(ready(image), expected, rtol=1e-4, atol=1e-4)


def test_the_default_network_fits_the_embedded_budget(tmp_path: Path, tiny: Path) -> None:
    card = bundle.load(str(tiny)).card
    arguments = UNetArguments(3, 2)
    path = tmp_path / "full.safetensors"
    bundle.save(path, UNet(arguments), dataclasses.replace(card, architecture=arguments))
    assert path.stat().st_size < 9_000_000


@pytest.mark.parametrize("length", range(32))
def test_a_bundle_may_begin_with_any_byte(tiny: Path, tmp_path: Path, length: int) -> None:
    """Its first byte is part of a length; 0x80 is what pickles begin with, also where the rest is torn off."""
    opened, path = bundle.load(str(tiny)), tmp_path / "long.safetensors"
    bundle.save(path, opened.model(), dataclasses.replace(opened.card, title="x" * 8 * length))
    assert bundle.load(str(path)).card.title == "x" * 8 * length
    content = path.read_bytes()
    for keep in (8, 100, len(content) // 2):
        path.write_bytes(content[:keep])
        assert refused(path) is ErrorCode.BUNDLE_UNREADABLE


def test_embedded_models_are_titled_in_the_users_language(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    monkeypatch.setattr(bundle, "tr", lambda text: f"auf Deutsch: {text}")
    embedded = [bundle.load(path.stem) for path in bundle._bundles(bundle.MODELS_DIR)]
    assert {opened.card.title for opened in embedded} <= set(bundle.EMBEDDED_TITLES)
    assert all(opened.summary().title == f"auf Deutsch: {opened.card.title}" for opened in embedded)
    assert bundle.load(str(tiny)).summary().title == "Tiny"
