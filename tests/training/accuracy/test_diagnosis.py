"""What a model depends on: a toy that looks at one band, changes checked against numpy and scipy, words, bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import evaluation_data as data
import numpy as np
import pytest
import scipy.ndimage
import torch
from click.testing import CliRunner
from images import write_tile

from orthomask.cli import commands
from orthomask.engine.compute import devices
from orthomask.engine.models import bundle
from orthomask.engine.models.bundle import BandStatistics
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    Cancelled,
    Curve,
    Dependence,
    Diagnosis,
    EvaluateRequest,
    EvaluateResult,
    LabelledData,
    LabelledImage,
    Pictures,
    Probe,
    Split,
    from_json,
    to_json,
)
from orthomask.training.accuracy import alterations, diagnosis, diagnosis_words, evaluate, report
from orthomask.training.accuracy.comparison import open_ground

BOXES = [(10, 10, 30, 30), (60, 40, 100, 80)]
BANDS = [
    BandStatistics("red", 100, 20, 60, 140),
    BandStatistics("green", 50, 10, 30, 80),
    BandStatistics("nir", 10, 40, 0, 90),
]


FEW = ("+30%", "-30%", "without red", "2 px")


@pytest.fixture(scope="module", autouse=True)
def _bright() -> Iterator[None]:
    """A model that finds what is bright in the first band, whatever lies around; no plots, which take longest."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "prepare", data.predictor)
        patch.setattr(report, "_plot", lambda _: "data:,")
        yield
    torch.set_num_threads(count)


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model, of which few changes are tried."""
    few = [change for change in alterations.changes(card_bands(tmp_path)) if change.label in FEW]
    monkeypatch.setattr(diagnosis, "changes", lambda _: few)
    return tmp_path / data.MODEL


def card_bands(folder: Path) -> tuple[BandStatistics, ...]:
    return bundle.load(str(data.write_model(folder))).card.bands


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> EvaluateResult:
    """With all changes."""
    folder = tmp_path_factory.mktemp("all")
    return run(data.write_model(folder), folder, data.labelled(folder, BOXES, BOXES))


def request(model: Path, folder: Path, *projects: LabelledImage, **more: object) -> EvaluateRequest:
    given = {
        "data": LabelledData(projects) if projects else None,
        "output_dir": str(folder / "report"),
        "device": "cpu",
        "diagnosis": True,
        "threshold": 0.6,
    }
    return EvaluateRequest(str(model), **{**given, **more})  # type: ignore[arg-type]


def run(*arguments: object, **more: object) -> EvaluateResult:
    return evaluate.run(request(*arguments, **more), Progress())  # type: ignore[arg-type]


def found(result: EvaluateResult) -> Diagnosis:
    assert result.diagnosis is not None
    return result.diagnosis


def ious(result: EvaluateResult, dependence: Dependence) -> dict[str, float]:
    (curve,) = (curve for curve in found(result).curves if curve.dependence is dependence)
    return {probe.label: probe.iou for probe in curve.probes}


def test_a_model_of_one_band_loses_exactly_with_that_band(result: EvaluateResult) -> None:
    assert (found(result).iou, found(result).object_f1) == (1, 1)
    assert ious(result, Dependence.BANDS) == {"without red": 0, "without green": 1, "without blue": 1}
    assert ious(result, Dependence.ORDER) == {"red ↔ green": 0, "red ↔ blue": 0, "green ↔ blue": 1}
    assert ious(result, Dependence.CONTRAST) == {"0.5 ×": 1, "0.7 ×": 1, "1.4 ×": 1, "2 ×": 1}
    blur = list(ious(result, Dependence.BLUR).values())
    assert blur == sorted(blur, reverse=True)
    assert blur[0] > 0.98 > blur[-1]
    assert min(ious(result, Dependence.RESOLUTION).values()) > 0.9
    words = {curve.dependence: curve.sentence for curve in found(result).curves}
    assert words[Dependence.BANDS].startswith(
        "Each band replaced by its mean: it loses most without red (1.00 IoU), least"
    )
    assert "It depends most on" in found(result).sentence


def test_brightness_matters_where_the_threshold_is_passed(bright: Path, tmp_path: Path, result: EvaluateResult) -> None:
    """Dark land has 30 of 255, and everything from about 131 on is found: 30% more is not enough."""
    assert set(ious(result, Dependence.BRIGHTNESS).values()) == {1}
    folder = tmp_path / "hazy"
    folder.mkdir()
    image = data.labelled(folder, BOXES, BOXES)
    data.write_image(folder / "land.tif", np.maximum(data.paint((120, 160), *BOXES), 100))
    again = run(bright, folder, image)
    assert ious(again, Dependence.BRIGHTNESS)["+30%"] < 0.2
    assert ious(again, Dependence.BRIGHTNESS)["-30%"] == 1


def test_the_diagnosis_is_in_the_record_and_in_the_report(result: EvaluateResult) -> None:
    record = json.loads(Path(result.json_path).read_text(encoding="utf-8"))
    assert from_json(Diagnosis, record["diagnosis"]) == found(result)
    assert from_json(EvaluateResult, to_json(result)) == result
    text = Path(result.report_path).read_text(encoding="utf-8")
    assert "What it depends on" in text
    assert "0.02 million labelled pixels in 1\nimage" in text
    assert all(curve.sentence in text for curve in found(result).curves)


def test_without_being_asked_there_is_none(bright: Path, tmp_path: Path) -> None:
    result = run(bright, tmp_path, data.labelled(tmp_path, BOXES, BOXES), diagnosis=False)
    assert result.diagnosis is None
    assert "What it depends on" not in Path(result.report_path).read_text(encoding="utf-8")


def test_a_sample_is_bounded_and_begins_where_something_is(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "PATCH_PX", 40)
    monkeypatch.setattr(diagnosis, "SAMPLE_PX", 1600)
    result = run(bright, tmp_path, data.labelled(tmp_path, BOXES, [BOXES[0]]))
    assert found(result).pixels == 1600
    assert found(result).iou == 1  # the patch with the labelled square


def test_every_offered_image_is_as_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "MOST_IMAGES", 2)
    counts = np.zeros(6, int)
    for seed in range(600):
        monkeypatch.setattr(diagnosis, "SEED", seed)
        sample = diagnosis.Sample()
        for number in range(6):
            sample.offer(number)  # type: ignore[arg-type]
        counts[sample.images] += 1  # type: ignore[index]
    assert counts.sum() == 1200
    assert counts.min() > 150


def test_patches_cover_the_same_ground_at_any_resolution(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, BOXES, BOXES)
    asked = request(bright, tmp_path, image)
    with open_ground(image, asked) as usual, open_ground(image, asked, scale=2) as coarse:
        assert coarse.lattice.width_px == usual.lattice.width_px / 2
        place = diagnosis.Place(open_ground, usual.lattice, usual.areas)  # type: ignore[arg-type]
        (area,) = diagnosis._moved(place, coarse.lattice)
        assert area.polygon.bounds == pytest.approx(tuple(each / 2 for each in usual.areas[0].polygon.bounds), rel=1e-3)
        assert diagnosis._moved(place, usual.lattice) == usual.areas


def test_pictures_without_georeference_are_diagnosed_too(bright: Path, tmp_path: Path) -> None:
    mask = np.zeros((120, 160), np.uint8)
    for left, top, right, bottom in BOXES:
        mask[top:bottom, left:right] = 1
    for number in range(3):
        write_tile(tmp_path, f"{number}", data.paint((120, 160), *BOXES), mask)
    pictures = Pictures(str(tmp_path / "images"), str(tmp_path / "masks"), data.GSD, split=Split.TEST)
    result = run(bright, tmp_path, data=LabelledData(pictures=(pictures,)))
    assert found(result).images == 3
    assert ious(result, Dependence.BANDS)["without red"] == 0


def test_a_model_that_finds_nothing_is_not_diagnosed(bright: Path, tmp_path: Path) -> None:
    result = run(bright, tmp_path, data.labelled(tmp_path, [], BOXES))
    assert "finds next to nothing" in found(result).sentence
    assert {curve.sentence for curve in found(result).curves} == {""}
    assert "finds next to nothing" in Path(result.report_path).read_text(encoding="utf-8")


def test_a_cancelled_diagnosis_leaves_nothing(bright: Path, tmp_path: Path) -> None:
    class Cancelling(Progress):
        def show(self, fraction: float, message: str) -> None:
            self.diagnosing = message.startswith("Diagnosis: 3")

        def check_cancelled(self) -> None:
            if getattr(self, "diagnosing", False):
                raise Cancelled

    image = data.labelled(tmp_path, BOXES, BOXES)
    with pytest.raises(Cancelled):
        evaluate.run(request(bright, tmp_path, image), Cancelling())
    assert not (tmp_path / "report").exists()


def test_from_a_terminal(bright: Path, tmp_path: Path) -> None:
    image = data.labelled(tmp_path, BOXES, BOXES)
    arguments = [image.image.path, "--model", bright, "--labels", image.labels[0].path, "--out", tmp_path / "report"]
    result = CliRunner().invoke(commands, ["evaluate", *map(str, arguments), "--diagnosis"])
    assert "Its only band replaced by its mean costs 0.90 IoU." in result.output


pixels = torch.tensor(np.random.default_rng(1).normal(size=(1, 3, 24, 20)), dtype=torch.float32)


def raw(image: torch.Tensor) -> np.ndarray:
    values = [image[0, number].numpy() * band.std + band.mean for number, band in enumerate(BANDS)]
    return np.stack(values)


def change(label: str) -> torch.Tensor:
    (alter,) = (each.alter for each in alterations.changes(BANDS) if each.label == label and each.alter)
    return alter(pixels)


def test_values_change_as_they_would_in_the_image() -> None:
    ranges = np.array([80, 50, 90])[:, None, None]
    np.testing.assert_allclose(raw(change("+30%")), raw(pixels) + 0.3 * ranges, rtol=1e-4)
    np.testing.assert_allclose(raw(change("red ↔ nir")), raw(pixels)[[2, 1, 0]], rtol=1e-4, atol=1e-3)
    means = np.array([band.mean for band in BANDS])[:, None, None]
    np.testing.assert_allclose(raw(change("2 ×")) - means, 2 * (raw(pixels) - means), rtol=1e-3, atol=1e-3)
    assert (raw(change("without green"))[1] == 50).all()
    np.testing.assert_allclose(raw(change("without green"))[[0, 2]], raw(pixels)[[0, 2]], rtol=1e-5)


def test_a_blur_is_scipys_within_the_image() -> None:
    expected = scipy.ndimage.gaussian_filter(pixels[0].numpy(), (0, 1, 1), truncate=3, mode="constant")
    whole = scipy.ndimage.gaussian_filter(np.ones((24, 20)), 1, truncate=3, mode="constant")
    np.testing.assert_allclose(alterations.blurred(pixels, 1)[0], expected / whole, atol=1e-5)


def test_ground_without_data_stays_so_and_is_not_blurred_into_its_neighbours() -> None:
    image = pixels.clone()
    image[:, :, :10] = 0
    seen: list[torch.Tensor] = []

    class Network(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(image)
            return image

    for each in alterations.changes(BANDS):
        if each.alter:
            alterations.Altered(Network(), each.alter)(image)
            assert (seen[-1][:, :, :10] == 0).all()
    constant = torch.where(image == 0, 0.0, 3.0)
    assert alterations.blurred(constant, 2.0)[:, :, 10:].numpy() == pytest.approx(3)


def curve(dependence: Dependence, *probes: tuple[str, float, float]) -> Curve:
    made = tuple(Probe(label, value, iou, 0.5) for label, value, iou in probes)
    return Curve(dependence, made, diagnosis_words.sentence(dependence, made, 0.8, 0.3))


@pytest.mark.parametrize(
    ("dependence", "probes", "sentence"),
    [
        (
            Dependence.RESOLUTION, [("0.5 ×", 0.5, 0.3), ("0.7 ×", 0.7, 0.77), ("1.2 ×", 1.2, 0.79), ("2 ×", 2, 0.6)],
            "Pixels of 0.21 to 0.36 m cost less than 0.05 IoU; of 0.15 m, they cost 0.50.",
        ),
        (
            Dependence.BRIGHTNESS, [("-30%", -0.3, 0.4), ("-15%", -0.15, 0.7), ("+15%", 0.15, 0.8)],
            "Brightness from +0% to +15% costs less than 0.05 IoU; -30% costs 0.40.",
        ),
        (
            Dependence.CONTRAST, [("0.5 ×", 0.5, 0.79), ("2 ×", 2.0, 0.81)],
            "It hardly depends on the contrast: at most 0.01 IoU is lost from 0.5 × to 2 ×.",
        ),
        (
            Dependence.BLUR, [("1 px", 1, 0.78), ("4 px", 4, 0.2)],
            "A blur of up to 1 px costs less than 0.05 IoU; one of 4 px costs 0.60.",
        ),
        (Dependence.BANDS, [("without grey", 0, 0.1)], "Its only band replaced by its mean costs 0.70 IoU."),
        (Dependence.ORDER, [("a ↔ b", 0, 0.9)], "Exchanging two bands costs at most 0.00 IoU (a ↔ b)."),
    ],
)  # fmt: skip
def test_a_curve_is_told_in_words(
    dependence: Dependence, probes: list[tuple[str, float, float]], sentence: str
) -> None:
    assert curve(dependence, *probes).sentence == sentence


def test_what_matters_most_is_told() -> None:
    curves = [
        curve(Dependence.BLUR, ("1 px", 1, 0.6)),
        curve(Dependence.BANDS, ("without red", 0, 0.3), ("without nir", 1, 0.8)),
    ]
    assert diagnosis_words.depends_most(curves, 0.8) == (
        "It depends most on single bands: up to 0.50 of its IoU of 0.80 is lost."
    )
    harmless = [curve(Dependence.BLUR, ("1 px", 1, 0.79))]
    assert diagnosis_words.depends_most(harmless, 0.8) == "Nothing that was tried costs the model more than 0.01 IoU."
