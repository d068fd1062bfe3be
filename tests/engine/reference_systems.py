"""Forty coordinate reference systems that differ in whatever they can, and a place in each."""

from __future__ import annotations

from typing import NamedTuple

import pyproj


class Place(NamedTuple):
    """A CRS by anything that pyproj reads, and longitude and latitude of a place in it, in degrees from Greenwich."""

    crs: str
    longitude: float
    latitude: float


CUSTOM_WKT = pyproj.CRS("+proj=lcc +lat_1=46 +lat_2=48 +lat_0=47 +lon_0=9 +ellps=GRS80 +units=ft").to_wkt("WKT1_GDAL")
PLACES = (
    Place("EPSG:32632", 9.5, 47), Place("EPSG:32760", 179.9, -17), Place("EPSG:25832", 9.5, 47),
    Place("EPSG:3857", 9.5, 69.5), Place("EPSG:4326", 9.5, 60), Place("EPSG:4326", 179.9999, -17),
    Place("EPSG:4326", -179.99995, 66), Place("EPSG:4258", 9.5, 47), Place("EPSG:4269", -93, 40),
    Place("EPSG:4267", -93, 40), Place("EPSG:4284", 179.9999, 66), Place("EPSG:4807", 2.5, 47),
    Place("EPSG:27572", 2.5, 47), Place("EPSG:2154", 2.5, 47), Place("EPSG:27700", -1.5, 52.5),
    Place("EPSG:28992", 5.4, 52.1), Place("EPSG:31467", 9.5, 49), Place("EPSG:2056", 8, 47),
    Place("EPSG:2263", -73.9, 40.7), Place("EPSG:6539", -73.9, 40.7), Place("EPSG:2225", -122, 40.5),
    Place("EPSG:2193", 173, -41), Place("EPSG:2053", 29.5, -26), Place("EPSG:2048", 19.2, -33),
    Place("EPSG:5514", 15, 50), Place("EPSG:3031", 45, -80), Place("EPSG:3413", -45, 75), Place("EPSG:5041", 30, 85),
    Place("EPSG:3035", 10, 52), Place("EPSG:5070", -96, 40), Place("EPSG:4087", 9.5, 47),
    Place("EPSG:25832+5783", 9.5, 49), Place("ESRI:102003", -96, 40), Place("ESRI:54008", 60, 45),
    Place("+proj=utm +zone=32 +datum=WGS84 +units=ft +no_defs", 9.5, 47),
    Place("+proj=utm +zone=32 +datum=WGS84 +units=us-ft +no_defs", 9.5, 47),
    Place("+proj=utm +zone=59 +south +ellps=GRS80 +units=km +no_defs", 171, -20),
    Place("+proj=tmerc +lat_0=0 +lon_0=9 +k=0.9996 +x_0=500000 +ellps=bessel +towgs84=598,73,418,0,0,0,0", 9.2, 49),
    Place("+proj=laea +lat_0=47 +lon_0=9 +a=6370000 +b=6370000 +units=m +no_defs", 9.3, 47.2),
    Place(CUSTOM_WKT, 9.2, 47.2),
)  # fmt: skip
"""Metres, feet of both kinds, kilometres, degrees and grads; Greenwich and Paris; north, south and west; spheres."""
