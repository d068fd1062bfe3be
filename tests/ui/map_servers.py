"""Map services for tests on this machine: a GeoTIFF as XYZ tiles and as a WMS, fair, slow, failing or lying."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from osgeo import gdal
from qgis.core import QgsProject, QgsRasterLayer, QgsRectangle

SAMPLE = Path(__file__).resolve().parents[2] / "resources" / "sample" / "banepa.tif"
"""The bundled photograph; its pixels are those of tiles of level 20."""
WORLD = 20037508.342789244
CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms" xmlns:xlink="http://www.w3.org/1999/xlink">
<Service><Name>WMS</Name><Title>Test</Title><OnlineResource xlink:href="{url}"/></Service><Capability><Request>
<GetCapabilities><Format>text/xml</Format>
<DCPType><HTTP><Get><OnlineResource xlink:href="{url}"/></Get></HTTP></DCPType>
</GetCapabilities><GetMap><Format>image/png</Format>
<DCPType><HTTP><Get><OnlineResource xlink:href="{url}"/></Get></HTTP>
</DCPType></GetMap></Request><Exception><Format>XML</Format></Exception><Layer><Title>Root</Title>
<CRS>EPSG:3857</CRS><CRS>EPSG:4326</CRS><CRS>EPSG:32645</CRS>
<Layer queryable="0"><Name>photo</Name><Title>Photo</Title>
<EX_GeographicBoundingBox><westBoundLongitude>80</westBoundLongitude><eastBoundLongitude>90</eastBoundLongitude>
<southBoundLatitude>20</southBoundLatitude><northBoundLatitude>35</northBoundLatitude></EX_GeographicBoundingBox>
</Layer></Layer></Capability></WMS_Capabilities>"""
NUMBERS = itertools.count()
LOCK = threading.Lock()
"""GDAL in Python is used by one thread at a time."""


class MapServer(ThreadingHTTPServer):
    """Serves a GeoTIFF.

    Attributes:
        fault: what is wrong with a picture, by its path: a status, `slow`, `html`, `tiny`; nothing for a fair one.
        asked: paths of the pictures that were asked for.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path, self.asked = path, []
        self.fault = lambda path: None
        self.prefix = f"/{uuid.uuid4().hex}"

    @property
    def url(self) -> str:
        """Of its own each time: QGIS keeps pictures on disk by their address, and ports come again."""
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"

    def tiles(self, query="") -> QgsRasterLayer:
        return self._layer(f"type=xyz&url={self.url}/{{z}}/{{x}}/{{y}}.png{query}&zmin=0&zmax=20", "tiles")

    def wms(self, crs="EPSG:3857") -> QgsRasterLayer:
        source = f"contextualWMSLegend=0&crs={crs}&dpiMode=7&format=image/png&layers=photo&styles=&url={self.url}/wms"
        return self._layer(source, "wms")

    def handle_error(self, request, address):
        """Whoever asked has gone, as after a cancel."""

    def picture(self, bounds, crs, width, height) -> bytes:
        """A part of the file as PNG with alpha."""
        with LOCK:
            return _picture(self.path, bounds, crs, width, height)

    @staticmethod
    def _layer(source, name):
        layer = QgsRasterLayer(source, name, "wms")
        assert layer.isValid(), layer.error().summary()
        QgsProject.instance().addMapLayer(layer)
        return layer


@functools.lru_cache(maxsize=2000)
def _picture(path, bounds, crs, width, height):
    name = f"/vsimem/{next(NUMBERS)}.png"
    part = gdal.Warp(
        "", path, format="MEM", outputBounds=bounds, dstSRS=crs, width=width, height=height, dstAlpha=True,
        resampleAlg="bilinear", outputBoundsSRS=crs,
    )  # fmt: skip
    gdal.GetDriverByName("PNG").CreateCopy(name, part, options=["ZLEVEL=1"])
    size = gdal.VSIStatL(name).size
    file = gdal.VSIFOpenL(name, "rb")
    data = bytes(gdal.VSIFReadL(1, size, file))
    gdal.VSIFCloseL(file)
    gdal.Unlink(name)
    return data


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path[len(self.server.prefix) :]
        asked = urlparse(path)
        query = {name.lower(): values[0] for name, values in parse_qs(asked.query).items()}
        if query.get("request") == "GetCapabilities":
            self._send(CAPABILITIES.replace("{url}", f"{self.server.url}/wms?").encode(), "text/xml")
            return
        self.server.asked.append(path)
        fault = self.server.fault(path)
        if isinstance(fault, int):
            self.send_error(fault)
        elif fault == "html":
            self._send(b"<html>Sorry</html>", "text/html")
        else:
            if fault == "slow":
                time.sleep(1)
            self._send(self._picture(asked.path, query, fault), "image/png")

    def _picture(self, path, query, fault):
        if path.startswith("/wms"):
            left, bottom, right, top = (float(number) for number in query["bbox"].split(","))
            bounds, crs = (left, bottom, right, top), query["crs"]
            if crs == "EPSG:4326":  # in WMS 1.3.0 its axes are the other way round
                bounds = (bottom, left, top, right)
            size = int(query["width"]), int(query["height"])
        else:
            z, x, y = (int(part.split(".")[0]) for part in path.strip("/").split("/"))
            side = 2 * WORLD / 2**z
            left, top = x * side - WORLD, WORLD - y * side
            bounds, crs, size = (left, top - side, left + side, top), "EPSG:3857", (256, 256)
        return self.server.picture(bounds, crs, *((8, 8) if fault == "tiny" else size))

    def _send(self, data, kind):
        with contextlib.suppress(OSError):  # whoever asked has gone, as after a cancel
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def serving(path):
    """A server of a GeoTIFF, until the end of the context."""
    server = MapServer(str(path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def around_middle(side_m):
    """A square in the middle of the sample, in web mercator; its side in that CRS."""
    extent = QgsRasterLayer(str(SAMPLE), "sample").extent()
    return QgsRectangle.fromCenterAndSize(extent.center(), side_m, side_m)
