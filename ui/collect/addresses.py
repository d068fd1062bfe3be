"""Where the engine fetches the imagery of a raster layer from: its address, and apart from it the keys."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlencode

from qgis.core import QgsDataSourceUri, QgsRasterLayer

from ...protocol import ErrorCode, OrthomaskError
from ..layers.credentials import keys_apart, without_access
from ..layers.sources import image_of, is_file, require_image
from ..toolkit.words import tr

CORNERS = ("xMinimum", "yMinimum", "xMaximum", "yMaximum")


class Address(NamedTuple):
    """Tiles by `{z}`, `{x}` and `{y}`, or what GDAL opens; `access` as in the protocol's `Imagery`."""

    url: str
    access: dict[str, str]


def address_of(layer: QgsRasterLayer) -> Address:
    """The address behind a layer. Main thread only.

    Raises:
        OrthomaskError: the layer is broken, needs what only QGIS has, or is neither XYZ, WMS, WMTS nor a file.
    """
    require_image(layer)
    if is_file(layer):
        image = image_of(layer)
        return Address(image.path, image.access)
    uri = QgsDataSourceUri()
    uri.setEncodedUri(layer.source())
    if layer.providerType() != "wms" or uri.param("authcfg"):
        sentence = tr("The images of {} cannot be collected: only QGIS can open the layer.").format(layer.name())
        remedy = tr("Choose XYZ tiles, a WMS, a WMTS or a file without QGIS's authentication, or enter an address.")
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy)
    bare, access = typed(uri.param("url"))
    password = uri.param("password")
    if password:
        access["GDAL_HTTP_USERPWD"] = f"{uri.param('username')}:{password}"
    referer = uri.param("http-header:referer") or uri.param("referer")
    if referer:
        access["GDAL_HTTP_REFERER"] = referer
    return Address(_service(layer, uri, bare), access)


def typed(url: str) -> Address:
    """An address as a person enters it, its keys apart."""
    bare, signed = without_access(url, url)
    address, keys = keys_apart(bare)
    return Address(address, {**signed, **keys})


def levels_in(text: str) -> tuple[int, ...]:
    """The zoom levels in a text such as `17, 18`, coarsest first; none for a raster's own resolution.

    Raises:
        OrthomaskError: they are not whole numbers.
    """
    texts = [part for part in re.split(r"[,;\s]+", text) if part]
    if not all(part.isdecimal() and part.isascii() for part in texts):
        sentence = tr("“{}” is not a list of zoom levels.").format(text)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Write whole numbers, such as 17, 18."))
    return tuple(sorted({int(part) for part in texts}))


def _service(layer: QgsRasterLayer, uri: QgsDataSourceUri, url: str) -> str:
    """Tiles by their own address, WMS and WMTS in GDAL's words."""
    if uri.param("type") == "xyz":
        return url
    if uri.param("tileMatrixSet"):
        style = f",style={uri.param('styles')}" if uri.param("styles") else ""
        return f"WMTS:{url},layer={uri.param('layers')},tilematrixset={uri.param('tileMatrixSet')}{style}"
    extent = layer.extent()
    asked = {
        "SERVICE": "WMS",
        "VERSION": "1.1.1",
        "REQUEST": "GetMap",
        "LAYERS": ",".join(uri.params("layers")),
        "STYLES": ",".join(uri.params("styles")),
        "SRS": uri.param("crs") or layer.crs().authid(),
        "FORMAT": uri.param("format") or "image/png",
        "BBOX": ",".join(repr(getattr(extent, corner)()) for corner in CORNERS),
    }
    return f"WMS:{url}{'&' if '?' in url else '?'}{urlencode(asked, safe=',:/')}"
