"""WMS, WMTS and WFS for tests, in a process of their own: GDAL holds Python's lock while it reads.

The argument is a GeoJSON file of features in WGS 84, the parcels of the WFS, which answers two at a time. The pictures
show where they are: red grows by a hundred with each 0.001 degrees of longitude from 32.5 on, green with latitude from
0.35 on. The port is printed first.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyproj
import shapely
from rasterio.io import MemoryFile
from rasterio.transform import from_bounds

FEATURES = json.loads(Path(sys.argv[1]).read_text())["features"]
PAGE = 2
WORLD = 20037508.342789244
TO_DEGREES = pyproj.Transformer.from_crs("EPSG:3857", "EPSG:4326", always_xy=True)
OWS = 'xmlns:ows="http://www.opengis.net/ows/1.1" xmlns:xlink="http://www.w3.org/1999/xlink"'
WMTS = f"""<Capabilities version="1.0.0" xmlns="http://www.opengis.net/wmts/1.0" {OWS}><Contents>
<Layer><ows:Identifier>photo</ows:Identifier><Style isDefault="true"><ows:Identifier>default</ows:Identifier></Style>
<Format>image/png</Format><TileMatrixSetLink><TileMatrixSet>mercator</TileMatrixSet></TileMatrixSetLink>
<ResourceURL format="image/png" resourceType="tile" template="HOST/tiles/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png"/>
</Layer><TileMatrixSet><ows:Identifier>mercator</ows:Identifier>
<ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>{{levels}}</TileMatrixSet></Contents></Capabilities>"""
LEVEL = """<TileMatrix><ows:Identifier>{z}</ows:Identifier><ScaleDenominator>{scale}</ScaleDenominator>
<TopLeftCorner>-{world} {world}</TopLeftCorner><TileWidth>256</TileWidth><TileHeight>256</TileHeight>
<MatrixWidth>{tiles}</MatrixWidth><MatrixHeight>{tiles}</MatrixHeight></TileMatrix>"""
WFS = f"""<wfs:WFS_Capabilities version="2.0.0" xmlns:wfs="http://www.opengis.net/wfs/2.0" {OWS}>
<ows:OperationsMetadata>OPERATIONS
<ows:Constraint name="ImplementsResultPaging"><ows:DefaultValue>TRUE</ows:DefaultValue></ows:Constraint>
</ows:OperationsMetadata><wfs:FeatureTypeList><wfs:FeatureType><wfs:Name>parcels</wfs:Name>
<wfs:DefaultCRS>urn:ogc:def:crs:EPSG::4326</wfs:DefaultCRS></wfs:FeatureType></wfs:FeatureTypeList>
</wfs:WFS_Capabilities>"""
OPERATION = """<ows:Operation name="{name}"><ows:DCP><ows:HTTP><ows:Get xlink:href="HOST/wfs?"/></ows:HTTP></ows:DCP>
<ows:Constraint name="CountDefault"><ows:DefaultValue>{page}</ows:DefaultValue></ows:Constraint></ows:Operation>"""
SCHEMA = """<schema xmlns="http://www.w3.org/2001/XMLSchema" xmlns:gml="http://www.opengis.net/gml/3.2"
targetNamespace="http://example.org">
<element name="parcels" type="parcelsType" substitutionGroup="gml:AbstractFeature"/>
<complexType name="parcelsType"><complexContent><extension base="gml:AbstractFeatureType"><sequence>
<element name="use" type="string"/><element name="shape" type="gml:SurfacePropertyType"/></sequence></extension>
</complexContent></complexType></schema>"""
MEMBER = """<wfs:member><parcels gml:id="{id}"><use>{use}</use><shape>
<gml:Polygon srsName="urn:ogc:def:crs:EPSG::4326" gml:id="shape-{id}"><gml:exterior><gml:LinearRing>
<gml:posList>{places}</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></shape></parcels></wfs:member>"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name.upper(): value for name, value in parse_qsl(address.query)}
        if address.path == "/wms":
            bounds = [float(value) for value in asked["BBOX"].split(",")]
            body = picture(bounds, asked["SRS"], int(asked["WIDTH"]), int(asked["HEIGHT"]))
        elif address.path.startswith("/tiles/"):
            z, x, y = map(int, address.path.removesuffix(".png").split("/")[2:])
            side = 2 * WORLD / 2**z
            left, top = x * side - WORLD, WORLD - y * side
            body = picture([left, top - side, left + side, top], "EPSG:3857", 256, 256)
        else:
            body = (
                (wmts() if address.path == "/wmts" else wfs(asked))
                .replace("HOST", f"http://{self.headers['Host']}")
                .encode()
            )
        self.send_response(200)
        self.send_header("Content-Type", "image/png" if body[1:4] == b"PNG" else "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def picture(bounds: list[float], crs: str, width: int, height: int) -> bytes:
    transform = from_bounds(*bounds, width, height)
    grid = transform @ np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    if crs == "EPSG:3857":
        grid = TO_DEGREES.transform(*grid)
    channels = [np.clip((values - start) * 1e5, 0, 255).round() for values, start in zip(grid, (32.5, 0.35))]
    with MemoryFile() as memory:
        with memory.open(driver="PNG", width=width, height=height, count=3, dtype="uint8") as dataset:
            dataset.write(np.stack([*channels, np.full((height, width), 7)]).astype(np.uint8))
        return bytes(memory.read())


def wmts() -> str:
    levels = [LEVEL.format(z=z, scale=2 * WORLD / 256 / 2**z / 0.00028, world=WORLD, tiles=2**z) for z in range(21)]
    return WMTS.replace("{levels}", "".join(levels))


def wfs(asked: dict[str, str]) -> str:
    kind = asked["REQUEST"]
    if kind == "GetCapabilities":
        names = ("GetCapabilities", "DescribeFeatureType", "GetFeature")
        return WFS.replace("OPERATIONS", "".join(OPERATION.format(name=name, page=PAGE) for name in names))
    if kind == "DescribeFeatureType":
        return SCHEMA
    found = FEATURES
    corners = re.findall(r"Corner>([\d.]+) ([\d.]+)<", asked.get("FILTER", ""))
    if corners:
        (bottom, left), (top, right) = [map(float, corner) for corner in corners]
        box = shapely.box(left, bottom, right, top)
        found = [each for each in FEATURES if box.intersects(shapely.geometry.shape(each["geometry"]))]
    start, count = int(asked.get("STARTINDEX", 0)), min(PAGE, int(asked.get("COUNT", PAGE)))
    page = found[start : start + count]
    members = [
        MEMBER.format(
            id=each["id"], use=each["properties"]["use"],
            places=" ".join(f"{y} {x}" for x, y in each["geometry"]["coordinates"][0]),
        )
        for each in page
    ]  # fmt: skip
    return (
        '<wfs:FeatureCollection xmlns:wfs="http://www.opengis.net/wfs/2.0" xmlns:gml="http://www.opengis.net/gml/3.2" '
        f'numberMatched="{len(found)}" numberReturned="{len(page)}">{"".join(members)}</wfs:FeatureCollection>'
    )


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
