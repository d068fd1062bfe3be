"""Where pixels are on the Earth: the CRS of a raster, its transform, and pixel sizes on the ellipsoid."""

from __future__ import annotations

import math
import os
import warnings
from typing import NamedTuple, cast

import numpy as np
import pyproj
import rasterio.transform
from affine import Affine
from pyproj.aoi import AreaOfInterest
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import UTMConversion
from pyproj.database import query_utm_crs_info
from pyproj.transformer import TransformerGroup
from rasterio.io import DatasetReader

from ...protocol import ErrorCode, Image, OrthomaskError
from ...protocol.words import tr

STRETCH = 0.05
"""If the ground size of a CRS's pixels differs by more than this between directions, use a UTM lattice."""
ALIGNED_PX = 1e-3
"""A raster whose rows stray from an axis of its CRS by less than this, over all their length, is unrotated."""
BENT_PX = 1.0
"""Control points may be this far from where one affine transform puts them."""
SPREAD = 0.05
"""A pixel size that differs by more than this between centre and corner is reported."""


class Georeference(NamedTuple):
    """Where a raster is.

    Attributes:
        transform: pixel to CRS coordinates.
        notes: what the user should know.
    """

    crs: pyproj.CRS
    transform: Affine
    notes: tuple[str, ...] = ()


def georeference(dataset: DatasetReader, image: Image) -> Georeference:
    """CRS and transform of a raster, from its control points if it has no transform.

    Raises:
        OrthomaskError: it has no CRS, an unknown one, or nothing says where its pixels are.
    """
    points, own = dataset.gcps
    if not dataset.transform.is_identity or not points:
        if dataset.transform.is_identity:
            raise _unplaced(image, bool(dataset.rpcs))
        return Georeference(_crs(dataset.crs.to_wkt() if dataset.crs else "", image, image.crs), dataset.transform)
    crs = _crs(own.to_wkt() if own else image.crs, image)
    notes: tuple[str, ...] = ()
    if own and image.crs and not _crs(image.crs, image).equals(crs, ignore_axis_order=True):
        notes = (tr("“{}” is placed by its control points, in their own CRS: {}.").format(_name(image), crs.name),)
    transform = rasterio.transform.from_gcps(points)
    inverse = ~transform if transform.determinant else Affine.scale(math.inf)
    off_px = max(math.dist(inverse @ (point.x, point.y), (point.col, point.row)) for point in points)
    if len(points) < 3 or not off_px <= BENT_PX:
        raise OrthomaskError(
            ErrorCode.IMAGE_CRS,
            tr(
                "The control points of “{}” do not fit: one affine transform leaves them up to {:.1f} pixels off."
            ).format(_name(image), off_px),
            tr("Rectify the image first, in QGIS's Georeferencer or with gdalwarp."),
            str(points),
        )
    return Georeference(crs, transform, notes)


def _unplaced(image: Image, has_camera: bool) -> OrthomaskError:
    if has_camera:
        sentence = tr("“{}” is not orthorectified: only a camera model (RPC) says where its pixels lie.")
        remedy = tr("Orthorectify it first with an elevation model, for example with gdalwarp -rpc.")
    else:
        sentence = tr("“{}” is not georeferenced: nothing says where its pixels lie.")
        remedy = tr("Georeference the image first, or put its world file next to it.")
    return OrthomaskError(ErrorCode.IMAGE_CRS, sentence.format(_name(image)), remedy)


def _crs(own: str, image: Image, given: str = "") -> pyproj.CRS:
    try:
        crs = pyproj.CRS.from_user_input(given or own)
    except pyproj.exceptions.CRSError as error:
        raise OrthomaskError(
            ErrorCode.IMAGE_CRS,
            tr("“{}” has no known coordinate reference system.").format(_name(image)),
            tr("Set the layer's CRS in QGIS, or specify it with --crs."),
            str(error),
        ) from error
    if not (crs.is_projected or crs.is_geographic):
        raise OrthomaskError(
            ErrorCode.IMAGE_CRS,
            tr("The coordinate reference system of “{}” is not tied to the Earth.").format(_name(image)),
            tr("Georeference the image first."),
            crs.to_wkt(),
        )
    return crs


def misplaced(image: Image, details: str) -> OrthomaskError:
    """The error for a raster whose coordinates its CRS cannot have."""
    return OrthomaskError(
        ErrorCode.IMAGE_CRS,
        tr("The coordinates of “{}” are not on the Earth.").format(_name(image)),
        tr("Georeference the image first, or assign the coordinate reference system that it is in."),
        details,
    )


def _name(image: Image) -> str:
    return os.path.basename(image.path) or image.path


def ellipsoid(crs: pyproj.CRS) -> tuple[pyproj.CRS, pyproj.Geod]:
    """The geographic CRS behind a CRS, and its ellipsoid, which measures what `degrees` returns."""
    # `georeference` lets only projected and geographic CRSs pass, which have both
    return cast(pyproj.CRS, crs.geodetic_crs), cast(pyproj.Geod, crs.get_geod())


def degrees(places: np.ndarray, crs: pyproj.CRS) -> np.ndarray:
    """Longitudes and latitudes `(2, N)` in degrees, from the prime meridian of the CRS, of places `(N, 2)`."""
    geographic, _ = ellipsoid(crs)
    transformer = pyproj.Transformer.from_crs(crs, geographic, always_xy=True)
    found: np.ndarray = np.array(transformer.transform(*places.T)[:2]) * angle_unit(geographic, 180 / math.pi)
    return found


def angle_unit(crs: pyproj.CRS, radian: float) -> float:
    """One unit of a geographic CRS, if a radian is `radian`."""
    return float(crs.axis_info[0].unit_conversion_factor * radian)


def full_turn(crs: pyproj.CRS) -> float:
    """The length of the equator in a CRS: 360 for degrees, 400 for grads; 0 if coordinates are not angles."""
    return 360 / angle_unit(crs, 180 / math.pi) if crs.is_geographic else 0.0


def ground(crs: pyproj.CRS, transform: Affine, column: float, row: float) -> np.ndarray:
    """Metres east and north `(2, 2)` that a step of one pixel along columns and along rows covers, at a place.

    Row 0 is east, row 1 north; on the CRS's ellipsoid.
    """
    _, geod = ellipsoid(crs)
    steps = ((-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5))
    places = np.array([transform @ (column + x, row + y) for x, y in steps])
    longitudes, latitudes = degrees(places, crs)
    azimuths, _, lengths = geod.inv(longitudes[::2], latitudes[::2], longitudes[1::2], latitudes[1::2])
    found: np.ndarray = np.array([np.sin(np.radians(azimuths)), np.cos(np.radians(azimuths))]) * lengths
    return found


def stretch(jacobian: np.ndarray) -> tuple[float, float]:
    """The largest and the smallest ground size of a pixel, over all directions: singular values of `ground`."""
    if not np.isfinite(jacobian).all():
        return math.inf, math.inf
    largest, smallest = np.linalg.svd(jacobian, compute_uv=False)
    return float(largest), float(smallest)


def is_stretched(crs: pyproj.CRS, center: tuple[float, float]) -> bool:
    """Whether squares in the CRS are not square on the ground around a place."""
    if not crs.is_projected:
        return True
    largest, smallest = stretch(ground(crs, Affine.identity(), *center))
    return not largest <= smallest * (1 + STRETCH)


def spread(crs: pyproj.CRS, transform: Affine, width: int, height: int) -> tuple[str, ...]:
    """A note if pixels at a corner of a raster differ in ground size from those in the middle."""
    places = ((width / 2, height / 2), (0, 0), (width, 0), (0, height), (width, height))
    areas = [abs(float(np.linalg.det(ground(crs, transform, *place)))) for place in places]
    sizes = [math.sqrt(area) for area in areas if 0 < area < math.inf]
    if max(sizes) / sizes[0] <= 1 + SPREAD and min(sizes) / sizes[0] >= 1 - SPREAD:
        return ()
    words = tr("Pixels are {:.3g} m in the middle of the image, but {:.3g} m to {:.3g} m at its corners.")
    return (words.format(sizes[0], min(sizes), max(sizes)),)


def is_aligned(transform: Affine, width: int, height: int) -> bool:
    """Whether a raster's pixels follow the axes of its CRS, possibly mirrored or rotated by quarter turns."""
    a, b, _, d, e, _ = transform[:6]
    plain = abs(b) * height <= ALIGNED_PX * abs(a) and abs(d) * width <= ALIGNED_PX * abs(e)
    swapped = abs(a) * width <= ALIGNED_PX * abs(b) and abs(e) * height <= ALIGNED_PX * abs(d)
    return bool(plain or swapped)


def north_up(crs: pyproj.CRS, bounds: tuple[float, float, float, float], x_size: float, y_size: float) -> Affine:
    """The transform of north-up pixels from the corner of bounds; some CRSs count westwards and southwards."""
    left, bottom, right, top = bounds
    directions = {axis.direction for axis in crs.axis_info}
    if "west" in directions and "south" in directions:
        return Affine(-x_size, 0, right, 0, y_size, bottom)
    return Affine(x_size, 0, left, 0, -y_size, top)


def is_plain(geographic: pyproj.CRS) -> bool:
    """Whether a geographic CRS counts degrees from Greenwich."""
    meridian = geographic.prime_meridian
    return abs(angle_unit(geographic, 180 / math.pi) - 1) < 1e-9 and (meridian is None or meridian.longitude == 0)


def utm(crs: pyproj.CRS, center: tuple[float, float]) -> pyproj.CRS:
    """The UTM zone of a place; near the poles, where there is none, Universal Polar Stereographic.

    It uses the datum of the CRS, so that nothing shifts, unless that CRS counts grads or from another meridian.
    """
    x, latitude = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*center)
    longitude = (x + 180) % 360 - 180
    if not math.isfinite(longitude + latitude):
        return crs
    zones = query_utm_crs_info("WGS 84", AreaOfInterest(longitude, latitude, longitude, latitude))
    if not zones:
        return pyproj.CRS.from_authority("EPSG", "5041" if latitude > 0 else "5042")
    geographic = ellipsoid(crs)[0].to_2d()
    known = pyproj.CRS.from_authority("EPSG", zones[0].code)
    if geographic.equals(known.geodetic_crs, ignore_axis_order=True) or not is_plain(geographic):
        return known
    zone = zones[0].name.rpartition(" ")[2]
    for info in query_utm_crs_info(geographic.name):
        if info.name == f"{geographic.name} / UTM zone {zone}":
            return pyproj.CRS.from_authority(info.auth_name, info.code)
    return ProjectedCRS(UTMConversion(zone[:-1], zone[-1]), f"{geographic.name} / UTM zone {zone}", None, geographic)


def centred(crs: pyproj.CRS, transform: Affine, center: tuple[float, float]) -> tuple[str, Affine]:
    """A geographic CRS without datum, in degrees from the meridian of a place, and a transform into it.

    It keeps a raster whole for GDAL that crosses 180° or has longitudes up to 360°.
    """
    geographic, geod = ellipsoid(crs)
    degree = angle_unit(geographic, 180 / math.pi)
    text = f"+proj=longlat +a={geod.a!r} +b={geod.b!r} +pm={center[0] * degree!r} +no_defs"
    return text, Affine.scale(degree) @ Affine.translation(-center[0], 0) @ transform


def doubt(source: pyproj.CRS, target: pyproj.CRS, bounds: tuple[float, float, float, float]) -> tuple[str, ...]:
    """A warning, with the size of the error, if the shift between two CRSs is only roughly known here.

    PROJ then silently uses a rougher operation; see its `TransformerGroup`.

    Args:
        bounds: of the place, in `target`.
    """
    left, bottom, right, top = bounds
    place = pyproj.Transformer.from_crs(target, "EPSG:4326", always_xy=True).transform(
        (left + right) / 2, (bottom + top) / 2
    )
    if not all(map(math.isfinite, place)):
        return ()
    longitude, latitude = (place[0] + 180) % 360 - 180, place[1]
    around = AreaOfInterest(longitude, latitude, longitude, latitude)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says only that a grid is missing
        ways = TransformerGroup(source, target, always_xy=True, area_of_interest=around)  # type: ignore[arg-type]
    guessed = bool(ways.transformers) and "Ballpark" in ways.transformers[0].description
    alike = abs(ellipsoid(source)[1].a - ellipsoid(target)[1].a) < 1
    if not ways.transformers or (ways.best_available and (alike or not guessed)):
        return ()
    accuracy = ways.transformers[0].accuracy
    missing = ways.unavailable_operations[0] if ways.unavailable_operations else None
    grids = ", ".join(grid.short_name for grid in missing.grids if not grid.available) if missing else ""
    places = tr("The datum shift from {} to {} is known only to {:g} m here.").format(
        source.name, target.name, accuracy
    )
    if accuracy <= 0:
        places = tr(
            "The datum shift from {} to {} is not known here: positions can be off by hundreds of metres."
        ).format(source.name, target.name)
    return (" ".join([places, tr("The grid {} is missing.").format(grids)]) if grids else places,)
