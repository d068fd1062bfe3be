"""A map service for tests: a small server whose every tile has a colour of its own, and black lines."""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from qgis.core import QgsProject, QgsRasterLayer, QgsRectangle
from qgis.PyQt.QtCore import QBuffer, QByteArray
from qgis.PyQt.QtGui import QImage

WORLD = 20037508.342789244
ZOOM = 18
TILE_M = 2 * WORLD / 2**ZOOM
COLUMN, ROW = 193_900, 110_000
MIDDLE = 128 * 128 % 11


class Tiles(BaseHTTPRequestHandler):
    """Every tile has a colour of its own, in its middle row."""

    asked: ClassVar[list] = []
    broken: ClassVar[bool] = False

    def do_GET(self):
        z, x, y = (int(part.split(".")[0]) for part in self.path.split("/")[-3:])
        self.asked.append((z, x, y))
        if self.broken:
            self.send_error(404)
            return
        red, green, blue = color(x, y)
        rows = (bytes((red, green + row * row % 11 - MIDDLE, blue)) * 256 for row in range(256))  # a picture, no fill
        picture = QImage(b"".join(rows), 256, 256, QImage.Format.Format_RGB888)
        data = QByteArray()
        buffer = QBuffer(data)
        buffer.open(QBuffer.OpenModeFlag.WriteOnly)
        picture.save(buffer, "PNG")
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(bytes(data))

    def log_message(self, *_):
        pass


def color(x, y):
    return (x * 37) % 200 + 20, (y * 53) % 200 + 20, 90


@contextmanager
def serving_tiles():
    """A map service on this machine, as a layer of the project."""
    Tiles.asked.clear()
    Tiles.broken = False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tiles)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # An address of its own each time: QGIS keeps pictures on disk by their address, and ports come again.
    url = f"http://127.0.0.1:{server.server_port}/{uuid.uuid4().hex}/{{z}}/{{x}}/{{y}}.png"
    layer = QgsRasterLayer(f"type=xyz&url={url}&zmin=0&zmax={ZOOM}", "tiles", "wms")
    assert layer.isValid()
    QgsProject.instance().addMapLayer(layer)
    yield layer
    server.shutdown()
    server.server_close()


def middle(column, row):
    """The middle of a tile, in web mercator."""
    return -WORLD + (column + 0.5) * TILE_M, WORLD - (row + 0.5) * TILE_M


def place(column, row, side=60.0):
    x, y = middle(column, row)
    return QgsRectangle(x - side / 2, y - side / 2, x + side / 2, y + side / 2)
