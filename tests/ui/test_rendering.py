import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsTask,
    QgsVectorLayer,
)
from scene import wait_until
from test_engine_client import Watcher
from tile_server import COLUMN, ROW, TILE_M, Tiles, color, middle, place, serving_tiles

from orthomask.protocol import Cancelled, ErrorCode, OrthomaskError
from orthomask.ui.rendering import TILE_PX, RenderedImage


@pytest.fixture
def tiles(qgis_new_project):
    with serving_tiles() as layer:
        yield layer


def in_thread(function):
    """What a task of QGIS does, with the main thread free."""
    outcome = []

    class Task(QgsTask):
        def run(self):
            try:
                outcome.append(function())
            except OrthomaskError as error:
                outcome.append(error)
            return True

    task = Task()
    QgsApplication.taskManager().addTask(task)
    wait_until(lambda: outcome, 30)
    if isinstance(outcome[0], OrthomaskError):
        raise outcome[0]
    return outcome[0]


def test_the_picture_lies_where_the_tiles_do(tiles, tmp_path):
    state = tiles.source(), tiles.crs(), tiles.extent(), tiles.renderer().type()
    rendered = RenderedImage.of(tiles, 0.5, [place(COLUMN, ROW, 3 * TILE_M)])
    image = in_thread(lambda: rendered.write(tmp_path, Watcher()))
    assert (tiles.source(), tiles.crs(), tiles.extent(), tiles.renderer().type()) == state
    assert image.bands == ("1", "2", "3")
    dataset = gdal.Open(image.path)
    left, step, _, top, _, _ = dataset.GetGeoTransform()
    assert step == pytest.approx(0.5 / 0.878, rel=0.02)  # a metre on the ground at 28.4° north
    pixels = dataset.ReadAsArray()
    for column in (COLUMN - 1, COLUMN, COLUMN + 1):
        for row in (ROW - 1, ROW, ROW + 1):
            x, y = middle(column, row)
            values = pixels[:, int((top - y) / step), int((x - left) / step)]
            assert tuple(values) == (*color(column, row), 255)
    assert dataset.GetRasterBand(4).GetColorInterpretation() == gdal.GCI_AlphaBand


def test_only_tiles_that_are_needed_are_rendered(tiles, tmp_path):
    far = [place(COLUMN, ROW), place(COLUMN + 40, ROW)]
    rendered = RenderedImage.of(tiles, 0.5, far)
    assert rendered.width_px > 5 * TILE_PX
    assert len(rendered.tiles) <= 4
    image = in_thread(lambda: rendered.write(tmp_path, Watcher()))
    pixels = gdal.Open(image.path).ReadAsArray()
    assert pixels[3, :, 0].all()
    assert not pixels[3, :, rendered.width_px // 2].any()
    assert len(Tiles.asked) < 100


def test_cancel(tiles, tmp_path):
    watcher = Watcher()
    watcher.cancel()
    elsewhere = COLUMN + 2000  # a tile of another test's place may still be on its way
    rendered = RenderedImage.of(tiles, 0.5, [place(elsewhere, ROW)])
    with pytest.raises(Cancelled):
        in_thread(lambda: rendered.write(tmp_path, watcher))
    assert not [tile for tile in Tiles.asked if abs(tile[1] - elsewhere) < 1000]


def test_a_service_that_shows_nothing_is_an_error(tiles, tmp_path):
    Tiles.broken = True
    rendered = RenderedImage.of(tiles, 0.5, [place(COLUMN + 500, ROW)])
    with pytest.raises(OrthomaskError) as caught:
        in_thread(lambda: rendered.write(tmp_path, Watcher()))
    assert caught.value.code is ErrorCode.IMAGE_EMPTY


def test_without_places_or_resolution_or_too_large_is_refused(tiles):
    with pytest.raises(OrthomaskError, match="Choose areas"):
        RenderedImage.of(tiles, 0.5, [])
    with pytest.raises(OrthomaskError, match="resolution"):
        RenderedImage.of(tiles, 0.0, [place(COLUMN, ROW)])
    with pytest.raises(OrthomaskError, match="too large"):
        RenderedImage.of(tiles, 0.1, [place(COLUMN, ROW, 50_000)])


def test_chips_of_a_map_service(dock, tiles, engine, bar, tmp_path):
    panel = dock.label
    dock.tabs.setCurrentWidget(panel)
    layers = {}
    for name, kind in (("areas", "split"), ("houses", "use")):
        layers[name] = layer = QgsVectorLayer(f"Polygon?crs=EPSG:3857&field={kind}:string", name, "memory")
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(place(COLUMN, ROW)))
        feature.setAttributes(["train"])
        layer.dataProvider().addFeatures([feature])
        QgsProject.instance().addMapLayer(layer)
    panel.layer_chooser.setLayer(tiles)
    panel.labels.add(layers["houses"])
    assert "map service" in panel.image_words.text()
    panel.export.kind.setCurrentIndex(1)
    assert "Choose areas, and write a resolution" in panel.image_words.text()
    panel.export.areas.setLayer(layers["areas"])
    panel.export.chips.gsd.setText("0.5")
    panel.export.chips.size.setValue(64)
    panel.export.folder_chooser.setFilePath(str(tmp_path / "chips"))
    assert panel.image_words.text() == ""
    wait_until(lambda: "chips before" in panel.preview_words.text())
    panel.run_bar.run_button.click()
    wait_until(lambda: panel._task is None, 30)
    image = engine.asked("chips")[-1]["data"][0]["image"]
    assert image["path"].endswith("tiles.tif")
    assert image["bands"] == ["1", "2", "3"]
    assert Tiles.asked
    assert "10 chips" in panel.run_bar.status.text()
