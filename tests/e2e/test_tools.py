"""The quick tools with the real engine: a roof of the bundled photograph, removed and added again by a click."""

import pytest
from mouse import click, move
from osgeo import gdal
from qgis.core import QgsApplication, QgsCoordinateTransform, QgsProject
from qgis.PyQt.QtCore import QCoreApplication
from scene import PATIENCE_SECONDS, wait_until

from orthomask.protocol import Image, PredictRequest
from orthomask.ui.review.context import Context
from orthomask.ui.review.tools.tools_box import ToolsBox
from orthomask.ui.runs import results


@pytest.fixture
def run(client, sample, tmp_path):
    """A run over a part of the photograph."""
    part = str(tmp_path / "part.tif")
    gdal.Translate(part, sample.source(), srcWin=[200, 200, 600, 600])
    client.call(PredictRequest(Image(part), "buildings", str(tmp_path / "run")))
    return results.read_run(tmp_path / "run")


@pytest.fixture
def box(qgis_iface, sample, client, run):
    polygons = results.polygon_layer(run)
    QgsProject.instance().addMapLayer(polygons)
    box = ToolsBox(qgis_iface, client)
    box.follow(Context(run=run, polygons=polygons, target=polygons))
    yield box
    box.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks(), PATIENCE_SECONDS)
    box.deleteLater()
    QCoreApplication.processEvents()


def test_a_removed_roof_is_added_again_by_a_click(qgis_iface, box, run):
    canvas = qgis_iface.mapCanvas()
    (layer,) = [each for each in QgsProject.instance().mapLayers().values() if each.name().startswith("Polygons")]
    roof = max(layer.getFeatures(), key=lambda each: each["confidence"] * (each["outline"] == "squared"))
    shape = roof.geometry()
    place = QgsCoordinateTransform(layer.crs(), canvas.mapSettings().destinationCrs(), QgsProject.instance()).transform(
        shape.pointOnSurface().asPoint()
    )
    canvas.zoomByFactor(0.2, place)
    at = canvas.getCoordinateTransform().transform(place)
    box.remove_button.click()
    click(canvas, round(at.x()), round(at.y()))
    assert not layer.getFeature(roof.id()).isValid()
    box.add_button.click()
    move(canvas, round(at.x()), round(at.y()))
    wait_until(lambda: "building" in box.words.text(), PATIENCE_SECONDS)
    click(canvas, round(at.x()), round(at.y()))
    added = max(layer.getFeatures(), key=lambda each: each["id"])
    union = added.geometry().combine(shape).area()
    assert added.geometry().intersection(shape).area() / union > 0.6
    assert added["outline"] == "added"
    layer.rollBack()
