"""Pictures of map services, of the map and of other layers that are no files, from real servers on this machine."""

import resource
import threading
from contextlib import contextmanager

import pytest
from map_servers import SAMPLE, around_middle, serving_folder
from osgeo import gdal
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsTask,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsVectorTileLayer,
)
from qgis.PyQt.QtCore import QThreadPool
from scene import Watcher, wait_until
from tile_server import COLUMN, ROW, TILE_M, Tiles, color, middle, place, serving_tiles

from orthomask.protocol import Cancelled, ErrorCode, OrthomaskError
from orthomask.ui.layers import block_reader
from orthomask.ui.layers.ground import metres_per_unit
from orthomask.ui.layers.images import frozen, is_rendered, pixels_of, planned
from orthomask.ui.layers.pixels import MapPixels
from orthomask.ui.layers.rendering import Picture

TEXTURE = 0.14
"""Metres per pixel: between levels 20 and 19 at that latitude, so that 20 is read."""


@pytest.fixture
def tiles(unseen):
    with serving_tiles() as layer:
        yield layer


@pytest.fixture
def somewhere():
    return around_middle(70)


def in_thread(function):
    """What a task of QGIS does, with the main thread free."""
    outcome = []

    class Task(QgsTask):
        def run(self):
            try:
                outcome.append(function())
            except Exception as error:  # noqa: BLE001 (PyQt would end the process)
                outcome.append(error)
            return True

    task = Task()
    QgsApplication.taskManager().addTask(task)
    wait_until(lambda: outcome, 30)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def render(source, gsd_m, *boxes, folder, margin_px=0, watcher=None):
    """The picture of some rectangles, as a dataset of GDAL, with what is recorded of it."""
    picture = frozen(planned(source, gsd_m, [QgsGeometry.fromRect(box) for box in boxes], margin_px))
    image = in_thread(lambda: picture.write(folder, watcher or Watcher()))
    return gdal.Open(image.path), image.rendered


def pixel(dataset, x, y):
    """The bands of the pixel at a place."""
    left, step, _, top, _, down = dataset.GetGeoTransform()
    column, row = int((x - left) / step), int((y - top) / down)
    return [dataset.GetRasterBand(band + 1).ReadRaster(column, row, 1, 1)[0] for band in range(dataset.RasterCount)]


@pytest.fixture
def full_disk():
    """No file may grow beyond some bytes, as on a full disk; GDAL raises exceptions, or only notes its errors."""

    @contextmanager
    def limited(room, with_exceptions):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if not with_exceptions:
            gdal.DontUseExceptions()
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            gdal.UseExceptions()

    return limited


def test_the_picture_lies_where_the_tiles_do(tiles, tmp_path):
    state = tiles.source(), tiles.crs(), tiles.extent(), tiles.renderer().type()
    dataset, rendered = render(tiles, 0.5, place(COLUMN, ROW, 3 * TILE_M), folder=tmp_path)
    assert (tiles.source(), tiles.crs(), tiles.extent(), tiles.renderer().type()) == state
    assert dataset.GetGeoTransform()[1] == pytest.approx(TILE_M / 256)
    for column in (COLUMN - 1, COLUMN, COLUMN + 1):
        for row in (ROW - 1, ROW, ROW + 1):
            x, y = middle(column, row)
            red, _, blue, alpha = pixel(dataset, x, y)
            assert (red, blue, alpha) == (color(column, row)[0], color(column, row)[2], 255)
    assert dataset.GetRasterBand(4).GetColorInterpretation() == gdal.GCI_AlphaBand
    assert rendered.gsd_m == pytest.approx(TILE_M / 256 * 0.878, rel=0.02)  # on the ground at 28.4° north
    assert (rendered.name, rendered.tiles, rendered.missing) == ("tiles", 9, 0)


def shift(one, other):
    """Where the first pixel of a picture lies in another one of the same level: whole numbers of columns and rows."""
    (x, step, _, y, _, _), (left, _, _, top, _, _) = one.GetGeoTransform(), other.GetGeoTransform()
    columns, rows = (x - left) / step, (top - y) / step
    assert columns == pytest.approx(round(columns), abs=0.01)
    assert rows == pytest.approx(round(rows), abs=0.01)
    return round(columns), round(rows)


@pytest.mark.parametrize("kind", ["tiles", "wmts", "cached", "wcs"])
def test_every_pixel_is_the_services_own(server, somewhere, tmp_path, kind):
    """The sample lies on the grid of the tiles: here the picture is the file, pixel for pixel.

    QGIS from 3.42 on draws tiles a pixel larger, against gaps between them, so pixels may be their neighbours.
    """
    layer = server.arcgis(kind) if kind == "cached" else getattr(server, kind)()
    state = layer.source(), layer.crs(), layer.extent(), layer.renderer().type()
    dataset, rendered = render(layer, TEXTURE, somewhere, folder=tmp_path)
    assert (layer.source(), layer.crs(), layer.extent(), layer.renderer().type()) == state
    file = gdal.Open(str(SAMPLE))
    (left, top), width, height = shift(dataset, file), dataset.RasterXSize, dataset.RasterYSize
    reach = 0 if Qgis.QGIS_VERSION_INT < 34200 else 1
    shifts = [(dx, dy) for dx in range(-reach, reach + 1) for dy in range(-reach, reach + 1)]
    for band in (1, 2, 3):
        ours = bytes(dataset.GetRasterBand(band).ReadRaster(8, 8, width - 16, height - 16))
        near = [
            bytes(file.GetRasterBand(band).ReadRaster(left + 8 + dx, top + 8 + dy, width - 16, height - 16))
            for dx, dy in shifts
        ]
        assert all(pixel in pixels for pixel, *pixels in zip(ours, *near))
    assert rendered.missing == 0


@pytest.mark.parametrize(("gsd_m", "zoom"), [(0.13, 20), (0.25, 19), (0.3, 19), (0.5, 18), (0.01, 20)])
def test_tiles_of_the_level_that_suits_are_asked_for(server, somewhere, tmp_path, gsd_m, zoom):
    dataset, rendered = render(server.tiles(), gsd_m, somewhere, folder=tmp_path)
    assert {int(path.split("/")[1]) for path in server.asked} == {zoom}
    assert len(server.asked) == len(set(server.asked)) == rendered.tiles
    level_m = dataset.GetGeoTransform()[1] * metres_per_unit(QgsCoordinateReferenceSystem("EPSG:3857"), somewhere)
    assert rendered.gsd_m == pytest.approx(level_m, rel=1e-3)
    assert gsd_m == 0.01 or rendered.gsd_m < gsd_m * 1.1


def test_only_tiles_that_are_needed_are_rendered(tiles, tmp_path):
    dataset, rendered = render(tiles, 0.5, place(COLUMN, ROW), place(COLUMN + 40, ROW), folder=tmp_path)
    assert dataset.RasterXSize > 40 * 256
    assert rendered.tiles == len(Tiles.asked) == 2
    assert pixel(dataset, *middle(COLUMN + 40, ROW))[3] == 255
    assert pixel(dataset, *middle(COLUMN + 20, ROW))[3] == 0


def test_the_grid_is_the_same_whatever_the_region(server, somewhere, tmp_path):
    moved = somewhere.buffered(-13.7)
    pictures = [Picture.of(pixels_of(server.wms()), 0.3, [QgsGeometry.fromRect(box)]) for box in (somewhere, moved)]
    one, two = (picture.grid for picture in pictures)
    steps = (one.left - two.left) / one.step[0], (one.top - two.top) / one.step[1]
    assert one.step == pytest.approx(two.step, rel=1e-4)  # where the scale is measured differs a little
    assert all(step % 256 == pytest.approx(0, abs=1) or step % 256 == pytest.approx(256, abs=1) for step in steps)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32645", "EPSG:4326"])
def test_a_wms_shows_the_same_in_any_of_its_coordinate_systems(server, somewhere, tmp_path, crs):
    layer = server.wms(crs)
    to_layer = QgsCoordinateTransform(QgsCoordinateReferenceSystem("EPSG:3857"), layer.crs(), QgsProject.instance())
    dataset, rendered = render(layer, 0.3, to_layer.transformBoundingBox(somewhere), folder=tmp_path)
    assert rendered.gsd_m == pytest.approx(0.3, rel=1e-3)
    expected = gdal.Open(str(SAMPLE))
    for dx, dy in ((0, 0), (-20, 20), (30, -30)):
        x, y = somewhere.center().x() + dx, somewhere.center().y() + dy
        there = to_layer.transform(x, y)
        assert pixel(dataset, there.x(), there.y())[:3] == pytest.approx(pixel(expected, x, y), abs=60)
        assert pixel(dataset, there.x(), there.y())[3] == 255


@pytest.mark.parametrize("fault", [404, 503, "html", "tiny"])
def test_tiles_that_do_not_come_or_lie_are_unknown_and_counted(server, somewhere, tmp_path, fault):
    gone = set()

    def broken(path):
        _, _, x, y = path.split(".")[0].split("/")
        gone.update({path} if (int(x) + 2 * int(y)) % 4 == 0 else ())
        return fault if path in gone else None

    server.fault = broken
    dataset, rendered = render(server.tiles(), TEXTURE, somewhere, folder=tmp_path)
    assert rendered.missing == len(gone) > 0
    alpha = bytes(dataset.GetRasterBand(4).ReadRaster())
    assert alpha.count(0) == len(gone) * 256 * 256
    if isinstance(fault, int):
        assert min(server.asked.count(path) for path in gone) >= 3  # newer versions of QGIS try again themselves


def test_a_tile_that_fails_at_first_is_asked_for_again(server, somewhere, tmp_path):
    server.fault = lambda path: 503 if server.asked.count(path) == 1 else None
    _, rendered = render(server.tiles(), TEXTURE, somewhere, folder=tmp_path)
    assert rendered.missing == 0


@pytest.mark.parametrize("fault", [404, "html", "tiny"])
def test_a_service_that_shows_nothing_is_an_error(server, somewhere, tmp_path, fault):
    server.fault = lambda path: fault
    for layer in (server.tiles(), server.wms()):
        with pytest.raises(OrthomaskError, match="did not deliver") as caught:
            render(layer, TEXTURE, somewhere, folder=tmp_path)
        assert caught.value.code is ErrorCode.IMAGE_EMPTY
    assert not list(tmp_path.iterdir())


def test_a_service_that_fails_everywhere_is_not_asked_for_everything(server, somewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(block_reader, "HOPELESS", 32)
    server.fault = lambda path: 404
    with pytest.raises(OrthomaskError):
        render(server.tiles(), TEXTURE, somewhere.buffered(1000), folder=tmp_path)
    assert len(set(server.asked)) < 100


def test_cancel_does_not_wait_for_a_silent_server(server, somewhere, tmp_path):
    server.fault = lambda path: "silent"
    watcher = Watcher()
    threading.Timer(0.3, watcher.cancel).start()
    with pytest.raises(Cancelled):
        render(server.tiles(), TEXTURE, somewhere, folder=tmp_path, watcher=watcher)
    assert server.asked
    server.speaks.set()
    assert not list(tmp_path.iterdir())


def test_a_picture_in_no_folder_is_an_error(server, somewhere, tmp_path):
    with pytest.raises(OrthomaskError, match="cannot be written") as caught:
        render(server.tiles(), 0.3, somewhere, folder=tmp_path / "missing")
    assert caught.value.code is ErrorCode.OUTPUT_UNWRITABLE


@pytest.mark.parametrize("with_exceptions", [True, False])
@pytest.mark.parametrize("room", [1_000, 20_000])
def test_a_full_disk_is_an_error_however_gdal_tells(server, somewhere, tmp_path, full_disk, room, with_exceptions):
    with full_disk(room, with_exceptions), pytest.raises(OrthomaskError, match="cannot be written") as caught:
        render(server.tiles(), TEXTURE, somewhere, folder=tmp_path)
    assert caught.value.details
    assert not list(tmp_path.iterdir())


def test_without_places_or_resolution_or_too_large_is_refused(tiles):
    with pytest.raises(OrthomaskError, match="Choose a region"):
        planned(tiles, 0.5, [], 0)
    with pytest.raises(OrthomaskError, match="resolution"):
        planned(tiles, 0.0, [QgsGeometry.fromRect(place(COLUMN, ROW))], 0)
    for box in (place(COLUMN, ROW, 50_000), place(COLUMN, ROW, 20_000_000)):
        with pytest.raises(OrthomaskError, match="too large"):
            planned(tiles, 0.1, [QgsGeometry.fromRect(box)], 0)


def test_requests_are_estimated(server, somewhere, tmp_path):
    layer = server.tiles()
    picture = planned(layer, TEXTURE, [QgsGeometry.fromRect(somewhere)], 20)
    render(layer, TEXTURE, somewhere, folder=tmp_path, margin_px=20)
    assert picture.requests == len(server.asked)
    server.asked.clear()
    picture = planned(server.wms(), TEXTURE, [QgsGeometry.fromRect(somewhere)], 20)
    render(server.wms(), TEXTURE, somewhere, folder=tmp_path, margin_px=20)
    assert picture.requests == len(server.asked)


def test_a_layer_that_is_no_picture_keeps_its_values(qgis_new_project, tmp_path):
    """A virtual raster of QGIS: numbers of its own, with holes, on its own grid."""
    path = str(tmp_path / "height.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, 300, 200, 1, gdal.GDT_Float32)
    dataset.SetGeoTransform((500_000, 0.5, 0, 3_000_000, 0, -0.5))
    dataset.SetProjection(gdal.Open(str(SAMPLE)).GetProjection().replace("3857", "3857"))
    dataset.SetProjection(QgsCoordinateReferenceSystem("EPSG:32645").toWkt())
    dataset.GetRasterBand(1).Fill(1234.5)
    del dataset
    base = QgsRasterLayer(path, "height")
    QgsProject.instance().addMapLayer(base)
    uri = (
        "?crs=EPSG:32645&extent=500000,2999900,500150,3000000&width=300&height=200&formula=%22height@1%22%20*%202"
        f"&height:uri={path}&height:provider=gdal"
    )
    layer = QgsRasterLayer(uri, "double", "virtualraster")
    assert layer.isValid()
    assert is_rendered(layer)
    picture, rendered = render(layer, 0.5, QgsRectangle(500_020, 2_999_950, 500_060, 2_999_990), folder=tmp_path)
    assert picture.RasterCount == 1
    band = picture.GetRasterBand(1)
    assert picture.GetGeoTransform()[1] == 0.5
    assert band.ComputeRasterMinMax() == (2469.0, 2469.0)
    assert rendered.gsd_m == pytest.approx(0.5, rel=1e-2)


def house(box, color="255,0,0,255"):
    """A red square on the map, as a layer that is not saved anywhere."""
    layer = QgsVectorLayer("Polygon?crs=EPSG:3857", "house", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromRect(box))
    layer.dataProvider().addFeatures([feature])
    layer.renderer().symbol().setColor(type(layer.renderer().symbol().color())(255, 0, 0))
    return layer


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32645"])
def test_the_map_as_it_looks_now(server, somewhere, tmp_path, crs):
    red = house(
        QgsRectangle(
            somewhere.center().x() - 5,
            somewhere.center().y() - 5,
            somewhere.center().x() + 5,
            somewhere.center().y() + 5,
        )
    )
    target = QgsCoordinateReferenceSystem(crs)
    to_map = QgsCoordinateTransform(QgsCoordinateReferenceSystem("EPSG:3857"), target, QgsProject.instance())
    pixels = MapPixels.of("map", [red, server.tiles()], target, QgsMapSettings())
    picture = Picture.of(pixels, 0.25, [QgsGeometry.fromRect(to_map.transformBoundingBox(somewhere))]).frozen()
    image = in_thread(lambda: picture.write(tmp_path, Watcher()))
    dataset = gdal.Open(image.path)
    center = to_map.transform(somewhere.center())
    assert pixel(dataset, center.x(), center.y()) == [255, 0, 0, 255]
    beside = to_map.transform(somewhere.center().x() + 20, somewhere.center().y())
    expected = pixel(gdal.Open(str(SAMPLE)), somewhere.center().x() + 20, somewhere.center().y())
    assert pixel(dataset, beside.x(), beside.y())[:3] == pytest.approx(expected, abs=60)
    assert {int(path.split("/")[1]) for path in server.asked} == {19}  # not 18, drawn larger
    assert "house" in image.rendered.source
    assert "tiles" in image.rendered.source


def test_cancel_while_the_map_is_drawn(server, somewhere, tmp_path):
    server.fault = lambda path: "slow"
    pixels = MapPixels.of("map", [server.tiles()], QgsCoordinateReferenceSystem("EPSG:3857"), QgsMapSettings())
    picture, watcher = Picture.of(pixels, TEXTURE, [QgsGeometry.fromRect(somewhere)]).frozen(), Watcher()
    threading.Timer(0.3, watcher.cancel).start()
    with pytest.raises(Cancelled):
        in_thread(lambda: picture.write(tmp_path, watcher))
    assert not list(tmp_path.iterdir())


def test_the_map_is_drawn_where_tasks_hold_all_threads(server, somewhere, tmp_path):
    pool = QThreadPool.globalInstance()
    before = pool.maxThreadCount()
    pool.setMaxThreadCount(1)
    pixels = MapPixels.of("map", [server.tiles()], QgsCoordinateReferenceSystem("EPSG:3857"), QgsMapSettings())
    picture = Picture.of(pixels, 0.3, [QgsGeometry.fromRect(somewhere)]).frozen()
    try:
        assert in_thread(lambda: picture.write(tmp_path, Watcher())).rendered.missing == 0
    finally:
        pool.setMaxThreadCount(before)


@pytest.mark.parametrize("kind", ["MapServer", "ImageServer"])
def test_an_arcgis_service_without_tiles_draws_what_it_is_asked_for(server, somewhere, tmp_path, kind):
    dataset, rendered = render(server.arcgis(kind), 0.3, somewhere, folder=tmp_path)
    assert rendered.gsd_m == pytest.approx(0.3, rel=1e-3)
    expected = gdal.Open(str(SAMPLE))
    for dx, dy in ((0, 0), (-20, 20), (30, -30)):
        x, y = somewhere.center().x() + dx, somewhere.center().y() + dy
        assert pixel(dataset, x, y)[:3] == pytest.approx(pixel(expected, x, y), abs=60)
    assert len(server.asked) == 1


def test_vector_tiles_are_drawn_in_their_style(qgis_new_project, somewhere, tmp_path):
    fields = house(somewhere.buffered(-25))
    path, options = str(tmp_path / "fields.gpkg"), QgsVectorFileWriter.SaveVectorOptions()
    QgsVectorFileWriter.writeAsVectorFormatV3(fields, path, QgsProject.instance().transformContext(), options)
    pyramid = ["FORMAT=DIRECTORY", "MINZOOM=14", "MAXZOOM=16", "COMPRESS=NO", "EXTENT=16384"]
    gdal.VectorTranslate(str(tmp_path / "tiles"), path, format="MVT", datasetCreationOptions=pyramid)
    with serving_folder(tmp_path / "tiles") as url:
        layer = QgsVectorTileLayer(f"type=xyz&url={url}/{{z}}/{{x}}/{{y}}.pbf&zmin=14&zmax=16", "fields")
        assert is_rendered(layer)
        dataset, rendered = render(layer, 0.25, somewhere, folder=tmp_path)
    center = somewhere.center()
    assert pixel(dataset, center.x(), center.y())[3] > 0
    assert pixel(dataset, center.x() + 20, center.y())[3] == 0
    assert rendered.missing < rendered.tiles
    picture = planned(layer, 1.0, [QgsGeometry.fromRect(place(COLUMN, ROW))], 0)
    assert picture.requests >= 1
    assert picture.gsd_m == pytest.approx(1.0, rel=0.01)
