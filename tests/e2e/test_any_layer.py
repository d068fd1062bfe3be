"""Layers that are no files, with the real engine: the same buildings as in the file that the service shows."""

import json
import re
from pathlib import Path

import processing
import pytest
from map_servers import SAMPLE, serving
from osgeo import gdal
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsLayerNotesUtils,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
)
from scene import PATIENCE_SECONDS, wait_until

from orthomask.ui.layers.sources import extent_region
from orthomask.ui.processing.provider import OrthomaskProvider

SECRET = "q7w3e9"


@pytest.fixture
def server(qgis_new_project):
    with serving(SAMPLE) as server:
        yield server


@pytest.fixture
def region(sample):
    """An extent of 186 m in the middle of the photograph, so that its edge counts for little."""
    return extent_region(sample.extent().buffered(-60), sample.crs())


def segment(panel, region, image):
    """Run on an image; the folder of the run."""
    before = set(Path(panel.options.folder()).glob("*"))
    if image is None:
        panel.layer_chooser.choose_map()
    else:
        panel.layer_chooser.setLayer(image)
    panel.region.pick(region)
    wait_until(panel.run_bar.run_button.isEnabled, PATIENCE_SECONDS)
    panel.run()
    wait_until(lambda: panel._task is None, PATIENCE_SECONDS)
    (folder,) = set(Path(panel.options.folder()).glob("*")) - before
    return folder


def overlap(one, other):
    """Intersection over union of the buildings in the class rasters of two runs, on the pixels of the first."""
    first = gdal.Open(str(one / "classes.tif"))
    left, step, _, top, _, down = first.GetGeoTransform()
    width, height = first.RasterXSize, first.RasterYSize
    second = gdal.Warp(
        "", str(other / "classes.tif"), format="MEM", dstSRS=first.GetProjection(), width=width, height=height,
        outputBounds=(left, top + height * down, left + width * step, top), resampleAlg="near", dstNodata=255,
    )  # fmt: skip
    pairs = [pair for pair in zip(first.ReadRaster(), second.ReadRaster()) if 255 not in pair]
    assert len(pairs) > 10_000
    return sum(pair == (1, 1) for pair in pairs) / sum(1 in pair for pair in pairs)


def test_services_and_the_map_give_the_buildings_of_their_file(dock, sample, server, region, qgis_iface, tmp_path):
    panel, project, root = dock.segment, QgsProject.instance(), QgsProject.instance().layerTreeRoot()
    tiles, wms = server.tiles(query=f"?key={SECRET}"), server.wms("EPSG:32645")
    level = gdal.Open(str(SAMPLE)).GetGeoTransform()[1] * 2  # of the tiles that suit the model
    same = str(tmp_path / "same.tif")
    gdal.Warp(same, str(SAMPLE), xRes=level, yRes=level, resampleAlg="bilinear")
    photo = project.addMapLayer(QgsRasterLayer(same, "same"))
    file = segment(panel, region, photo)
    root.removeChildNode(root.children()[0])  # the polygons of the run would be part of the map
    qgis_iface.mapCanvas().setLayers([tiles])
    state = [(layer.source(), layer.crs().authid(), layer.styleManager().currentStyle()) for layer in (tiles, wms)]
    exact = Qgis.QGIS_VERSION_INT < 34200  # later versions draw tiles a pixel larger, against gaps between them
    for name, image, project_crs, least in (
        ("tiles", tiles, "EPSG:32645", 0.99 if exact else 0.9),
        ("wms", wms, "EPSG:3857", 0.88),  # in another coordinate system, at another resolution
        ("Map as it looks now", None, "EPSG:4326", 0.95 if exact else 0.9),
    ):
        project.setCrs(QgsCoordinateReferenceSystem(project_crs))
        folder = segment(panel, region, image)
        assert overlap(file, folder) > least, name
        source = json.loads((folder / "run.json").read_text())["source"]
        assert source["rendered"]["name"].startswith(name)
        assert source["gsd_m"] == pytest.approx([source["rendered"]["gsd_m"]] * 2, rel=0.01)
        assert not (folder / ".picture").exists()
        assert not [path for path in folder.iterdir() if SECRET.encode() in path.read_bytes()]
        polygons = root.children()[0].findLayers()[0].layer()
        notes = QgsLayerNotesUtils.layerNotes(polygons)
        assert "Rendered" in notes
        assert SECRET not in notes
        root.removeChildNode(root.children()[0])
        assert project.crs().authid() == project_crs
    assert state == [(lay.source(), lay.crs().authid(), lay.styleManager().currentStyle()) for lay in (tiles, wms)]


def test_preflight_and_estimate_come_from_a_sample(dock, server, region):
    panel = dock.segment
    panel.layer_chooser.setLayer(server.tiles())
    panel.region.pick(region)
    wait_until(lambda: panel.preflight.result is not None, PATIENCE_SECONDS)
    assert "server requests: about" in panel.image_words.text()
    assert {light.name for light in panel.preflight.result.lights} == {"bands", "pixel type", "resolution", "values"}
    assert sum(path.startswith("/19/") for path in server.asked) == 1  # others are the canvas's own
    assert not panel.region.extent_button.isEnabled()


def test_missing_tiles_are_told_and_unknown(dock, server, region, bar):
    gone = []

    def broken(path):
        gone.extend([path] if path.startswith("/19/") and not gone else [])
        return 404 if path in gone else None

    panel = dock.segment
    panel.layer_chooser.setLayer(server.tiles())
    server.fault = broken
    folder = segment(panel, region, panel.layer_chooser.currentLayer())
    assert any("1 of" in item.text() and "their pixels are unknown" in item.text() for item in bar.items())
    assert json.loads((folder / "run.json").read_text())["source"]["rendered"]["missing"] == 1


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


def refusal(parameters):
    """What Processing says of a run that it does not begin."""
    feedback = QgsProcessingFeedback()
    said = []
    feedback.reportError = lambda error, *_: said.append(error)
    with pytest.raises(QgsProcessingException) as caught:
        processing.run("orthomask:segment", parameters, feedback=feedback)
    return f"{said} {caught.value}"


def test_processing(provider, server, region, tmp_path):
    tiles, box = server.tiles(), region.geometry.boundingBox()
    extent = f"{box.xMinimum()},{box.xMaximum()},{box.yMinimum()},{box.yMaximum()} [EPSG:3857]"
    parameters = {"IMAGE": tiles, "EXTENT": extent, "OUTPUT": str(tmp_path / "run")}
    assert processing.run("orthomask:check", {"IMAGE": tiles, "EXTENT": extent})["LEVEL"] != "red"
    assert re.search(
        r"Rendering “.*” would take about \d+ server requests", refusal({**parameters, "MOST_REQUESTS": 2})
    )
    assert "Choose a region" in refusal({**parameters, "EXTENT": None})
    run = processing.run("orthomask:segment", parameters)
    assert run["POLYGON_COUNT"] > 3
    assert not (tmp_path / "run" / ".picture").exists()
    before = len(server.asked)
    assert "already contains a run" in refusal(parameters)
    assert len(server.asked) == before
