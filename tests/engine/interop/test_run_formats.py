"""Objects of a run as COCO and fiboa, read by somebody else's reader or by the published schemas."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pyproj
import pytest
import rasterio
import shapely
import towns
import yaml
from click.testing import CliRunner, Result
from pycocotools.coco import COCO

from orthomask.cli import commands
from orthomask.engine.interop import export
from orthomask.engine.interop.objects import geojson
from orthomask.engine.progress import Progress
from orthomask.engine.shapes.layers import write_layer
from orthomask.protocol import Existing, ExportRunRequest, ExportRunResult, OrthomaskError, Outline, RunFormat

SCHEMAS = Path(__file__).parent / "schemas" / "fiboa"
HOLE = towns.square(60, 60, 30).difference(towns.square(70, 70, 8))
HOUSES = [(1, towns.square(10, 10)), (2, HOLE), (3, towns.square(110, 10, 20))]
"""A plain one, one with a hole, and one that reaches out of the image."""


def written(run: str, target: Path, kind: RunFormat, **options: Any) -> ExportRunResult:
    return export.run(ExportRunRequest(run, str(target), kind, **options), Progress())


def command(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["export", *map(str, arguments)])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The image of the towns: 240 × 240 pixels of 0.5 m."""
    path = tmp_path / "Größe <b>.tif"
    transform = rasterio.Affine(0.5, 0, towns.ORIGIN[0], 0, -0.5, towns.ORIGIN[1] + 120)
    profile = {"driver": "GTiff", "width": 240, "height": 240, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=towns.CRS, transform=transform, **profile) as dataset:
        dataset.write(np.full((3, 240, 240), 90, np.uint8))
    return path


def test_coco_masks_are_the_objects_as_pycocotools_reads_them(tmp_path: Path, image: Path) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES, image=image, date="2020-05-01")
    result = written(run, tmp_path / "out" / "houses.json", RunFormat.COCO)
    assert (result.objects, result.warnings) == (3, ())
    coco = COCO(result.path)
    assert coco.imgs[1]["file_name"] == image.name
    assert (coco.imgs[1]["crs"], coco.imgs[1]["transform"][0]) == (towns.CRS, 0.5)
    assert [(each["id"], each["name"]) for each in coco.loadCats(coco.getCatIds())] == [(1, "building")]
    annotations = coco.loadAnns(coco.getAnnIds(iscrowd=0))
    for annotation, (_, outline) in zip(annotations, HOUSES):
        here = outline.intersection(shapely.box(*towns.ORIGIN, towns.ORIGIN[0] + 120, towns.ORIGIN[1] + 120))
        assert coco.annToMask(annotation).sum() == annotation["area"] == here.area * 4
        left, top, width, height = annotation["bbox"]
        assert min(left, top) >= 0
        assert max(left + width, top + height) <= 240
        assert annotation["score"] == 0.95
    assert isinstance(annotations[1]["segmentation"], dict)
    with rasterio.open(image) as dataset:
        assert coco.annToMask(annotations[0])[dataset.index(towns.ORIGIN[0] + 11, towns.ORIGIN[1] + 11)]


def test_coco_without_the_image_counts_pixels_in_the_raster_of_classes(tmp_path: Path) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES)
    result = written(run, tmp_path / "houses.json", RunFormat.COCO)
    assert result.warnings == ("The image could not be opened: pixels are counted in classes.tif instead.",)
    content = json.loads(Path(result.path).read_text())
    assert content["images"][0]["file_name"] == "classes.tif"
    assert content["annotations"][0]["bbox"] == [20.0, 196.0, 24.0, 24.0]
    (tmp_path / "run" / "classes.tif").unlink()
    with pytest.raises(OrthomaskError, match=r"missing classes\.tif"):
        written(run, tmp_path / "houses.json", RunFormat.COCO, existing=Existing.OVERWRITE)
    assert len(json.loads(Path(result.path).read_text())["annotations"]) == 3


def test_an_image_that_has_changed_is_told(tmp_path: Path, image: Path) -> None:
    run = Path(towns.write_run(tmp_path / "run", HOUSES, image=image))
    record = json.loads((run / "run.json").read_text())
    record["source"]["stamp"] = "0" * 12
    (run / "run.json").write_text(json.dumps(record))
    result = written(str(run), tmp_path / "houses.json", RunFormat.COCO)
    assert result.warnings == (f"“{image.name}” has changed since the run began.",)


def test_the_polygons_are_those_as_they_are_now(tmp_path: Path) -> None:
    run = Path(towns.write_run(tmp_path / "run", HOUSES))
    columns = {"class": np.array(["building", None], object), "confidence": np.array([np.nan, 0.5])}
    outlines = shapely.to_wkb([towns.square(0, 0), towns.square(50, 50)])
    write_layer(run / "polygons-2.gpkg", "polygons", columns, outlines, "Polygon", towns.CRS)
    result = written(str(run), tmp_path / "now.json", RunFormat.COCO)
    (annotation,) = json.loads(Path(result.path).read_text())["annotations"]
    assert "score" not in annotation
    assert "1 object without a class was left out." in result.warnings


def test_fiboa_keeps_the_published_rules(tmp_path: Path) -> None:
    parted = shapely.MultiPolygon([towns.square(50, 0, 50), towns.square(0, 60, 10)])
    run = towns.write_run(tmp_path / "run", [], name="field", outline=Outline.SHARED, date="2021-07-03")
    columns = {"class": np.full(2, "field", object), "confidence": np.array([0.8, np.nan])}
    outlines = shapely.to_wkb([towns.square(0, 0, 50), parted])
    write_layer(tmp_path / "run" / "polygons-2.gpkg", "polygons", columns, outlines, "Unknown", towns.CRS)
    result = written(run, tmp_path / "fields.geojson", RunFormat.FIBOA)
    assert (result.objects, result.warnings) == (2, ())
    features = keeps_rules(Path(result.path))
    assert [feature["metrics:area"] for feature in features] == pytest.approx([2500, 2600], rel=0.01)
    assert [feature["metrics:perimeter"] for feature in features] == pytest.approx([200, 240], rel=0.01)
    assert {feature["determination:method"] for feature in features} == {"auto-imagery"}
    assert {feature["determination:datetime"] for feature in features} == {"2021-07-03T23:59:59Z"}
    shell = np.array(features[0]["geometry"]["coordinates"][0])
    assert shapely.is_ccw(shapely.linearrings(shell))
    assert np.allclose(shell.mean(axis=0), [87.0, 27.1], atol=0.2)


def test_geoparquet_holds_the_same_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES, name="field", outline=Outline.SHARED, date="2021-07-03")
    written(run, tmp_path / "fields.geojson", RunFormat.FIBOA)
    result = written(run, tmp_path / "fields.parquet", RunFormat.FIBOA)
    content = json.loads((tmp_path / "fields.geojson").read_text())
    table = pyarrow.parquet.read_table(result.path)
    geo, common = (json.loads(table.schema.metadata[key]) for key in (b"geo", b"collection"))
    assert geo["columns"][geo["primary_column"]]["encoding"] == "WKB"
    assert common == {
        "collection": content["features"][0]["properties"]["collection"],
        **{name: value for name, value in content.items() if name not in ("type", "features")},
    }
    for row, feature in zip(table.to_pylist(), content["features"], strict=True):
        assert row["id"] == feature["id"]
        assert shapely.equals_exact(shapely.from_wkb(row["geometry"]), shapely.geometry.shape(feature["geometry"]))
        for name in ("metrics:area", "metrics:perimeter", "confidence"):
            assert row[name] == pytest.approx(feature["properties"][name], abs=0.006)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OrthomaskError, match=r"without the Python package pyarrow\. Write GeoJSON"):
        written(run, tmp_path / "none.parquet", RunFormat.FIBOA)
    assert not list(tmp_path.glob("none*"))


def keeps_rules(path: Path) -> list[dict[str, Any]]:
    """The features of a file, its common properties in each, after a look at all rules of the schemas."""
    content = json.loads(path.read_text(encoding="utf-8"))
    schemas = [yaml.safe_load((SCHEMAS / name).read_text()) for name in ("vecorel-v0.1.0.yaml", "fiboa-v0.3.0.yaml")]
    own = content["schemas:custom"]["properties"]
    rules = {**schemas[0]["properties"], **schemas[1]["properties"], **own}
    kinds = json.loads((SCHEMAS / "vecorel-datatypes-v0.1.0.json").read_text())["$defs"]
    common = {name: value for name, value in content.items() if name in rules and name != "schemas"}
    alone = {name for schema in schemas for name, on in schema.get("collection", {}).items() if not on}
    assert not alone & set(common)
    features = []
    for feature in content["features"]:
        merged = {**common, **feature["properties"], "id": feature["id"], "geometry": feature["geometry"]}
        assert set(schemas[0]["required"]) <= {*merged, "schemas"}
        urls = content["schemas"][merged["collection"]]
        assert urls == ["https://vecorel.org/specification/v0.1.0/schema.yaml",
                        "https://fiboa.org/specification/v0.3.0/schema.yaml"]  # fmt: skip
        for name, value in merged.items():
            rule = rules[name]  # a property without a rule may not be there
            kind = {**kinds.get(rule["type"], {}), **{key: rule[key] for key in rule if key != "type"}}
            assert isinstance(value, {"string": str, "number": float}.get(kind.get("type", ""), object)), name
            assert value in kind.get("enum", [value])
            if "exclusiveMinimum" in kind:
                assert kind["exclusiveMinimum"] < value <= kind["maximum"]
            if name == "determination:datetime":
                assert value.endswith("Z")
        features.append(merged)
    assert len({feature["id"] for feature in features}) == len(features)
    return features


def test_what_is_no_field_is_refused_unless_it_is_named(tmp_path: Path) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES, name="plot")
    with pytest.raises(OrthomaskError, match=r"did not look for fields, but for: plot\. .* name the classes"):
        written(run, tmp_path / "fields.geojson", RunFormat.FIBOA)
    with pytest.raises(OrthomaskError, match=r"no class “barn”\. Choose one of: plot\."):
        written(run, tmp_path / "fields.geojson", RunFormat.FIBOA, classes=("barn",))
    assert not list(tmp_path.glob("*.geojson*"))
    result = written(run, tmp_path / "fields.geojson", RunFormat.FIBOA, classes=("plot",))
    assert result.objects == 3
    assert "does not say on which day" in result.warnings[0]
    keeps_rules(Path(result.path))


def test_too_large_fields_are_left_out_and_none_is_refused(tmp_path: Path) -> None:
    huge = shapely.box(*towns.ORIGIN, towns.ORIGIN[0] + 40_000, towns.ORIGIN[1] + 40_000)
    run = towns.write_run(tmp_path / "run", [(1, huge), *HOUSES])
    result = written(run, tmp_path / "fields.geojson", RunFormat.FIBOA, classes=("building",))
    assert result.objects == 3
    assert "1 field is larger than fiboa allows and was left out." in result.warnings
    empty = towns.write_run(tmp_path / "empty", [(1, huge)])
    with pytest.raises(OrthomaskError, match="no fields to write"):
        written(empty, tmp_path / "none.geojson", RunFormat.FIBOA, classes=("building",))
    assert not (tmp_path / "none.geojson").exists()


def test_longitudes_beyond_180_degrees_are_counted_from_greenwich() -> None:
    crs = pyproj.CRS("EPSG:4326")
    (text,) = geojson(np.array([shapely.box(181, -18, 181.001, -17.999)]), crs)
    assert shapely.from_geojson(text).bounds == (-179, -18, -178.999, -17.999)


@pytest.mark.parametrize("said", ["spring 2021", "2021", "2021-13-40", "2021-07"])
def test_a_date_that_is_no_day_is_left_out(tmp_path: Path, said: str) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES[:1], date=said)
    result = written(run, tmp_path / "fields.geojson", RunFormat.FIBOA, classes=("building",))
    assert "determination:datetime" not in keeps_rules(Path(result.path))[0]
    assert result.warnings


def test_the_command_and_its_errors(tmp_path: Path) -> None:
    run = towns.write_run(tmp_path / "run", HOUSES)
    target = tmp_path / "houses.json"
    done = command(run, "--coco", target)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-2:] == ["3 objects", str(target)]
    again = command(run, "--coco", target)
    assert again.exit_code == 3
    assert "already exists.\nChoose another name, or overwrite it." in again.output
    assert command(run, "--coco", target, "--overwrite").exit_code == 0
    record = (tmp_path / "run" / "run.json").read_bytes()
    own = command(run, "--coco", tmp_path / "run" / "run.json", "--overwrite")
    assert "“run.json” belongs to the run itself.\nChoose another name." in own.output
    assert (tmp_path / "run" / "run.json").read_bytes() == record
    assert "either --coco FILE or --fiboa FILE" in command(run).output
    assert "contains no finished run" in command(tmp_path, "--coco", tmp_path / "other.json").output
    assert "ends in .geojson" in command(run, "--fiboa", tmp_path / "fields.gpkg").output
