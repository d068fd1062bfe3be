"""What the tests in QGIS are made of: a scripted engine, files as the engine leaves them, patience."""

from __future__ import annotations

import csv
import json
import stat
import sys
import time
from pathlib import Path

from osgeo import gdal, ogr, osr
from qgis.core import QgsCoordinateReferenceSystem, QgsProcessingFeedback
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtTest import QTest

gdal.UseExceptions()
HERE = Path(__file__).parent
SIZE = 64
PATIENCE_SECONDS = 300
GSD = 0.5
LEFT, TOP = 500_000.0, 3_000_000.0
CRS = "EPSG:32645"
COLUMNS = ["epoch", "step", "loss", "iou", "f1", "precision", "recall", "images_per_second", "waiting_share"]
CLASSES = [
    {"value": 1, "name": "field", "color": "#4daf4a", "outline": "shared"},
    {"value": 2, "name": "orchard", "color": "#984ea3", "outline": "shared"},
]


def wait_until(condition, seconds=PATIENCE_SECONDS):
    """Turn the event loop until `condition()` holds; five minutes without it are a failure, on a busy machine too."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        QCoreApplication.processEvents()
        time.sleep(0.005)


def show_canvas(iface, crs, width, height):
    """The canvas, really shown: hidden in its window it would keep a size of its own. It looks at the map in `crs`."""
    canvas = iface.mapCanvas()
    iface.mainWindow().show()
    canvas.show()
    canvas.resize(width, height)
    QTest.qWait(10)
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem(crs))
    assert canvas.mapSettings().outputSize() == canvas.viewport().size()
    return canvas


class Engine:
    """The scripted engine: what it shall do, and what it was asked."""

    def __init__(self, folder: Path):
        self.script_path = folder / "script.json"
        self.script()

    def script(self, **methods):
        self.script_path.write_text(json.dumps(methods))

    @property
    def requests(self):
        log = Path(f"{self.script_path}.log")
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]  # one may just be being written

    def asked(self, method):
        return [message["params"] for message in self.requests if message["method"] == method]

    @property
    def command(self):
        return [sys.executable, "-S", str(HERE / "fake_worker.py")]  # it needs no packages, and starts faster


def write_raster(path, bands, crs=CRS, size=SIZE, scale=None):
    """A GeoTIFF whose bands are the given bytes or constants."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), size, size, len(bands))
    dataset.SetGeoTransform((LEFT, GSD, 0, TOP, 0, -GSD))
    if crs:
        reference = osr.SpatialReference()
        reference.SetFromUserInput(crs)
        dataset.SetProjection(reference.ExportToWkt())
    for number, pixels in enumerate(bands, start=1):
        data = bytes([pixels]) * size * size if isinstance(pixels, int) else pixels
        band = dataset.GetRasterBand(number)
        band.WriteRaster(0, 0, size, size, data)
        if scale:
            band.SetNoDataValue(255)
            band.SetScale(scale)
    dataset.FlushCache()
    return str(path)


def write_polygons(path):
    """The GeoPackage of a run: two polygons, one of each class."""
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    layer = dataset.CreateLayer("polygons", reference, ogr.wkbPolygon)
    for name, kind in (
        ("id", ogr.OFTInteger), ("class", ogr.OFTString), ("class_value", ogr.OFTInteger), ("confidence", ogr.OFTReal),
        ("area_m2", ogr.OFTReal), ("perimeter_m", ogr.OFTReal), ("outline", ogr.OFTString), ("run", ogr.OFTString),
    ):  # fmt: skip
        layer.CreateField(ogr.FieldDefn(name, kind))
    for value in (1, 2):
        x = LEFT + 10 * value
        feature = ogr.Feature(layer.GetLayerDefn())
        feature["class"], feature["class_value"] = CLASSES[value - 1]["name"], value
        feature["id"], feature["outline"], feature["run"] = value, "squared", "0123456789ab"
        feature["confidence"], feature["area_m2"] = 0.9, 25.0
        corners = ", ".join(f"{x + dx} {TOP - 10 + dy}" for dx, dy in ((0, 0), (5, 0), (5, 5), (0, 5), (0, 0)))
        feature.SetGeometry(ogr.CreateGeometryFromWkt(f"POLYGON (({corners}))"))
        layer.CreateFeature(feature)
    runs = dataset.CreateLayer("orthomask_runs", None, ogr.wkbNone)
    runs.CreateField(ogr.FieldDefn("run", ogr.OFTString))


def write_differences(path):
    """What the engine writes when it compares two runs: one difference of each kind and verdict."""
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    layer = dataset.CreateLayer("differences", reference, ogr.wkbMultiPolygon)
    text, real = ogr.OFTString, ogr.OFTReal
    kinds = ("gained", "right"), ("gained", "wrong"), ("lost", "right"), ("reshaped", "")
    fields = (("kind", text), ("verdict", text), ("iou", real), ("reason", text))
    _fill(layer, fields, [(6.0 * n, kind, verdict, 0.5, "Because.") for n, (kind, verdict) in enumerate(kinds)])


def square(x, side=5.0):
    """A square, `x` metres from the left edge of the photograph and ten from its top, as WKT."""
    left, top = LEFT + x, TOP - 10
    corners = ((0, 0), (side, 0), (side, -side), (0, -side), (0, 0))
    return f"POLYGON (({', '.join(f'{left + dx} {top + dy}' for dx, dy in corners)}))"


def write_project(path, labels=(), areas=()):
    """A label project with the classes `CLASSES`; labels are (x, class value), areas are (x, name, split, state).

    Without a state it is a project of an older version.
    """
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    text, integer = ogr.OFTString, ogr.OFTInteger
    _fill(dataset.CreateLayer("labels", reference, ogr.wkbMultiPolygon), (("class", integer),), labels)
    fields = (("name", text), ("split", text), ("state", text))[: max((len(area) - 1 for area in areas), default=2)]
    _fill(dataset.CreateLayer("areas", reference, ogr.wkbMultiPolygon), fields, areas)
    table = dataset.CreateLayer("orthomask_classes", None, ogr.wkbNone, options=["ASPATIAL_VARIANT=GPKG_ATTRIBUTES"])
    for name, kind in (("value", integer), ("name", text), ("color", text), ("outline", text)):
        table.CreateField(ogr.FieldDefn(name, kind))
    for info in CLASSES:
        feature = ogr.Feature(table.GetLayerDefn())
        for name, value in info.items():
            feature[name] = value
        table.CreateFeature(feature)
    return str(path)


def _fill(layer, fields, rows):
    for name, kind in fields:
        layer.CreateField(ogr.FieldDefn(name, kind))
    for x, *values in rows:
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(ogr.ForceToMultiPolygon(ogr.CreateGeometryFromWkt(square(x))))
        for (name, _), value in zip(fields, values):
            feature[name] = value
        layer.CreateFeature(feature)


def write_epochs(folder, *ious, tail="", base=None, waiting=0.08):
    """The curves of a training so far: an epoch for each IoU, after the scores of its base."""
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        if base is not None:
            writer.writerow([0, 0, "", base, base + 0.1, 0.6, 0.7, "", ""])
        for number, iou in enumerate(ious, start=1):
            writer.writerow([number, 10 * number, 1 / number, iou, iou + 0.1, 0.6, 0.7, 31.5, waiting])
        file.write(tail)


class Watcher(QgsProcessingFeedback):
    def __init__(self):
        super().__init__()
        self.percents, self.texts = [], []
        self.progressChanged.connect(self.percents.append)

    def setProgressText(self, text):
        self.texts.append(text)


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)
