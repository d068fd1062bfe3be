"""How map services describe themselves: what QGIS reads before it asks for pictures. `{url}` is the service's own."""

import json

WORLD = 20037508.342789244
WMS = """<?xml version="1.0" encoding="UTF-8"?>
<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms" xmlns:xlink="http://www.w3.org/1999/xlink">
<Service><Name>WMS</Name><Title>Test</Title><OnlineResource xlink:href="{url}/wms?"/></Service><Capability><Request>
<GetCapabilities><Format>text/xml</Format>
<DCPType><HTTP><Get><OnlineResource xlink:href="{url}/wms?"/></Get></HTTP></DCPType>
</GetCapabilities><GetMap><Format>image/png</Format>
<DCPType><HTTP><Get><OnlineResource xlink:href="{url}/wms?"/></Get></HTTP>
</DCPType></GetMap></Request><Exception><Format>XML</Format></Exception><Layer><Title>Root</Title>
<CRS>EPSG:3857</CRS><CRS>EPSG:4326</CRS><CRS>EPSG:32645</CRS>
<Layer queryable="0"><Name>photo</Name><Title>Photo</Title>
<EX_GeographicBoundingBox><westBoundLongitude>80</westBoundLongitude><eastBoundLongitude>90</eastBoundLongitude>
<southBoundLatitude>20</southBoundLatitude><northBoundLatitude>35</northBoundLatitude></EX_GeographicBoundingBox>
</Layer></Layer></Capability></WMS_Capabilities>"""
WMTS = """<?xml version="1.0" encoding="UTF-8"?>
<Capabilities version="1.0.0" xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1"
 xmlns:xlink="http://www.w3.org/1999/xlink"><ows:ServiceIdentification><ows:Title>Test</ows:Title>
<ows:ServiceType>OGC WMTS</ows:ServiceType><ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion>
</ows:ServiceIdentification><Contents><Layer><ows:Title>Photo</ows:Title><ows:Identifier>photo</ows:Identifier>
<ows:WGS84BoundingBox><ows:LowerCorner>80 20</ows:LowerCorner><ows:UpperCorner>90 35</ows:UpperCorner>
</ows:WGS84BoundingBox><Style isDefault="true"><ows:Identifier>default</ows:Identifier></Style>
<Format>image/png</Format><TileMatrixSetLink><TileMatrixSet>mercator</TileMatrixSet></TileMatrixSetLink>
<ResourceURL format="image/png" resourceType="tile" template="{url}/wmts/{TileMatrix}/{TileCol}/{TileRow}.png"/></Layer>
<TileMatrixSet><ows:Identifier>mercator</ows:Identifier><ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>
{levels}</TileMatrixSet></Contents></Capabilities>"""
LEVEL = """<TileMatrix><ows:Identifier>{z}</ows:Identifier><ScaleDenominator>{scale}</ScaleDenominator>
<TopLeftCorner>{left} {top}</TopLeftCorner><TileWidth>256</TileWidth><TileHeight>256</TileHeight>
<MatrixWidth>{tiles}</MatrixWidth><MatrixHeight>{tiles}</MatrixHeight></TileMatrix>"""
WCS = """<?xml version="1.0" encoding="UTF-8"?>
<WCS_Capabilities version="1.0.0" xmlns="http://www.opengis.net/wcs" xmlns:gml="http://www.opengis.net/gml"
 xmlns:xlink="http://www.w3.org/1999/xlink"><Service><name>WCS</name><label>Test</label></Service>
<Capability><Request>{requests}</Request></Capability><ContentMetadata><CoverageOfferingBrief>{coverage}
</CoverageOfferingBrief></ContentMetadata></WCS_Capabilities>"""
WCS_REQUEST = (
    """<{name}><DCPType><HTTP><Get><OnlineResource xlink:href="{url}/wcs?"/></Get></HTTP></DCPType></{name}>"""
)
WCS_COVERAGE = """<name>photo</name><label>Photo</label><lonLatEnvelope srsName="urn:ogc:def:crs:OGC:1.3:CRS84">
<gml:pos>80 20</gml:pos><gml:pos>90 35</gml:pos></lonLatEnvelope>"""
WCS_DESCRIPTION = """<?xml version="1.0" encoding="UTF-8"?>
<CoverageDescription version="1.0.0" xmlns="http://www.opengis.net/wcs" xmlns:gml="http://www.opengis.net/gml">
<CoverageOffering>{coverage}<domainSet><spatialDomain><gml:Envelope srsName="EPSG:3857">
<gml:pos>{left} {bottom}</gml:pos><gml:pos>{right} {top}</gml:pos></gml:Envelope>
<gml:RectifiedGrid dimension="2"><gml:limits><gml:GridEnvelope><gml:low>0 0</gml:low>
<gml:high>{last_column} {last_row}</gml:high></gml:GridEnvelope></gml:limits><gml:axisName>x</gml:axisName>
<gml:axisName>y</gml:axisName><gml:origin><gml:pos>{left} {top}</gml:pos></gml:origin>
<gml:offsetVector>{step} 0</gml:offsetVector><gml:offsetVector>0 -{step}</gml:offsetVector></gml:RectifiedGrid>
</spatialDomain></domainSet><rangeSet><RangeSet><name>bands</name><label>Bands</label></RangeSet></rangeSet>
<supportedCRSs><requestResponseCRSs>EPSG:3857</requestResponseCRSs><nativeCRSs>EPSG:3857</nativeCRSs></supportedCRSs>
<supportedFormats nativeFormat="GTiff"><formats>GTiff</formats></supportedFormats></CoverageOffering>
</CoverageDescription>"""
INCHES, DOTS_PER_INCH = 39.37, 96


def wms(url: str) -> str:
    return WMS.replace("{url}", url)


def wmts(url: str) -> str:
    levels = [
        LEVEL.format(z=z, scale=2 * WORLD / 256 / 2**z / 0.00028, left=-WORLD, top=WORLD, tiles=2**z) for z in range(21)
    ]
    return WMTS.replace("{url}", url).replace("{levels}", "".join(levels))


def wcs(url: str) -> str:
    names = ("GetCapabilities", "DescribeCoverage", "GetCoverage")
    requests = "".join(WCS_REQUEST.format(name=name, url=url) for name in names)
    return WCS.format(requests=requests, coverage=WCS_COVERAGE)


def wcs_coverage(left: float, bottom: float, right: float, top: float, step: float) -> str:
    return WCS_DESCRIPTION.format(
        coverage=WCS_COVERAGE, left=left, bottom=bottom, right=right, top=top, step=step,
        last_column=round((right - left) / step) - 1, last_row=round((top - bottom) / step) - 1,
    )  # fmt: skip


def arcgis(left: float, bottom: float, right: float, top: float, cached: bool) -> str:
    """A MapServer that draws any extent, or that has tiles only."""
    extent = {"xmin": left, "ymin": bottom, "xmax": right, "ymax": top, "spatialReference": {"wkid": 3857}}
    service = {
        "currentVersion": 10.9, "mapName": "photo", "capabilities": "Map", "singleFusedMapCache": cached,
        "spatialReference": {"wkid": 3857}, "supportedImageFormatTypes": "PNG32,PNG24,JPG", "name": "photo",
        "initialExtent": extent, "fullExtent": extent, "extent": extent, "layers": [{"id": 0, "name": "photo"}],
        "maxImageHeight": 4096, "maxImageWidth": 4096,
    }  # fmt: skip
    if cached:
        steps = [2 * WORLD / 256 / 2**z for z in range(21)]
        lods = [{"level": z, "resolution": s, "scale": s * INCHES * DOTS_PER_INCH} for z, s in enumerate(steps)]
        origin = {"x": -WORLD, "y": WORLD}
        service["tileInfo"] = {
            "rows": 256, "cols": 256, "dpi": DOTS_PER_INCH, "format": "PNG32", "origin": origin,
            "spatialReference": {"wkid": 3857}, "lods": lods,
        }  # fmt: skip
    return json.dumps(service)
