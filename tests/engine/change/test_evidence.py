"""What probabilities, images and missing data do not bear out is unsure, with the reason in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import towns
from affine import Affine
from towns import table

from orthomask.engine import predict
from orthomask.engine.change import changes
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import ChangesRequest, ChangesResult, Image, Outline, PredictRequest, Survey

HOUSES = [(0, towns.square(20, 20)), (1, towns.square(60, 20)), (2, towns.square(20, 60))]
ADDED = (3, towns.square(60, 60))


def step(tmp_path: Path, before: Survey | str, after: Survey | str) -> ChangesResult:
    surveys = [each if isinstance(each, Survey) else Survey(each) for each in (before, after)]
    return changes.run(ChangesRequest(tuple(surveys), str(tmp_path / "out"), register=False), Progress())


def last(result: ChangesResult) -> tuple[str, str]:
    """Kind and reason of what is not unchanged."""
    rows = table(result)
    (row,) = np.flatnonzero(rows["kind"] != "unchanged")
    return rows["kind"][row], rows["reason"][row]


def test_a_new_house_is_new(tmp_path: Path) -> None:
    before = towns.write_run(tmp_path / "before", HOUSES, date="2012-05")
    after = towns.write_run(tmp_path / "after", [*HOUSES, ADDED], date="2020-05")
    result = step(tmp_path, before, after)
    assert last(result)[0] == "new"
    rows = table(result)
    assert set(rows["date_before"]) == {"2012-05"}
    new = rows["kind"] == "new"
    assert np.isnan(rows["confidence_before"][new]).all()
    assert rows["confidence_after"][new] == pytest.approx(0.95)
    assert rows["area_after_m2"][new] == pytest.approx(144, rel=0.01)


@pytest.mark.parametrize(("earlier", "kind"), [(0.2, "new"), (0.4, "unsure"), (0.49, "unsure")])
def test_the_models_own_doubt_counts(tmp_path: Path, earlier: float, kind: str) -> None:
    before = towns.write_run(tmp_path / "before", HOUSES, likely=[(ADDED[1], earlier)])
    after = towns.write_run(tmp_path / "after", [*HOUSES, ADDED])
    found, reason = last(step(tmp_path, before, after))
    assert found == kind
    assert ("close to the threshold" in reason) is (kind == "unsure")


def test_what_a_person_removed_is_gone_and_what_a_person_drew_is_there(tmp_path: Path) -> None:
    """The earlier probability says house, but somebody deleted it; the later one says nothing, but somebody drew it."""
    before = towns.write_run(tmp_path / "before", HOUSES, likely=[(ADDED[1], 0.9)])
    after = towns.write_run(tmp_path / "after", HOUSES)
    drawn = {"class": "building", "confidence": np.nan, "outline": "added"}
    columns = {"id": np.array([9]), **{name: np.array([value]) for name, value in drawn.items()}}
    columns = {name: values.astype(object) if values.dtype.kind == "U" else values for name, values in columns.items()}
    outlines = np.array([ADDED[1].wkb], object)
    write_layer(tmp_path / "after" / "polygons.gpkg", "polygons", columns, outlines, "Polygon", towns.CRS)
    assert last(step(tmp_path, before, after))[0] == "new"


def test_no_data_is_no_change(tmp_path: Path) -> None:
    hole = ADDED[1].buffer(-2)
    before = towns.write_run(tmp_path / "before", HOUSES, missing=hole)
    after = towns.write_run(tmp_path / "after", [*HOUSES, ADDED])
    result = step(tmp_path, before, after)
    assert {tally.kind.value for tally in result.tallies if tally.count} <= {"unchanged", "unsure"}


def picture(path: Path, dark: bool = False, seed: int = 1) -> Path:
    """An image of the town, with a shadow over the added house if asked."""
    random = np.random.default_rng(seed)
    pixels = random.integers(80, 200, (3, 240, 240)).astype(np.uint8)
    if dark:
        pixels[:, 96:120, 120:144] = random.integers(5, 25, (3, 24, 24))
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=240, width=240, dtype="uint8", crs=towns.CRS,
        transform=Affine(0.5, 0, towns.ORIGIN[0], 0, -0.5, towns.ORIGIN[1] + 120),
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
    return path


def test_the_same_picture_is_no_change_whatever_the_models_say(tmp_path: Path) -> None:
    image = picture(tmp_path / "image.tif")
    before = towns.write_run(tmp_path / "before", HOUSES, image=image)
    after = towns.write_run(tmp_path / "after", [*HOUSES, ADDED], image=image)
    assert last(step(tmp_path, before, after)) == (
        "unsure",
        "Perhaps new. The images of both dates look the same there.",
    )


def test_a_shadow_is_no_change(tmp_path: Path) -> None:
    images = [picture(tmp_path / "one.tif", dark=True), picture(tmp_path / "other.tif", seed=2)]
    surveys = [
        Survey(towns.write_run(tmp_path / name, houses), image=Image(str(image)))
        for name, houses, image in zip(("before", "after"), (HOUSES, [*HOUSES, ADDED]), images)
    ]
    assert last(step(tmp_path, *surveys)) == ("unsure", "Perhaps new. It lies in shadow at one of the dates.")


def test_a_house_at_the_edge_of_the_data_is_unsure(tmp_path: Path) -> None:
    before = towns.write_run(tmp_path / "before", HOUSES)
    after = towns.write_run(tmp_path / "after", [*HOUSES, (3, towns.square(0, 80))])
    assert last(step(tmp_path, before, after)) == ("unsure", "Perhaps new. Cut by the edge of the data.")


def test_fields_need_a_border_between_the_parts(tmp_path: Path) -> None:
    """A run that saw a border before, if weakly, does not say that a field was split."""
    field = towns.square(20, 20, 80)
    halves = [(0, towns.shapely.box(*field.bounds[:2], field.bounds[0] + 40, field.bounds[3]))]
    halves.append((1, field.difference(halves[0][1])))
    seam = field.buffer(-1).intersection(halves[0][1].boundary).buffer(2)
    for name, weak, kind in (("weak", 0.6, "unsure"), ("none", 0.95, "split")):
        folder = tmp_path / name
        before = towns.write_run(folder / "before", [(0, field)], outline=Outline.SHARED)
        after = towns.write_run(folder / "after", halves, outline=Outline.SHARED)
        burn(Path(before) / "probabilities.tif", seam, weak)
        burn(Path(after) / "probabilities.tif", seam, 0.4)
        assert set(table(step(folder, before, after))["kind"]) == {kind}


def burn(path: Path, shape: towns.shapely.Polygon, probability: float) -> None:
    """Write a probability into a raster."""
    with rasterio.open(path, "r+") as dataset:
        pixels = dataset.read(1)
        pixels[rasterio.features.rasterize([shape], pixels.shape, transform=dataset.transform) > 0] = probability * 254
        dataset.write(pixels, 1)


def test_a_cadastre_on_one_side_has_no_probabilities(tmp_path: Path) -> None:
    cadastre = towns.write(tmp_path / "cadastre.gpkg", [*HOUSES, (9, towns.square(100, 100))])
    after = towns.write_run(tmp_path / "after", [*HOUSES, ADDED])
    rows = table(step(tmp_path, cadastre, after))
    assert sorted(rows["kind"]) == ["new", "removed", "unchanged", "unchanged", "unchanged"]
    assert set(rows["class"]) == {"building", ""}


def test_a_run_against_its_copy_is_unchanged(tmp_path: Path) -> None:
    before = towns.write_run(tmp_path / "before", HOUSES)
    after = towns.write_run(tmp_path / "after", HOUSES)
    result = step(tmp_path, before, after)
    assert {tally.kind.value for tally in result.tallies if tally.count} == {"unchanged"}
    assert json.loads((tmp_path / "after" / "run.json").read_text())["run_id"] == "after"


def test_another_models_objects_in_the_same_picture_are_unsure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded model, and the same with 5% of noise in its weights, on two copies of one image."""
    noisy, embedded = tmp_path / "noisy.safetensors", bundle.load("buildings")
    torch.manual_seed(7)
    weights = {
        name: values + torch.randn_like(values) * values.std() * 0.05 if values.ndim > 1 else values
        for name, values in embedded.model().state_dict().items()
    }
    bundle.write(noisy, weights, embedded.card)
    for name, model in (("one", "buildings"), ("other", str(noisy))):
        with rasterio.open(bundle.MODELS_DIR.parent / "sample" / "banepa.tif") as sample:
            window = rasterio.windows.Window(200, 200, 640, 640)
            profile = {**sample.profile, "width": 640, "height": 640, "transform": sample.window_transform(window)}
            with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as crop:
                crop.write(sample.read(window=window))
        predict.run(PredictRequest(Image(str(tmp_path / f"{name}.tif")), model, str(tmp_path / name)), Progress())
    result = changes.run(
        ChangesRequest(tuple(Survey(str(tmp_path / name)) for name in ("one", "other")), str(tmp_path / "out")),
        Progress(),
    )
    counts = {tally.kind.value: tally.count for tally in result.tallies}
    reported = sum(counts.values()) - counts["unchanged"]
    with capsys.disabled():
        print(f"\nanother model on the same image: {counts['unsure']} of {reported} reported are unsure")
    assert reported > 5
    assert counts["unsure"] >= 0.9 * reported
    assert {tally.kind.value for tally in result.tallies if tally.low is not None} == {"new", "removed"}


def test_two_runs_of_one_file_show_no_change(tmp_path: Path) -> None:
    folders = [towns.write_run(tmp_path / name, houses) for name, houses in (("a", HOUSES), ("b", [*HOUSES, ADDED]))]
    for folder in folders:
        path = Path(folder) / "run.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        record["source"]["stamp"] = "0123456789ab"
        path.write_text(json.dumps(record), encoding="utf-8")
    assert last(step(tmp_path, *folders)) == ("unsure", "Perhaps new. Both dates were found in the same image.")
