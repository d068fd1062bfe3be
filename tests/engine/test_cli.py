"""The command line, and every kind of bad input through it: one sentence, a remedy, nothing lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner, Result

from conftest import UTM, scene
from orthomask import cli
from orthomask.cli import shared
from orthomask.engine.runs import runs
from orthomask.protocol import ErrorCode

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tiny: Path) -> Invoke:
    """Runs the command; `--model` is the tiny one unless given."""

    def run(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        if words[0] in ("predict", "check") and "--model" not in words:
            words += ["--model", str(tiny)]
        return CliRunner().invoke(cli.commands, words, catch_exceptions=False)

    return run


def refused(result: Result, status: int, *words: str) -> None:
    """The command ended with a sentence and a remedy, no traceback, and the right status."""
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == status, result.output
    assert len(lines) == 2, lines
    assert all(line.endswith(".") for line in lines)
    for word in words:
        assert word in result.stderr


def write_region(path: Path, geometry: shapely.Geometry, crs: str | None = UTM) -> Path:
    pyogrio.raw.write(
        path, np.array([shapely.to_wkb(geometry)], object), [], [], driver="GPKG", crs=crs, geometry_type="Unknown"
    )
    return path


def test_predict_writes_results_and_says_what_it_found(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    result = invoke("predict", make_raster(), "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "polygons" in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} >= set(runs.RESULTS)


def test_the_record_of_a_run_has_the_whole_path_of_its_image(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_raster((200, 200))
    monkeypatch.chdir(image.parent)
    invoke("predict", image.name, "--out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert record["request"]["image"]["path"] == record["source"]["path"] == str(image)


def test_json_is_for_machines(invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path) -> None:
    found = json.loads(invoke("predict", make_raster(), "--out", tmp_path / "out", "--json").stdout)
    assert Path(found["polygons_path"]).exists()
    failed = json.loads(invoke("predict", "nowhere.tif", "--out", tmp_path / "out2", "--json").stdout)
    assert failed["error"]["code"] == "image_unreadable"


def test_polygonize_at_another_threshold(invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path) -> None:
    invoke("predict", make_raster((200, 200)), "--out", tmp_path / "out")
    counts = []
    for threshold in (0.2, 0.999):
        target = tmp_path / f"{threshold}.gpkg"
        result = invoke(
            "polygonize", tmp_path / "out/probabilities.tif", "--threshold", threshold, "--out", target, "--json"
        )
        counts.append(json.loads(result.stdout)["polygon_area_m2"])
    assert counts[0] > counts[1]
    target = tmp_path / "near.gpkg"
    near = ("--edited", tmp_path / "out/polygons.gpkg", "--region", f"{tmp_path / '0.2.gpkg'}|polygons")
    result = invoke(
        "polygonize", tmp_path / "out/probabilities.tif", "--threshold", 0.2, "--out", target, *near, "--json"
    )
    assert 0 < json.loads(result.stdout)["polygon_area_m2"] <= counts[0]


def test_models_and_info_and_check_answer(invoke: Invoke, make_raster: Callable[..., Path], tiny: Path) -> None:
    assert "buildings" in invoke("models", "list").stdout
    assert json.loads(invoke("models", "show", tiny).stdout)["models"][0]["card"]["gsd_m"] == 0.3
    assert "Orthomask" in invoke("info").stdout
    checked = invoke("check", make_raster())
    assert checked.exit_code == 0
    assert "green" in checked.stdout


def test_region_from_a_file_in_another_crs(invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path) -> None:
    image = make_raster((200, 200))
    center = shapely.Point(500_030, 2_999_970).buffer(10)
    to_geographic = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    moved = shapely.transform(center, to_geographic.transform, interleaved=False)
    classes = []
    for name, geometry, crs in (("same", center, UTM), ("other", moved, "EPSG:4326")):
        region = write_region(tmp_path / f"{name}.gpkg", geometry, crs)
        assert invoke("predict", image, "--out", tmp_path / name, "--region", region).exit_code == 0
        with rasterio.open(tmp_path / name / "classes.tif") as dataset:
            classes.append(dataset.read(1))
    np.testing.assert_array_equal(*classes)
    assert np.count_nonzero(classes[0] != runs.NODATA) == pytest.approx(center.area / 0.3**2, rel=0.01)


IMAGES: dict[str, tuple[Callable[[Callable[..., Path], Path], Path], str]] = {
    "missing": (lambda _, folder: folder / "nowhere.tif", "does not exist"),
    "empty": (lambda _, folder: write(folder / "empty.tif", b""), "is empty"),
    "text": (lambda _, folder: write(folder / "notes.tif", b"these are notes"), "cannot be opened"),
    "folder": (lambda _, folder: folder, "no rasters"),
    "too few bands": (lambda make, _: make(scene(40, 40, bands=1)), "has 1"),
    "wrong type": (lambda make, _: make(scene(40, 40).astype(np.uint16)), "uint16"),
    "complex": (lambda make, _: make(scene(40, 40).astype(np.complex64)), "plain pixel values"),
    "no crs": (lambda make, _: make(crs=None), "coordinate reference system"),
    "local crs": (lambda make, _: make(crs='LOCAL_CS["site",UNIT["metre",1]]'), "not tied to the Earth"),
    "all nodata": (lambda make, _: make(np.zeros((3, 40, 40), np.uint8), nodata=0), "no data"),
    "gsd 20 times off": (lambda make, _: make(transform=Affine(6, 0, 500_000, 0, -6, 3_000_000)), "20 times"),
}


def test_16_bits_are_stretched_for_a_model_of_8(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    plain = make_raster(scene(150, 130), name="plain.tif")
    deep = make_raster(scene(150, 130).astype(np.uint16) * 16 + 100, name="deep.tif")
    checked = invoke("check", deep)
    assert checked.exit_code == 2
    assert "Stretch its values to 8 bits" in checked.stdout
    assert "--stretch LOW,HIGH" in checked.stdout
    assert invoke("check", deep, "--stretch", "100,4180").exit_code == 0
    assert invoke("predict", plain, "--out", tmp_path / "plain").exit_code == 0
    assert invoke("predict", deep, "--out", tmp_path / "deep", "--stretch", "100,4180").exit_code == 0
    found = [rasterio.open(tmp_path / name / "probabilities.tif").read() for name in ("plain", "deep")]
    np.testing.assert_array_equal(*found)
    assert json.loads((tmp_path / "deep/run.json").read_text())["request"]["image"]["stretch"] == [100, 4180]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", IMAGES)
def test_a_bad_image_is_refused(invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    make, words = IMAGES[kind]
    image = make(make_raster, tmp_path)
    before = image.read_bytes() if image.is_file() else b""
    out = tmp_path / "out"
    refused(invoke("predict", image, "--out", out), 2, words)
    assert not out.exists() or not any(out.iterdir())
    assert before == (image.read_bytes() if image.is_file() else b"")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_image_is_refused_not_half_classified(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path, share: float
) -> None:
    image = make_raster((2000, 1500), tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    content = image.read_bytes()
    image.write_bytes(content[: int(len(content) * share)])
    out = tmp_path / "out"
    refused(invoke("predict", image, "--out", out), 2, "image.tif")
    assert not any((out / name).exists() for name in runs.RESULTS)


def test_a_geographic_image_is_predicted_in_metres(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    step = 0.3 / 111_320
    image = make_raster((100, 100), crs="EPSG:4326", transform=Affine(step, 0, 85.5, 0, -step, 27.0))
    result = invoke("predict", image, "--out", tmp_path / "out")
    assert result.exit_code == 0
    meta, _, _, _ = pyogrio.raw.read(tmp_path / "out/polygons.gpkg", layer="polygons")
    assert meta["crs"] == "EPSG:4326", "polygons come in the source's CRS"
    again = tmp_path / "again.gpkg"
    invoke("polygonize", tmp_path / "out/probabilities.tif", "--threshold", 0.5, "--out", again)
    meta, _, found, _ = pyogrio.raw.read(again, layer="polygons")
    assert meta["crs"] == "EPSG:4326", "also when they are made again from the run's probabilities"
    assert sorted(found) == sorted(pyogrio.raw.read(tmp_path / "out/polygons.gpkg", layer="polygons")[2])
    _, _, _, columns = pyogrio.raw.read(again, layer="orthomask_runs", columns=["source"])
    assert columns[0].tolist() == [str(image)], "the provenance names the image, not the probabilities"


REGIONS: dict[str, tuple[shapely.Geometry, str | None, str]] = {
    "outside": (shapely.box(0, 0, 10, 10), UTM, "does not overlap"),
    "empty": (shapely.Polygon(), UTM, "empty"),
    "a line": (shapely.LineString([(500_000, 2_999_990), (500_010, 2_999_980)]), UTM, "empty"),
    "without crs": (shapely.box(500_000, 2_999_980, 500_010, 2_999_990), None, "coordinate reference system"),
    "no area": (shapely.Polygon([(500_000, 2_999_990), (500_010, 2_999_980), (500_000, 2_999_990)]), UTM, "empty"),
}


@pytest.mark.parametrize("kind", REGIONS)
def test_a_bad_region_is_refused(invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    geometry, crs, words = REGIONS[kind]
    region = write_region(tmp_path / "region.gpkg", geometry, crs)
    refused(invoke("predict", make_raster(), "--out", tmp_path / "out", "--region", region), 2, words)
    assert not (tmp_path / "out").exists()


def test_a_region_that_is_no_vector_file_is_refused(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    region = write(tmp_path / "region.gpkg", b"nonsense")
    refused(invoke("predict", make_raster(), "--out", tmp_path / "out", "--region", region), 2, "vector file")


def test_a_region_that_crosses_itself_is_mended(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    x, y = 500_003, 2_999_990
    bow = shapely.Polygon([(x, y), (x + 20, y + 5), (x + 20, y), (x, y + 5)])
    region = write_region(tmp_path / "region.gpkg", bow)
    result = invoke("predict", make_raster(), "--out", tmp_path / "out", "--region", region)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pickle.pt", b"\x80\x02}q\x00."),
        ("zip.pt", b"PK\x03\x04rest"),
        ("torn.safetensors", b"\x10"),
        ("x.onnx", b"\x08\x07"),
    ],
)
def test_a_bad_bundle_is_refused(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path, name: str, content: bytes
) -> None:
    model = write(tmp_path / name, content)
    refused(invoke("predict", make_raster(), "--out", tmp_path / "out", "--model", model), 2, name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [("--threshold", "1.5"), ("--min-area", "-1"), ("--device", "cuda:9")])
def test_bad_options_are_refused(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path, options: tuple[str, str]
) -> None:
    refused(invoke("predict", make_raster(), "--out", tmp_path / "out", *options), 2)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_refused(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    file = write(tmp_path / "file", b"mine")
    refused(invoke("predict", make_raster(), "--out", file / "out"), 3, "cannot be written")
    assert file.read_bytes() == b"mine"


def test_a_missing_output_folder_is_made(invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path) -> None:
    assert invoke("predict", make_raster(), "--out", tmp_path / "a/b/c").exit_code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte; needs root, as CI has it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", [500, 700, 1200])
def test_a_full_disk_is_said_and_leaves_no_result(
    invoke: Invoke, make_raster: Callable[..., Path], small_disk: Path, size: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, size, size)).astype(np.uint8)
    refused(invoke("predict", make_raster(noise), "--out", small_disk / "out"), 3, "no space left")
    assert not any((small_disk / "out" / name).exists() for name in runs.RESULTS)


def test_a_read_only_folder_is_refused(invoke: Invoke, make_raster: Callable[..., Path], small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused(invoke("predict", make_raster(), "--out", small_disk / "out"), 3, "cannot be written", "folder")


def test_a_geopackage_open_elsewhere_is_not_replaced(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    image, out = make_raster(), tmp_path / "out"
    assert invoke("predict", image, "--out", out).exit_code == 0
    before = (out / "polygons.gpkg").read_bytes()
    with sqlite3.connect(out / "polygons.gpkg") as database:
        database.execute("BEGIN IMMEDIATE")
        refused(invoke("predict", image, "--out", out, "--overwrite"), 3, "open in another program")
        database.rollback()
    assert (out / "polygons.gpkg").read_bytes() == before
    assert (out / "run.json").exists()


def test_results_that_are_there_are_kept(invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path) -> None:
    image, out = make_raster(), tmp_path / "out"
    assert invoke("predict", image, "--out", out).exit_code == 0
    refused(invoke("predict", image, "--out", out), 3, "already contains")
    assert invoke("predict", image, "--out", out, "--resume").exit_code == 0
    assert invoke("predict", image, "--out", out, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("change", "light"),
    [
        ({"pixels": scene(60, 60) // 12}, "values"),
        ({"transform": Affine(0.6, 0, 500_000, 0, -0.6, 3_000_000)}, "resolution"),
    ],
)
def test_check_warns_before_anything_runs(
    invoke: Invoke, make_raster: Callable[..., Path], change: dict[str, object], light: str
) -> None:
    lights = json.loads(invoke("check", make_raster(**change), "--json").stdout)["lights"]
    levels = {entry["name"]: entry["level"] for entry in lights}
    assert levels[light] == "amber"


@pytest.mark.parametrize("kind", ["too few bands", "wrong type", "gsd 20 times off"])
def test_check_is_red_where_predict_would_refuse(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    result = invoke("check", IMAGES[kind][0](make_raster, tmp_path), "--json")
    assert result.exit_code == 2
    assert "red" in [light["level"] for light in json.loads(result.stdout)["lights"]]


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_has_an_exit_status_that_is_no_success(code: ErrorCode) -> None:
    assert shared.exit_status(code) in (1, 2, 3, 4, 130)
    assert (shared.exit_status(code) == 130) == (code is ErrorCode.CANCELLED)


def test_a_value_can_be_no_data_at_every_command_that_reads_an_image(
    invoke: Invoke, make_raster: Callable[..., Path], tmp_path: Path
) -> None:
    pixels = np.clip(scene(100, 120), 1, 254)
    pixels[:, :, :20] = 255
    image = make_raster(pixels)
    words = invoke("check", image)
    assert "Add --nodata 255 to leave it out." in words.stdout
    assert "Add --nodata" not in invoke("check", image, "--nodata", 255).stdout
    for name, images in (("one", [image]), ("joined", [image, image])):
        result = invoke("predict", *images, "--nodata", 255, "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        with rasterio.open(tmp_path / name / "classes.tif") as dataset:
            np.testing.assert_array_equal(dataset.dataset_mask() == 0, (pixels == 255).all(axis=0))
    for command in ("train", "search", "evaluate", "chips", "areas"):
        assert "--nodata" in invoke(command, "--help").stdout
