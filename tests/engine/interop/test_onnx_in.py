"""ONNX files as models: they run like any other, or are refused with a sentence and a remedy."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import safetensors
import torch
from click.testing import CliRunner
from interop.onnx_models import SEGMENTOR, model, onnx, saved

from conftest import scene
from orthomask.cli import commands
from orthomask.engine import check, predict
from orthomask.engine.compute import devices, networks
from orthomask.engine.interop import deepness, onnx_facts, onnx_in, onnx_out
from orthomask.engine.models import bundle, copies, ensemble, graphs
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    CheckRequest,
    CopyModelRequest,
    EnsembleRequest,
    ErrorCode,
    Existing,
    ExportModelRequest,
    Image,
    ImportModelRequest,
    Level,
    OnnxRequest,
    OrthomaskError,
    PredictRequest,
    TrainRequest,
)
from orthomask.training.fit import start

GIVEN = {"gsd_m": 0.3, "classes": ("roof",)}
SOFTMAX = {"activation": "Softmax", "opset": 13}


def imported(path: Path, **given: Any) -> bundle.Bundle:
    out = path.with_suffix(".safetensors")
    onnx_in.run(ImportModelRequest(str(path), str(out), **given), Progress())
    return bundle.load(str(out))


def refusal(path: Path, **given: Any) -> OrthomaskError:
    before = sorted(path.parent.iterdir()) if path.parent.exists() else []
    with pytest.raises(OrthomaskError) as caught:
        imported(path, **given)
    assert (sorted(path.parent.iterdir()) if path.parent.exists() else []) == before
    assert caught.value.sentence.endswith(".")
    assert caught.value.remedy.endswith(".")
    return caught.value


def found(opened: bundle.Bundle, pixels: np.ndarray) -> np.ndarray:
    """Foreground probabilities of pixels `(bands, H, W)`, in the precision of ONNX Runtime."""
    windows = torch.from_numpy(opened.normalise(pixels, np.ones(pixels.shape[1:], bool)))[None]
    return devices.prepare(opened, devices.choose("cpu"), "fp32")(windows)[0].numpy()


def own(made: Any, pixels: np.ndarray, head: int = 0) -> np.ndarray:
    """What a model gives by itself, of pixels divided by 255."""
    import onnxruntime

    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = session.get_inputs()[0].shape[0]
    images = (pixels[None] / 255).astype(np.float32).repeat(batch if isinstance(batch, int) else 1, axis=0)
    return session.run(None, {"input": images})[head][0]


def test_a_model_of_ours_is_the_same_after_leaving_and_coming_back(tiny: Path, tmp_path: Path) -> None:
    """On the sample image; with its colours, licence and statistics."""
    onnx_out.run(ExportModelRequest("buildings", str(tmp_path / "b.onnx"), 256), Progress())
    before, after = bundle.load("buildings"), imported(tmp_path / "b.onnx")
    assert replace(after.card, **{name: getattr(before.card, name) for name in (
        "name", "architecture", "training", "graph", "format", "members", "statistics")}) == before.card  # fmt: skip
    with rasterio.open(bundle.MODELS_DIR.parent / "sample" / "banepa.tif") as dataset:
        pixels = dataset.read([1, 2, 3])[:, 100:356, 100:356]
    classes = [found(opened, pixels)[0] >= opened.card.threshold for opened in (before, after)]
    assert 0.01 < classes[0].mean() < 0.99
    assert (classes[0] == classes[1]).mean() >= 0.9999


def test_a_run_with_an_imported_model_is_a_run_like_any_other(tmp_path: Path, make_raster: Callable[..., Path]) -> None:
    made = model(metadata=SEGMENTOR, kernel=5, padded=False, side=70)
    opened, image = imported(saved(tmp_path / "m.onnx", made)), make_raster((150, 170))
    request = PredictRequest(Image(str(image)), str(opened.path), str(tmp_path / "run"), device="cpu")
    result = predict.run(request, Progress())
    assert result.polygons_path
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["model"]["sha256"] == opened.sha256
    with rasterio.open(tmp_path / "run" / "probabilities.tif") as dataset:
        probabilities = dataset.read(1)[2:-2, 2:-2] / 254
    with rasterio.open(image) as dataset:
        pixels = dataset.read()
    whole = own(model(metadata=SEGMENTOR, kernel=5, side="S"), pixels)[0, 2:-2, 2:-2]
    inner = np.abs(probabilities - whole) < 0.01  # not where a window's border is its own
    assert inner.mean() > 0.9


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "no axis of channels": ({"flat": True, "metadata": SEGMENTOR}, {}, ("roof",)),
    "a fixed batch": ({"batch": 3, "metadata": SEGMENTOR}, {}, ("roof",)),
    "softmax with background": (
        {**SOFTMAX, "outputs": (3,), "metadata": {"class_names": {"0": "_background", "1": "a", "2": "b"}}},
        {"gsd_m": 1.0}, ("a", "b"),
    ),
    "softmax without background": (
        {**SOFTMAX, "outputs": (2,), "metadata": {"names": {"0": "Tea", "1": "Coffee"}}}, {"gsd_m": 0.3},
        ("Tea", "Coffee"),
    ),
    "old opset": ({"opset": 10, "metadata": {**SEGMENTOR, "class_names": [{"0": "roof"}]}}, {}, ("roof",)),
    "four bands": ({"bands": 4, "metadata": SEGMENTOR}, {}, ("roof",)),
    "thirteen bands": (
        {**SOFTMAX, "bands": 13, "outputs": (4,)}, {"gsd_m": 10.0, "classes": ("a", "b", "c")},
        ("a", "b", "c"),
    ),
    "not a multiple of 32": ({"side": 100, "metadata": SEGMENTOR}, {}, ("roof",)),
    "smaller output": ({"kernel": 5, "padded": False, "metadata": SEGMENTOR}, {}, ("roof",)),
    "no metadata": ({}, GIVEN, ("roof",)),
    "second output": (
        {"outputs": (1, 1), "metadata": {"class_names": [{"0": "Tea"}, {"0": "Juice"}]}}, {"gsd_m": 0.3, "head": 2},
        ("Juice",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_model_gives_its_own_probabilities(variant: str, tmp_path: Path) -> None:
    making, given, names = VARIANTS[variant]
    made = model(**making)
    opened = imported(saved(tmp_path / "m.onnx", made), **given)
    assert tuple(info.name for info in opened.card.classes) == names
    bands, side, smaller = making.get("bands", 3), making.get("side", 64), 4 if "padded" in making else 0
    assert opened.windows_px(512, 64) == (side - smaller, min(64, (side - smaller) // 2))
    pixels = scene(side, side, bands)
    whole = own(made, pixels, given.get("head", 1) - 1)
    whole = whole[None] if whole.ndim == 2 else whole
    core = slice(smaller // 2, side - smaller // 2)
    np.testing.assert_allclose(found(opened, pixels)[:, core, core], whole[-len(names) :], atol=1e-5)


def test_bands_are_named_and_normalised_as_the_file_says(tmp_path: Path) -> None:
    said = {
        **SEGMENTOR,
        "standardization_mean": [0.4, 0.4, 0.5],
        "standardization_std": [0.2, 0.2, 0.1],
        "seg_thresh": 0.3,
    }
    card = imported(saved(tmp_path / "m.onnx", model(metadata=said)), licence="CC0").card
    assert [(band.name, round(band.mean), round(band.std, 1)) for band in card.bands] == [
        ("red", 102, 51.0), ("green", 102, 51.0), ("blue", 128, 25.5),
    ]  # fmt: skip
    assert (card.gsd_m, card.threshold, card.licence, card.dtype) == (0.3, 0.3, "CC0", "uint8")
    given = {"bands": ("nir", "red", "green"), "mean": (0.5,), "std": (0.5,), "dtype": "uint16", "title": "Mine"}
    (tmp_path / "m.safetensors").unlink()
    card = imported(tmp_path / "m.onnx", **given).card
    assert [(band.name, band.mean, band.std) for band in card.bands] == [
        (name, 127.5, 127.5) for name in given["bands"]
    ]
    assert (card.title, card.dtype) == ("Mine", "uint16")


def test_an_older_version_refuses_the_bundle_and_stac_describes_it(tmp_path: Path) -> None:
    opened = imported(saved(tmp_path / "m.onnx", model(metadata=SEGMENTOR)))
    with safetensors.safe_open(opened.path, framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata[bundle.KEY])["format"] == 3
    described = json.loads(metadata["stac_mlm"])
    assert (described["mlm:framework"], described["mlm:total_parameters"]) == ("onnx", 3)


def test_the_preflight_does_not_compare_with_training_images_it_does_not_know(
    tmp_path: Path, make_raster: Callable[..., Path]
) -> None:
    opened = imported(saved(tmp_path / "m.onnx", model(metadata=SEGMENTOR)))
    result = check.run(CheckRequest(Image(str(make_raster())), str(opened.path), device="cpu"), Progress())
    (light,) = [light for light in result.lights if light.name == "values"]
    assert (light.level, "does not say how bright" in light.reason) == (Level.AMBER, True)


def test_an_imported_model_is_copied_but_neither_trained_nor_joined_nor_explained(tmp_path: Path) -> None:
    opened = imported(saved(tmp_path / "m.onnx", model(metadata=SEGMENTOR)))
    path = str(opened.path)
    copies.run(CopyModelRequest(path, str(tmp_path / "copy.safetensors"), "Copy"), Progress())
    pixels = scene(64, 64)
    np.testing.assert_array_equal(found(bundle.load(str(tmp_path / "copy.safetensors")), pixels), found(opened, pixels))
    for act in (
        lambda: start.parent_of(TrainRequest(Any, str(tmp_path / "t"), model=path)),  # type: ignore[arg-type]
        lambda: ensemble.run(EnsembleRequest((path, path), str(tmp_path / "e.safetensors")), Progress()),
        lambda: networks.opened(opened, torch.device("cpu")),
        lambda: onnx_out.run(ExportModelRequest(path, str(tmp_path / "e.onnx")), Progress()),
    ):
        with pytest.raises(OrthomaskError, match="was imported from ONNX"):
            act()


@pytest.mark.parametrize(
    ("making", "given", "words"),
    [
        ({"metadata": {**SEGMENTOR, "model_type": "Regression"}}, {}, "type “Regression”"),
        ({"metadata": {**SEGMENTOR, "model_type": "Detector"}}, {}, "type “Detector”"),
        ({"side": "S"}, GIVEN, "does not fix the size"),
        ({"activation": "Identity"}, GIVEN, "not probabilities"),
        ({"kernel": 63, "padded": False, "side": 100}, GIVEN, "its output has another resolution"),
        ({}, {"classes": ("roof",)}, "does not say its resolution"),
        ({}, {"gsd_m": 0.3}, "has 1 channels in its output, and 0 names"),
        ({"outputs": (3,)}, GIVEN, "has 3 channels in its output, and 1 names"),
        ({"outputs": (1, 1)}, GIVEN, "has the outputs 1 (output0); 2 (output1)"),
        ({}, {**GIVEN, "bands": ("red",)}, "reads 3 bands, but 1 names and 3 means"),
    ],
)
def test_what_cannot_be_run_or_is_not_known_is_said(
    making: dict[str, Any], given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    assert words in refusal(saved(tmp_path / "m.onnx", model(**making)), **given).sentence


def test_several_inputs_and_other_pixels_are_refused(tmp_path: Path) -> None:
    made = model()
    made.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
    assert "has 2 inputs" in refusal(saved(tmp_path / "a.onnx", made), **GIVEN).sentence
    made = model()
    made.graph.node.insert(0, onnx.helper.make_node("Cast", ["bytes"], ["input"], to=1))
    made.graph.input[0].name, made.graph.input[0].type.tensor_type.elem_type = "bytes", onnx.TensorProto.UINT8
    assert "takes tensor(uint8) pixels" in refusal(saved(tmp_path / "b.onnx", made), **GIVEN).sentence


def test_operators_of_their_own_are_refused_even_inside_others(tmp_path: Path) -> None:
    made = model()
    made.graph.node[1].domain = "com.example"
    error = refusal(saved(tmp_path / "a.onnx", made), **GIVEN)
    assert (error.code, error.details) == (ErrorCode.BUNDLE_UNSAFE, "com.example::Sigmoid")
    inner, made = model().graph, model()
    inner.node[0].domain = "com.example"
    made.graph.node.append(onnx.helper.make_node("If", ["yes"], ["no"], then_branch=inner, else_branch=inner))
    assert refusal(saved(tmp_path / "b.onnx", made), **GIVEN).details == "com.example::Conv"


def external(path: Path, location: str) -> Path:
    """A model whose weights are said to lie elsewhere."""
    made = model(metadata=SEGMENTOR)
    tensor = made.graph.initializer[0]
    (path.parent / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return saved(path, made)


def test_weights_in_another_file_come_from_the_same_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder / "m.onnx", "weights.bin")
    pixels = scene(64, 64)
    opened = imported(path)
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    np.testing.assert_allclose(found(opened, pixels), own(model(), pixels), atol=1e-5)
    (folder / "m.safetensors").unlink()
    assert "with the weights of “m.onnx” is missing" in refusal(path).sentence
    for location in ("../weights.bin", str(tmp_path / "weights.bin"), ""):
        assert refusal(external(folder / "m.onnx", location)).code is ErrorCode.BUNDLE_UNSAFE
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    assert refusal(external(folder / "m.onnx", "link.bin")).code is ErrorCode.BUNDLE_UNSAFE


def test_a_bundle_made_by_others_cannot_reach_files_either(tmp_path: Path) -> None:
    opened = imported(saved(tmp_path / "m.onnx", model(metadata=SEGMENTOR)))
    content = external(tmp_path / "e.onnx", "weights.bin").read_bytes()
    tensor = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
    bundle.write(tmp_path / "evil.safetensors", {graphs.TENSOR: tensor}, opened.card)
    with pytest.raises(OrthomaskError, match="keeps its weights in another file"):
        devices.prepare(bundle.load(str(tmp_path / "evil.safetensors")), devices.choose("cpu"))


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", b"<!DOCTYPE html><html></html>",
     pickle.dumps({"a": 1}), bytes(range(256))],
)  # fmt: skip
def test_a_file_that_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert "is not an ONNX model" in refusal(path).sentence
    path.write_bytes(model(metadata=SEGMENTOR).SerializeToString()[:-40])
    assert refusal(path, **GIVEN).code is ErrorCode.BUNDLE_UNREADABLE


def test_more_than_two_gigabytes_are_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate(1 << 31)  # takes no space
    assert "larger than 2 GB" in refusal(tmp_path / "m.onnx").sentence
    assert "There is no file" in refusal(tmp_path / "none.onnx").sentence


def test_values_that_turn_out_to_be_no_probabilities_end_a_run(
    tmp_path: Path, make_raster: Callable[..., Path]
) -> None:
    """This graph adds up its image: fine for the dark noise it is tried with, wrong for bright pixels."""
    made = model(activation="Identity", metadata=SEGMENTOR)
    made.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 0.33, np.float32), "w0"))
    opened = imported(saved(tmp_path / "m.onnx", made), mean=(0.2,), std=(0.2,))
    image = make_raster(np.full((3, 80, 80), 250, np.uint8))
    request = PredictRequest(Image(str(image)), str(opened.path), str(tmp_path / "run"), device="cpu")
    with pytest.raises(OrthomaskError, match="values that are not probabilities"):
        predict.run(request, Progress())


def test_without_onnx_support_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "m.onnx", model(metadata=SEGMENTOR))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    result = CliRunner().invoke(commands, ["models", "import", str(path), "--out", str(tmp_path / "m.safetensors")])
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (4, 2)
    assert "ONNX support is not installed." in result.stderr


def test_the_command_takes_what_the_file_does_not_say(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", model(outputs=(1, 3), activation="Softmax"))
    facts = onnx_facts.run(OnnxRequest(str(path)), Progress())
    assert ([head.channels for head in facts.heads], facts.bands, facts.side_px, facts.gsd_m) == ([1, 3], 3, 64, None)
    words = ["models", "import", str(path), "--out", str(tmp_path / "m.safetensors"), "--json"]
    words += [
        "--gsd",
        "0.5",
        "--classes",
        "road,roof",
        "--output",
        "2",
        "--mean",
        "0.5",
        "--std",
        "0.25",
        "--bands",
        "r,g,b",
    ]
    result = CliRunner().invoke(commands, words, catch_exceptions=False)
    summary = json.loads(result.stdout)
    assert ([info["name"] for info in summary["classes"]], summary["bands"]) == (["road", "roof"], ["r", "g", "b"])


def test_damaged_files_are_refused_in_words(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    whole = model(metadata=SEGMENTOR).SerializeToString()
    for _ in range(60):
        content = bytearray(whole)
        for place in random.integers(len(whole), size=random.integers(1, 4)):
            content[place] = random.integers(256)
        (tmp_path / "m.onnx").write_bytes(content)
        with contextlib.suppress(OrthomaskError):
            assert imported(tmp_path / "m.onnx", existing=Existing.OVERWRITE).card.classes


def test_metadata_are_read_in_every_notation_and_nonsense_counts_as_absent() -> None:
    read = deepness.read
    assert read({"names": "{0: 'background', 1: 'roof'}"}).heads == (("background", "roof"),)
    assert read({"class_names": '[{"0": "a"}, {"1": "c", "0": "b"}]'}).heads == (("a",), ("b", "c"))
    for text in ("[1]", '{"1": "a"}', '{"a": "b"}', "((((", "9" * 400, "x" * 2_000_000, '{"0": "a", "2": "b"}'):
        nothing = read(dict.fromkeys(("class_names", "resolution", "seg_thresh", "standardization_mean"), text))
        assert (nothing.heads, nothing.gsd_m, nothing.threshold, nothing.mean) == ((), None, None, ()), text[:20]
    assert read({"standardization_mean": "[0.5]", "standardization_std": "[0]"}).std == ()
