"""Starting from a bundle: what fits is taken, the rest is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from trainings import parent_of, training, write_pictures

from orthomask.engine.models import bundle
from orthomask.engine.models.bundle import normalise
from orthomask.engine.models.operations import Foreign, Part, Step
from orthomask.engine.models.unet import UNet, UNetArguments
from orthomask.engine.progress import Progress
from orthomask.protocol import ClassInfo, Encoder, LabelledData, Network, OrthomaskError, Pictures
from orthomask.training.data.material import Material, read
from orthomask.training.data.scenes import Source, band_statistics, make_scene
from orthomask.training.fit import imagenet, train
from orthomask.training.fit.start import begin, foreign_bands

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


RESIDUAL = UNetArguments(3, 2, widths=(16, 16), blocks=1)
LITE = UNetArguments(3, 2, (16,) * 5, encoder=Encoder.EFFICIENTNET_LITE0)
SECOND = replace(RESIDUAL, second_bands=1, second_scale=2)

FILTERS = Step("convolution", (3, 16, 3, 3, 2, 2, 1, 1, 1, 1, 1, 0))
NORM, FURTHER = Step("batch_norm", (16, 1e-5)), Step("convolution", (16, 16, 2, 2, 2, 2, 0, 0, 1, 1, 1, 1))
CROPPED = replace(FILTERS, numbers=(3, 16, 3, 3, 2, 2, 0, 0, 1, 1, 1, 0))
BIASED = Step("convolution", (3, 16, 4, 4, 4, 4, 0, 0, 1, 1, 1, 1))
LAST = Step("convolution", (16, 2, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1))
DOUBLED = Part((0,), "", (Step("enlarge", (2, 0)),))
DECODER = ((DOUBLED, Part((2, 1), "add")), (DOUBLED,))


def theirs(*first, reduction=2, decoder=(), head=()):
    """A network whose encoder, and maybe more, another library describes."""
    encoder = ((Part((0,), "", first),), (Part((0,), "", (FURTHER, Step("relu"))),))
    foreign = Foreign("a library", (16, 16), reduction, encoder, decoder, head)
    return UNetArguments(3, 2, (16, 16), encoder="theirs", foreign=foreign)


WHOLE = theirs(Step("pad", (0, 1, 0, 1)), CROPPED, NORM, decoder=DECODER, head=(Part((0,), "", (LAST,)),))
COLOURS = replace(FILTERS, numbers=(2, *FILTERS.numbers[1:]))
JOINED = replace(theirs(COLOURS, NORM, Step("silu")), second_bands=1, second_scale=2)
FOREIGN = [theirs(FILTERS, NORM, Step("silu")), theirs(BIASED, Step("gelu"), reduction=4), WHOLE, JOINED]


def parent_with_history(folder, shape):
    """A parent whose batch normalisations have seen something, so that a wrong mean would show."""
    parent = parent_of(folder, shape=shape)
    network = parent.model()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    bundle.save(parent.path, network, parent.card)
    return bundle.load(str(parent.path))


@pytest.mark.parametrize("shape", [RESIDUAL, LITE, SECOND, *FOREIGN])
def test_the_same_pixels_give_the_same_whatever_normalises_them(shape, tmp_path):
    parent = parent_with_history(tmp_path, shape)
    card, network, warnings = started(parent, material_of(("red", "green", "blue"), values=(60, 140)), tmp_path)
    assert warnings == ()
    assert card.bands == band_statistics(("red", "green", "blue"), material_of("rgb", values=(60, 140)).sources)
    assert card.bands[0].mean == pytest.approx(100, abs=3)
    assert card.training["parent"] == {"name": "parent", "sha256": parent.sha256}
    bundle.save(tmp_path / "new.safetensors", network, card)
    reopened = bundle.load(str(tmp_path / "new.safetensors"))
    step, size = shape.divisor, 16 * shape.divisor
    pixels = np.random.default_rng(1).integers(0, 255, (3, size, size)).astype(np.uint8)
    valid = np.ones((size, size), bool)
    with torch.inference_mode():
        before, after = (
            each.model()(torch.from_numpy(each.normalise(pixels, valid)[None])) for each in (parent, reopened)
        )
    middle = slice(7 * step, 9 * step)  # sees no edge
    torch.testing.assert_close(after[..., middle, middle], before[..., middle, middle], atol=1e-3, rtol=0)
    kept = network.eval()(torch.from_numpy(normalise(pixels, valid, card.bands)[None]))
    torch.testing.assert_close(kept[..., middle, middle], before[..., middle, middle], atol=1e-4, rtol=0)


def ratios(card, parent):
    """By what the filters of red and green, second and third band now, have to grow."""
    return torch.tensor([card.bands[1].std, card.bands[2].std])[:, None, None] / parent.card.bands[0].std


def test_bands_are_matched_by_name_and_new_ones_begin_with_the_mean(tmp_path):
    parent = parent_of(tmp_path)
    card, network, warnings = started(parent, material_of(("nir", "red", "green")), tmp_path)
    old, new = parent.model().stem[0].weight, network.stem[0].weight
    torch.testing.assert_close(new[:, 0], old.mean(dim=1))
    torch.testing.assert_close(new[:, 1:], old[:, :2] * ratios(card, parent))
    assert [band.name for band in card.bands] == ["nir", "red", "green"]
    assert sum("nir" in text for text in warnings) == 1
    assert sum("blue" in text for text in warnings) == 1


def test_an_encoder_that_reads_the_image_itself_gets_the_bands_too(tmp_path):
    parent = parent_of(tmp_path, shape=LITE)
    card, network, _ = started(parent, material_of(("nir", "red", "green")), tmp_path)
    old, new = parent.model().encoder[0][0][0].weight, network.encoder[0][0][0].weight
    torch.testing.assert_close(new[:, 0], old.mean(dim=1))
    torch.testing.assert_close(new[:, 1:], old[:, :2] * ratios(card, parent))


def test_classes_are_matched_by_name_and_new_ones_begin_anew(tmp_path):
    parent = parent_of(tmp_path, classes=("house", "road"))
    _, network, warnings = started(parent, material_of(("red", "green", "blue"), ("field", "Houses")), tmp_path)
    old, new = parent.model().head.weight, network.head.weight
    torch.testing.assert_close(new[0], old[0])
    torch.testing.assert_close(new[2], old[1])
    assert not any(torch.equal(new[1], row) for row in old)
    assert len(warnings) == 1
    assert "“field”" in warnings[0]


def test_a_network_of_another_library_gets_other_bands_and_classes(tmp_path):
    parent = parent_of(tmp_path, shape=WHOLE)
    material = material_of(("nir", "red", "green", "blue"), ("field", "house"))
    card, network, warnings = started(parent, material, tmp_path)
    old, new = parent.model(), network
    torch.testing.assert_close(new.head[0][0].weight[[0, 2]], old.head[0][0].weight)
    torch.testing.assert_close(new.encoder[0][0][1].weight[:, 0], old.encoder[0][0][1].weight.mean(dim=1))
    bundle.save(tmp_path / "new.safetensors", network, card)
    assert bundle.load(str(tmp_path / "new.safetensors")).model()(torch.zeros(1, 4, 8, 8)).shape == (1, 3, 8, 8)
    assert len(warnings) == 2


def test_a_network_whose_first_step_is_no_convolution_is_no_start(tmp_path):
    parent = parent_of(tmp_path, shape=theirs(CROPPED, Step("relu"), Step("pad", (0, 1, 0, 1))))
    with pytest.raises(OrthomaskError, match="its first step is no convolution"):
        started(parent, material_of(("red", "green", "blue")), tmp_path)


def test_filters_of_bands_that_have_become_foreign_stay_as_they_are(tmp_path):
    parent = parent_of(tmp_path)
    for values, dtype in (((200, 255), "uint8"), ((90, 100), "uint8"), ((20, 140), "uint16")):
        card, network, warnings = started(parent, material_of(("red", "green", "blue"), (), values, dtype), tmp_path)
        assert foreign_bands(card, parent.card) == ["red", "green", "blue"]
        assert len(warnings) == 3
        torch.testing.assert_close(network.stem[0].weight, parent.model().stem[0].weight)
        torch.testing.assert_close(network.stem[1].running_mean, parent.model().stem[1].running_mean)


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


def test_a_training_from_imagenet_has_the_statistics_of_its_own_images(tmp_path):
    data = write_pictures(tmp_path)
    shape = UNetArguments(3, 1, (16,) * 5, encoder=Encoder.EFFICIENTNET_LITE0)
    parent = parent_of(tmp_path, classes=(), shape=shape)
    wide = tuple(replace(band, mean=imagenet.MEAN, std=imagenet.STD) for band in parent.card.bands)
    bundle.save(parent.path, parent.model(), replace(parent.card, name="imagenet", bands=wide))
    request = training(data, tmp_path / "run", model=str(parent.path), epochs=1, steps=1, chip_px=64)
    card = bundle.load(train.run(request, Progress()).model_path).card
    scenes = read(request, bundle.load(str(parent.path)), Progress())
    assert card.bands == band_statistics(scenes.bands, scenes.sources)
    assert card.bands != wide
    assert card.training["parent"]["name"] == "imagenet"
