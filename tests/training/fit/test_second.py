"""A network of two images, from training to a run: the class shows in the second image alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from trainings import HOUSES, ORIGIN, training, write_project, write_raster

from orthomask.cli import commands
from orthomask.engine import predict
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    ErrorCode,
    Existing,
    Image,
    LabelledData,
    Network,
    OrthomaskError,
    Pictures,
    PredictRequest,
    Region,
    ScaleRequest,
)
from orthomask.training.data.material import Reading
from orthomask.training.fit import recipe as recipes
from orthomask.training.fit import train

NETWORK = Network(widths=(16, 24), blocks=1, detail=16, second_bands=1, second_scale=2)
SPLITS = {"areas": ((0, 0, 100, 120), (100, 0, 160, 120)), "splits": ("train", "validation")}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """RGB that shows nothing, of 0.5 m, and one uint16 band of 1 m that shows the houses."""
    folder = tmp_path_factory.mktemp("project")
    made = write_project(folder, **SPLITS)
    rng = np.random.default_rng(3)
    first = write_raster(folder / "rgb.tif", rng.integers(40, 180, (3, 120, 160)).astype(np.uint8), 0.5)
    values = rng.integers(900, 1100, (1, 60, 80)).astype(np.uint16)
    for left, top, right, bottom in HOUSES:
        values[:, top // 2 : bottom // 2, left // 2 : right // 2] += 1500
    second = write_raster(folder / "height.tif", values, 1.0, descriptions=["height"])
    return replace(made, image=Image(str(first), second=Image(str(second))))


@pytest.fixture(scope="module")
def trained(project, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    request = training(LabelledData((project,)), out, network=NETWORK, epochs=4, steps=25, batch=4)
    return train.run(request, Progress())


def run(*arguments):
    return CliRunner().invoke(commands, list(map(str, arguments)))


def classes(folder: Path) -> np.ndarray:
    with rasterio.open(folder / "classes.tif") as dataset:
        return dataset.read(1)


def asked(project, trained, out, **changes) -> PredictRequest:
    return replace(PredictRequest(project.image, trained.model_path, str(out), existing=Existing.RESUME), **changes)


def test_what_only_the_second_image_shows_is_learnt_and_found(project, trained, tmp_path):
    assert trained.scores["iou"] > 0.9
    card = bundle.load(trained.model_path).card
    assert [band.name for band in card.bands] == ["red", "green", "blue", "second:height"]
    assert (card.dtype, card.architecture.second_bands) == ("uint16", 1)
    first, second = project.image.paths
    result = run("predict", first, "--second", second, "--model", trained.model_path, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    truth = np.zeros((120, 160), bool)
    for left, top, right, bottom in HOUSES:
        truth[top:bottom, left:right] = True
    found = classes(tmp_path / "run") == 1
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["source"]["second"] == second
    assert record["request"]["image"]["second"]["path"] == second


def test_a_missing_second_image_is_said_before_anything_runs(project, trained, tmp_path):
    result = run("check", project.image.path, "--model", trained.model_path)
    assert result.exit_code == 2
    assert "The model also reads a second image (height)" in result.output
    alone = run("predict", project.image.path, "--model", trained.model_path, "--out", tmp_path / "run")
    assert (alone.exit_code, (tmp_path / "run").exists()) == (2, False)


def test_a_pixel_does_not_depend_on_the_region_drawn_around_it(project, trained, tmp_path):
    found = []
    for name, (left, top, right, bottom) in {"a": (3, 5, 90, 90), "b": (40, 20, 157, 118)}.items():
        x, y = (ORIGIN[0] + np.array([left, right]) / 2, ORIGIN[1] - np.array([top, bottom]) / 2)
        ring = f"{x[0]} {y[0]}, {x[1]} {y[0]}, {x[1]} {y[1]}, {x[0]} {y[1]}, {x[0]} {y[0]}"
        region = Region(f"POLYGON (({ring}))", "EPSG:32632")
        request = asked(project, trained, tmp_path / name, region=region, window_px=64, overlap_px=16)
        predict.run(request, Progress())
        with rasterio.open(tmp_path / name / "probabilities.tif") as dataset:
            shift = ~dataset.transform @ (ORIGIN[0] + 20, ORIGIN[1] - 10)  # the corner that both have
            column, row = map(round, shift)
            found.append(dataset.read(1)[row : row + 70, column : column + 50])
    assert found[0].shape == (70, 50)
    assert len(np.unique(found[0])) > 10
    assert (found[0] == found[1]).all()


def test_a_run_is_not_resumed_with_another_second_image(project, trained, tmp_path):
    predict.run(asked(project, trained, tmp_path / "run"), Progress())
    with rasterio.open(project.image.paths[1]) as dataset:
        other = write_raster(tmp_path / "other.tif", dataset.read(), 1.0)
    changed = replace(project.image, second=Image(str(other)))
    with pytest.raises(OrthomaskError) as error:
        predict.run(asked(project, trained, tmp_path / "run", image=changed), Progress())
    assert error.value.code is ErrorCode.OUTPUT_EXISTS


def test_several_processes_read_both_images(project, trained, tmp_path):
    from orthomask.engine.scale import scale

    request = asked(project, trained, tmp_path / "many", window_px=64, overlap_px=16)
    scale.run(ScaleRequest(request, 2), Progress())
    predict.run(replace(request, output_dir=str(tmp_path / "one")), Progress())
    assert (classes(tmp_path / "many") == classes(tmp_path / "one")).all()


def test_a_model_of_two_images_learns_further_with_both(project, trained, tmp_path):
    request = training(LabelledData((project,)), tmp_path / "more", model=trained.model_path, epochs=1, steps=1)
    more = train.run(request, Progress())
    assert more.base_scores["iou"] == pytest.approx(trained.scores["iou"], abs=0.02)
    assert bundle.load(more.model_path).card.architecture == bundle.load(trained.model_path).card.architecture


@pytest.mark.parametrize("count", [2, 4])
def test_a_second_encoder_reads_exactly_the_bands_of_the_second_image(project, tmp_path, count):
    network = replace(NETWORK, second_bands=count)
    with pytest.raises(OrthomaskError, match=f"second encoder reads {count} bands; of 4, 1 are of the second image"):
        train.run(training(LabelledData((project,)), tmp_path / "out", network=network), Progress())


def test_chips_of_two_images_train_as_the_images_do(project, trained, tmp_path):
    first, second = project.image.paths
    labels = project.labels[0].path
    result = run(
        "chips", first, "--second", second, "--labels", f"{labels}|houses", "--class-field", "kind",
        "--areas", f"{labels}|areas", "--size", 32, "--out", tmp_path / "chips",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    scored = run("evaluate", "--chips", tmp_path / "chips", "--split", "validation", "--model", trained.model_path,
                 "--out", tmp_path / "report", "--json")  # fmt: skip
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["pixels"][1]["iou"] > 0.85


def test_a_recipe_names_both_images(tmp_path):
    recipe = tmp_path / "two.toml"
    recipe.write_text(
        "[network]\nsecond_bands = 8\nsecond_scale = 4\n"
        '[[data.projects]]\nimage = { path = "rgb.tif", second = { path = "ms.tif", nodata = 0 } }\n'
        'labels = [{ path = "houses.gpkg" }]\n'
        '[[data.pictures]]\nimages = "rgb"\nmasks = "masks"\ngsd_m = 0.3\nsecond = "ms"\n'
    )
    request = recipes.load(recipe, str(tmp_path / "out"))
    assert request.data.projects[0].image == Image("rgb.tif", second=Image("ms.tif", nodata=0))
    assert (request.data.pictures[0].second, request.network.second_scale) == ("ms", 4)
    changed = recipes.with_settings(request, {"network.second_scale": 2})
    assert changed.network == replace(request.network, second_scale=2)
    with pytest.raises(OrthomaskError, match="a scale of 3"):
        recipes.with_settings(request, {"network.second_scale": 3})


def test_second_pictures_follow_the_first(tmp_path):
    rng = np.random.default_rng(0)
    for folder, bands, size in (("rgb", 3, 32), ("ms", 2, 16), ("masks", 1, 32)):
        (tmp_path / folder).mkdir()
        values = rng.integers(0, 2 if folder == "masks" else 255, (bands, size, size)).astype(np.uint8)
        write_raster(tmp_path / folder / "town_1.tif", values, 0.5)
    data = LabelledData(pictures=(Pictures("rgb", "masks", 0.5, second="ms"),), root=str(tmp_path))
    reading = Reading(training(data, tmp_path / "out"), None)
    (group,) = reading.groups(Progress(), set(type(data.pictures[0].split)))
    pixels = group.pieces[0].scene.levels[0][:-1]
    assert reading.bands == ("red", "green", "blue", "second:1", "second:2")
    with rasterio.open(tmp_path / "rgb" / "town_1.tif") as first, rasterio.open(tmp_path / "ms" / "town_1.tif") as ms:
        assert (pixels[:3] == first.read()).all()
        coarse = ms.read().astype(float)
    assert pixels[3:].shape == (2, 32, 32)
    assert np.abs(pixels[3:].reshape(2, 16, 2, 16, 2).mean(axis=(2, 4)) - coarse).mean() < 40
    (tmp_path / "ms" / "town_1.tif").rename(tmp_path / "ms" / "town_2.tif")
    with pytest.raises(OrthomaskError, match=r"“town_1.tif” has no second picture in “ms”"):
        reading.groups(Progress(), set())
