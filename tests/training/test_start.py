"""Starting from a bundle: what fits is taken, the rest is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from orthomask.engine import bundle
from orthomask.engine.bundle import BandStatistics
from orthomask.engine.unet import UNet, UNetArguments
from orthomask.protocol import ClassInfo, Encoder, LabelledData, Network, OrthomaskError, Pictures
from orthomask.training import imagenet
from orthomask.training.material import Material
from orthomask.training.scenes import Source, band_statistics, make_scene
from orthomask.training.start import begin, inherited_bands

from .test_material import parent_of
from .trainings import training

DATA = LabelledData(pictures=(Pictures("i", "m", 0.3),))


def material_of(bands, classes=("house",), values=(20, 140), dtype="uint8"):
    random = np.random.default_rng(0)
    pixels = random.integers(*values, (len(bands), 32, 32)).astype(dtype)
    scene = make_scene(pixels, np.ones((32, 32), bool), random.integers(0, 2, (32, 32)), 0.3, "Town")
    infos = tuple(ClassInfo(n, name, "#654321") for n, name in enumerate(classes, 1))
    return Material((Source(1.0, (scene,)),), (scene,), infos, tuple(bands), dtype, 0.4, ())


def started(parent, material, tmp_path, **changes):
    request = training(DATA, tmp_path, **changes)
    return begin(request, parent, material, band_statistics(material.bands, material.sources))


def test_the_same_bands_and_classes_predict_the_same(tmp_path):
    parent = parent_of(tmp_path)
    card, network, warnings = started(parent, material_of(("red", "green", "blue")), tmp_path)
    assert warnings == ()
    assert card.bands == parent.card.bands
    assert card.training["parent"] == {"name": "parent", "sha256": parent.sha256}
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(image), parent.model()(image))


def test_bands_are_matched_by_name_and_new_ones_begin_with_the_mean(tmp_path):
    parent = parent_of(tmp_path)
    card, network, warnings = started(parent, material_of(("nir", "red", "green")), tmp_path)
    old, new = parent.model().stem[0].weight, network.stem[0].weight
    torch.testing.assert_close(new[:, 0], old.mean(dim=1))
    torch.testing.assert_close(new[:, 1:], old[:, :2])
    assert card.bands[1:] == parent.card.bands[:2]
    assert sum("nir" in text for text in warnings) == 1
    assert sum("blue" in text for text in warnings) == 1


def test_an_encoder_that_reads_the_image_itself_gets_the_bands_too(tmp_path):
    shape = UNetArguments(3, 2, (16,) * 5, encoder=Encoder.EFFICIENTNET_LITE0)
    parent = parent_of(tmp_path, shape=shape)
    _, network, _ = started(parent, material_of(("nir", "red", "green")), tmp_path)
    old, new = parent.model().encoder[0][0][0].weight, network.encoder[0][0][0].weight
    torch.testing.assert_close(new[:, 0], old.mean(dim=1))
    torch.testing.assert_close(new[:, 1:], old[:, :2])


def test_classes_are_matched_by_name_and_new_ones_begin_anew(tmp_path):
    parent = parent_of(tmp_path, classes=("house", "road"))
    _, network, warnings = started(parent, material_of(("red", "green", "blue"), ("field", "Houses")), tmp_path)
    old, new = parent.model().head.weight, network.head.weight
    torch.testing.assert_close(new[0], old[0])
    torch.testing.assert_close(new[2], old[1])
    assert not any(torch.equal(new[1], row) for row in old)
    assert len(warnings) == 1
    assert "“field”" in warnings[0]


def test_statistics_are_kept_unless_the_images_are_quite_different(tmp_path):
    parent = parent_of(tmp_path)
    near = (BandStatistics("red", 120, 60, 20, 220),)
    far = (BandStatistics("red", 200, 40, 100, 250),)
    flat = (BandStatistics("red", 80, 5, 70, 90),)
    assert inherited_bands(parent, near, "uint8") == ((parent.card.bands[0],), [])
    for measured, dtype in ((far, "uint8"), (flat, "uint8"), (near, "uint16")):
        bands, warnings = inherited_bands(parent, measured, dtype)
        assert bands == measured
        assert len(warnings) == 1


def test_from_scratch_there_is_nothing_to_tell(tmp_path):
    material = material_of(("red", "green", "blue"), ("a", "b"))
    card, network, warnings = started(None, material, tmp_path)
    assert warnings == ()
    assert card.architecture.widths == (16, 16)
    assert card.architecture.classes == network.head.out_channels == 3
    assert card.training["square_kilometres"] == pytest.approx(1024 * 0.09 / 1e6, abs=1e-4)
    assert card.training["parent"] == {}


def test_chips_have_to_fit_the_network(tmp_path):
    with pytest.raises(OrthomaskError, match="multiple of 4 px"):
        started(None, material_of(("red",)), tmp_path, chip_px=30)


def test_an_ensemble_is_no_start(tmp_path):
    parent = parent_of(tmp_path)
    several = replace(parent, card=replace(parent.card, members=(parent.card.architecture,) * 2))
    with pytest.raises(OrthomaskError, match="ensemble"):
        started(several, material_of(("red", "green", "blue")), tmp_path)


def test_published_weights_go_into_the_encoder_in_their_order():
    shape = UNetArguments(3, 1, (16,) * 5, encoder=Encoder.EFFICIENTNET_LITE0)
    published = {f"{name}!": tensor for name, tensor in UNet(shape).encoder.state_dict().items()}
    rest = {"head": torch.zeros(5), "classifier": torch.zeros(7)}
    network = UNet(shape)
    imagenet.inherit(network, dict(list(published.items())[: -imagenet.NARROWING]) | rest)
    for name, tensor in list(network.encoder.state_dict().items())[: -imagenet.NARROWING]:
        torch.testing.assert_close(tensor, published[f"{name}!"])


def test_a_model_from_scratch_fits_into_a_small_bundle(tmp_path):
    request = training(DATA, tmp_path, network=Network(), chip_px=64)
    material = material_of(("red", "green", "blue"))
    card, network, _ = begin(request, None, material, band_statistics(material.bands, material.sources))
    bundle.save(tmp_path / "large.safetensors", network, card)
    assert (tmp_path / "large.safetensors").stat().st_size < 9e6
