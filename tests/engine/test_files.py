"""What counts as a change of an image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from conftest import UTM, scene
from orthomask.engine import mosaic, predict
from orthomask.engine.files import listed
from orthomask.engine.images.grid import Window
from orthomask.engine.images.raster import open_image, open_reader
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, Existing, Image, MosaicRequest, OrthomaskError, PredictRequest

SIDECAR = "<PAMDataset>{}</PAMDataset>"
STATISTICS = (
    '<PAMRasterBand band="1"><Histograms><HistItem><HistMin>0</HistMin></HistItem></Histograms><Metadata>'
    '<MDI key="STATISTICS_MAXIMUM">250</MDI><MDI key="STATISTICS_MEAN">12</MDI></Metadata></PAMRasterBand>'
)
MEANT = [
    "<SRS>EPSG:32646</SRS>",
    "<GeoTransform>1, 0.3, 0, 2, 0, -0.3</GeoTransform>",
    '<PAMRasterBand band="1"><NoDataValue>0</NoDataValue></PAMRasterBand>',
    '<PAMRasterBand band="1"><Description>nir</Description></PAMRasterBand>',
    '<PAMRasterBand band="1"><ColorInterp>Blue</ColorInterp></PAMRasterBand>',
]


def stamp(path: Path) -> str:
    with open_image(Image(str(path), crs=UTM)) as source:
        return source.stamp()


def test_statistics_beside_an_image_are_no_change(make_raster: Callable[..., Path]) -> None:
    path = make_raster((40, 50))
    before, beside = stamp(path), Path(f"{path}.aux.xml")
    beside.write_text(SIDECAR.format(STATISTICS))
    assert stamp(path) == before
    with rasterio.open(path) as dataset, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.statistics(2, approx=False)  # as QGIS has GDAL write them
    assert stamp(path) == before


@pytest.mark.parametrize("content", MEANT)
def test_what_else_is_said_beside_an_image_is_a_change(make_raster: Callable[..., Path], content: str) -> None:
    path = make_raster((40, 50))
    before, beside = stamp(path), Path(f"{path}.aux.xml")
    beside.write_text(SIDECAR.format(content))
    after = stamp(path)
    assert after != before
    beside.write_text(SIDECAR.format(content + STATISTICS.replace('band="1"', 'band="2"')))
    assert stamp(path) == after


def test_masks_and_world_files_count(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    path = make_raster((40, 50))
    before = stamp(path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.full((40, 50), 255, np.uint8))
    assert Path(f"{path}.msk").exists()
    assert stamp(path) != before
    picture = tmp_path / "picture.png"
    with rasterio.open(picture, "w", driver="PNG", count=3, height=4, width=5, dtype="uint8") as dataset:
        dataset.write(scene(4, 5))
    Path(f"{picture}.aux.xml").unlink(missing_ok=True)
    world = picture.with_suffix(".pgw")
    world.write_text("0.3\n0\n0\n-0.3\n500000\n3000000\n")
    before = stamp(picture)
    world.write_text("0.3\n0\n0\n-0.3\n500000\n3000099\n")
    assert stamp(picture) != before


def test_pieces_of_a_mosaic_count_with_what_lies_beside_them(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    for options in ({}, {"nodata": 0}):
        piece = make_raster((40, 50), name=f"piece{len(options)}.tif", **options)
        target = str(tmp_path / f"{len(options)}.vrt")
        image = Path(mosaic.run(MosaicRequest((str(piece),), target), Progress()).path)
        before = stamp(image)
        Path(f"{piece}.aux.xml").write_text(SIDECAR.format(STATISTICS))
        assert stamp(image) == before
        Path(f"{piece}.aux.xml").write_text(SIDECAR.format(MEANT[3]))
        assert stamp(image) != before
        os.utime(piece, ns=(1, 1))
        Path(f"{piece}.aux.xml").unlink()
        assert stamp(image) != before


@pytest.mark.parametrize("gsd_m", [0.3, 0.6, 1.5])
def test_overviews_are_never_read_for_results(make_raster: Callable[..., Path], gsd_m: float) -> None:
    path = make_raster((200, 300))
    before, plain = stamp(path), pixels(path, gsd_m)
    make_raster(np.zeros((3, 100, 150), np.uint8), name=f"{path.name}.ovr", crs=None)
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2]
        assert not dataset.read(out_shape=(3, 100, 150)).any()
    assert stamp(path) == before
    np.testing.assert_array_equal(pixels(path, gsd_m), plain)


def pixels(path: Path, gsd_m: float) -> np.ndarray:
    with open_image(Image(str(path))) as source:
        lattice = source.lattice(gsd_m, 512, 0)
        with open_reader(source, lattice, (1, 2, 3)) as reader:
            return reader.read(Window(0, 0, lattice.width_px, lattice.height_px))[0]


def test_a_finished_run_is_not_kept_for_an_image_that_has_changed(
    make_raster: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    path = make_raster((40, 50))
    request = PredictRequest(Image(str(path)), str(tiny), str(tmp_path / "run"), existing=Existing.RESUME)
    first = predict.run(request, Progress())
    Path(f"{path}.aux.xml").write_text(SIDECAR.format(STATISTICS))
    assert predict.run(request, Progress()) == first
    Path(f"{path}.aux.xml").write_text(SIDECAR.format(MEANT[2]))
    with pytest.raises(OrthomaskError) as caught:
        predict.run(request, Progress())
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
    anew = predict.run(replace(request, existing=Existing.OVERWRITE), Progress())
    assert anew.polygons_path == first.polygons_path


def test_folders_are_listed_without_what_systems_leave_there(tmp_path: Path) -> None:
    for name in ("b.tif", "a.png", "._a.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).touch()
    assert [path.name for path in listed(tmp_path)] == ["a.png", "b.tif"]
