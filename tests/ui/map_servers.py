"""Map services for tests on this machine: a GeoTIFF by most protocols of QGIS, fair, slow, silent, failing or lying."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import service_documents
from osgeo import gdal
from qgis.core import QgsProject, QgsRasterLayer, QgsRectangle
from service_documents import WORLD

SAMPLE = Path(__file__).resolve().parents[2] / "resources" / "sample" / "banepa.tif"
"""The bundled photograph; its pixels are those of tiles of level 20."""
NUMBERS = itertools.count()
LOCK = threading.Lock()
"""GDAL in Python is used by one thread at a time."""


class MapServer(ThreadingHTTPServer):
    """Serves a GeoTIFF.

    Attributes:
        fault: what is wrong with a picture, by its path: a status, `slow`, `silent`, `html`, `tiny`; nothing for a
            fair one.
        speaks: until this is set, nothing comes where the fault is `silent`.
        asked: paths of the pictures that were asked for.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path, self.asked = path, []
        self.fault = lambda path: None
        self.speaks = threading.Event()
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

    def wmts(self) -> QgsRasterLayer:
        chosen = "crs=EPSG:3857&dpiMode=7&format=image/png&layers=photo&styles=default&tileMatrixSet=mercator"
        return self._layer(f"{chosen}&url={self.url}/wmts", "wmts")

    def wcs(self) -> QgsRasterLayer:
        return self._layer(
            f"crs=EPSG:3857&format=GTiff&identifier=photo&url={self.url}/wcs&version=1.0.0", "wcs", "wcs"
        )

    def arcgis(self, kind) -> QgsRasterLayer:
        """A `MapServer` or `ImageServer`, which draws any extent, or a MapServer that is `cached`: it has tiles."""
        service = "cached/MapServer" if kind == "cached" else f"drawn/{kind}"
        source = f"crs='EPSG:3857' format='PNG32' layer='0' url='{self.url}/arcgis/{service}'"
        return self._layer(source, "arcgis", "arcgismapserver")

    def handle_error(self, request, address):
        """Whoever asked has gone, as after a cancel."""

    def picture(self, bounds, crs, width, height, driver="PNG") -> bytes:
        """A part of the file: with alpha as PNG, without as GTiff."""
        with LOCK:
            return _picture(self.path, bounds, crs, width, height, driver)

    @staticmethod
    def _layer(source, name, provider="wms"):
        layer = QgsRasterLayer(source, name, provider)
        assert layer.isValid(), layer.error().summary()
        QgsProject.instance().addMapLayer(layer)
        return layer


@functools.lru_cache(maxsize=2000)
def _picture(path, bounds, crs, width, height, driver):
    name = f"/vsimem/{next(NUMBERS)}"
    part = gdal.Warp(
        "", path, format="MEM", outputBounds=bounds, dstSRS=crs, width=width, height=height, dstAlpha=driver == "PNG",
        resampleAlg="bilinear", outputBoundsSRS=crs,
    )  # fmt: skip
    gdal.GetDriverByName(driver).CreateCopy(name, part, options=["ZLEVEL=1"] if driver == "PNG" else [])
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
        document = self._document(asked.path, query)
        if document is not None:
            self._send(document.encode(), "application/json" if document[0] == "{" else "text/xml")
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
            elif fault == "silent":
                self.server.speaks.wait(60)
            self._send(self._picture(asked.path, query, fault), "image/tiff" if "/wcs" in path else "image/png")

    def _document(self, path, query):
        """What describes a service, where that is asked for."""
        request, extent = query.get("request"), _extent(self.server.path)
        if path == "/wmts":
            return service_documents.wmts(self.server.url)
        if request == "DescribeCoverage":
            return service_documents.wcs_coverage(*extent)
        if request == "GetCapabilities":
            return {"/wms": service_documents.wms, "/wcs": service_documents.wcs}[path](self.server.url)
        if query.get("f") in ("json", "pjson"):
            return service_documents.arcgis(*extent[:4], cached="/cached/" in path)
        return None

    def _picture(self, path, query, fault):
        driver = "PNG"
        if "bbox" in query:
            left, bottom, right, top = (float(number) for number in query["bbox"].split(","))
            bounds, crs = (left, bottom, right, top), query.get("crs", "EPSG:3857")
            if crs == "EPSG:4326":  # in WMS 1.3.0 its axes are the other way round
                bounds = (bottom, left, top, right)
            sides = query["size"].split(",") if "size" in query else (query["width"], query["height"])
            size = int(sides[0]), int(sides[1])
            driver = "GTiff" if path == "/wcs" else "PNG"
        else:
            z, x, y = (int(part.split(".")[0]) for part in path.split("/")[-3:])
            x, y = (y, x) if path.startswith("/arcgis") else (x, y)
            side = 2 * WORLD / 2**z
            left, top = x * side - WORLD, WORLD - y * side
            bounds, crs, size = (left, top - side, left + side, top), "EPSG:3857", (256, 256)
        return self.server.picture(bounds, crs, *((8, 8) if fault == "tiny" else size), driver)

    def _send(self, data, kind):
        with contextlib.suppress(OSError):  # whoever asked has gone, as after a cancel
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@functools.cache
def _extent(path):
    """Left, bottom, right, top and the size of a pixel."""
    with LOCK:
        file = gdal.Open(path)
        left, step, _, top, _, _ = file.GetGeoTransform()
        return left, top - step * file.RasterYSize, left + step * file.RasterXSize, top, step


@contextmanager
def serving(path):
    """A server of a GeoTIFF, until the end of the context."""
    server = MapServer(str(path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@contextmanager
def serving_folder(folder):
    """The address of a folder's files, until the end of the context."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def around_middle(side_m):
    """A square in the middle of the sample, in web mercator; its side in that CRS."""
    extent = QgsRasterLayer(str(SAMPLE), "sample").extent()
    return QgsRectangle.fromCenterAndSize(extent.center(), side_m, side_m)
