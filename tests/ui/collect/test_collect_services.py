"""Labels of a service by OGC API Features: only the parts around the areas are asked for, page by page."""

import gc
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsGeometry,
    QgsProject,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QCoreApplication

from orthomask.protocol import OrthomaskError
from orthomask.ui.client.engine_client import NoFeedback
from orthomask.ui.collect.frozen import FrozenVectors

PAGE, ACROSS, SIDE = 4, 10, 0.001
"""Parcels on a page and in a row, and the side of one in degrees."""
LINKS = (("self", ""), ("conformance", "conformance"), ("data", "collections"))


class FeatureServer(ThreadingHTTPServer):
    """100 parcels from 85° E and 27° N on; `fault` is a status of items' answers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked, self.fault = [], 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, path, query):
        if path in ("", "/"):
            api = {
                "rel": "service-desc",
                "href": f"{self.url}/api",
                "type": "application/vnd.oai.openapi+json;version=3.0",
            }
            rest = [{"rel": rel, "href": f"{self.url}/{end}", "type": "application/json"} for rel, end in LINKS]
            return {"links": [api, *rest]}
        about = {"id": "parcels", "title": "parcels", "extent": {"spatial": {"bbox": [[85, 27, 85.01, 27.01]]}}}
        items = {"rel": "items", "href": f"{self.url}/collections/parcels/items", "type": "application/geo+json"}
        about["links"] = [items]
        if path == "/collections":
            return {"collections": [about], "links": []}
        if path == "/collections/parcels":
            return about
        if path == "/collections/parcels/items":
            return self.items(query)
        limit = {"name": "limit", "schema": {"maximum": PAGE, "default": PAGE}}
        return {"openapi": "3.0.0", "paths": {}, "components": {"parameters": {"limit": limit}}, "conformsTo": []}

    def items(self, query):
        box = [float(value) for value in query["bbox"][0].split(",")] if "bbox" in query else None
        offset, limit = int(query.get("offset", ["0"])[0]), min(PAGE, int(query.get("limit", [PAGE])[0]))
        every = [parcel(number) for number in range(ACROSS * ACROSS) if box is None or touches(number, box)]
        page = {"type": "FeatureCollection", "features": every[offset : offset + limit], "links": []}
        if offset + limit < len(every):
            bbox = f"&bbox={query['bbox'][0]}" if box else ""
            href = f"{self.url}/collections/parcels/items?offset={offset + limit}&limit={limit}{bbox}"
            page["links"] = [{"rel": "next", "href": href, "type": "application/geo+json"}]
        return page


def corner(number):
    return 85 + number % ACROSS * SIDE, 27 + number // ACROSS * SIDE


def touches(number, box):
    x, y = corner(number)
    return x <= box[2] and x + SIDE >= box[0] and y <= box[3] and y + SIDE >= box[1]


def parcel(number):
    x, y = corner(number)
    ring = [[x, y], [x + SIDE, y], [x + SIDE, y + SIDE], [x, y + SIDE], [x, y]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": str(number), "geometry": geometry, "properties": {"use": f"use {number % 3}"}}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = urlparse(self.path)
        items = asked.path.endswith("/items")
        if items:
            self.server.asked.append(asked.query)
        if items and self.server.fault:
            self.send_error(self.server.fault)
            return
        kind = "application/geo+json" if items else "application/json"
        data = json.dumps(self.server.answer(asked.path, parse_qs(asked.query))).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def parcels(unseen):
    """The server, and a layer of it that is not restricted to what is shown."""
    server = FeatureServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    layer = QgsVectorLayer(f"typename='parcels' url='{server.url}'", "parcels", "OAPIF")
    assert layer.isValid()
    QgsProject.instance().addMapLayer(layer)
    server.asked.clear()
    yield server, layer
    QgsProject.instance().clear()
    gc.collect()  # what reads it must go before QGIS does
    server.shutdown()
    server.server_close()


def place(x, y, side):
    return QgsGeometry.fromWkt(f"POLYGON (({x} {y}, {x + side} {y}, {x + side} {y + side}, {x} {y + side}, {x} {y}))")


def write(layer, places, folder):
    """The copy of the labels, written as in a task."""
    frozen = FrozenVectors.of(layer, "use", "")
    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    inside = frozen.snapshot.inside(places, degrees, QgsCoordinateTransformContext())
    outcome = []

    def work():
        try:
            outcome.append(inside.write(folder, NoFeedback()))
        except OrthomaskError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        QCoreApplication.processEvents()
    return outcome[0]


def test_only_the_areas_are_asked_for_page_by_page(parcels, tmp_path):
    server, layer = parcels
    copy = write(layer, [place(85.0001, 27.0001, 0.0025), place(85.0085, 27.0085, 0.001)], tmp_path)
    assert QgsVectorLayer(str(copy), "copy", "ogr").featureCount() == 9 + 4
    assert all("bbox" in query for query in server.asked)
    assert sum("offset" in query for query in server.asked) == 2


def test_a_server_that_fails_is_no_empty_layer(parcels, tmp_path):
    server, layer = parcels
    server.fault = 500
    failure = write(layer, [place(85.0001, 27.0001, 0.0015)], tmp_path)
    assert isinstance(failure, OrthomaskError)
    assert failure.sentence == "The server of the layer parcels failed."
    assert list(tmp_path.iterdir()) == []
    server.fault = 0
    assert (
        QgsVectorLayer(str(write(layer, [place(85.0001, 27.0001, 0.0015)], tmp_path)), "copy", "ogr").featureCount()
        == 4
    )
