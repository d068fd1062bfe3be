"""Random georeferences through the real read and blend path, against plain numpy and geodesics."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_systems import PLACES
from test_crs_round_trip import xy

from conftest import scene
from orthomask.engine import predict
from orthomask.engine.images.georeference import degrees, ellipsoid, full_turn, ground, is_stretched
from orthomask.engine.images.grid import Lattice, Window, select
from orthomask.engine.images.raster import open_image, open_reader
from orthomask.engine.images.regions import reprojected, transformed
from orthomask.engine.progress import Progress
from orthomask.engine.runs import runs
from orthomask.engine.shapes.measure import measured
from orthomask.protocol import Image

GSD_M = 0.5
EXAMPLES = settings.default.max_examples if settings.default else 100
PLAIN = tuple(place for place in PLACES if not is_stretched(pyproj.CRS.from_user_input(place.crs), xy(place)))
"""Those in which pixels of equal sides are read as they are."""
QUARTERS = tuple(Affine.rotation(90 * turn) @ Affine.scale(1, mirror) for turn in range(4) for mirror in (1, -1))


def pixel(crs: pyproj.CRS, at: tuple[float, float]) -> Affine:
    """A pixel of GSD_M on the ground at a place, along the axes of the CRS."""
    tiny = Affine.translation(*at) @ Affine.scale(1e-6 if crs.is_geographic else 1)
    x, y = np.hypot(*ground(crs, tiny, 0, 0)) / tiny.a
    return Affine.scale(GSD_M / float(x), -GSD_M / float(y))


def added(path: Path, crs: str) -> tuple[np.ndarray, Lattice, tuple[float, float]]:
    """What a network that adds 1 makes of the first band `(H, W)`, the lattice, and the middle of the raster."""
    with open_image(Image(str(path), crs)) as source:
        lattice = source.lattice(GSD_M, 64, 16)
        with open_reader(source, lattice, (1,)) as reader:

            def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
                pixels, valid = reader.read(window)
                return pixels.astype(np.float32) / runs.SCALE, valid

            found = predict.strips(
                lattice, select(lattice, None), read, lambda windows: windows + 1 / runs.SCALE, 1, Progress()
            )
            return np.concatenate([strip.probabilities[0] for strip in found]), lattice, source.center


def write(folder: str, pixels: np.ndarray, crs: pyproj.CRS, transform: Affine) -> Path:
    path = Path(folder) / "image.tif"
    height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=height, width=width, dtype="uint8", crs=crs.to_wkt(),
        transform=transform,
    ) as dataset:  # fmt: skip
        dataset.write(pixels, 1)
    return path


@settings(max_examples=EXAMPLES // 8, deadline=None)
@given(st.sampled_from(PLAIN), st.sampled_from(QUARTERS), st.integers(1, 90), st.integers(1, 90))
def test_grids_that_need_no_resampling_equal_numpy(place, turn, height, width):
    crs, pixels = pyproj.CRS.from_user_input(place.crs), scene(height, width)[0] // 2
    transform = Affine.translation(*xy(place)) @ pixel(crs, xy(place)) @ turn
    with tempfile.TemporaryDirectory() as folder:
        found, lattice, _ = added(write(folder, pixels, crs, transform), "")
    columns, rows = np.meshgrid(np.arange(lattice.width_px) + 0.5, np.arange(lattice.height_px) + 0.5)
    column, row = ~transform @ lattice.transform @ (columns, rows)
    assert found.size == pixels.size
    np.testing.assert_array_equal(found, pixels[np.floor(row).astype(int), np.floor(column).astype(int)] + 1)


@settings(max_examples=EXAMPLES // 7, deadline=None)
@given(
    st.sampled_from(PLACES), st.floats(0, 360), st.floats(-30, 30), st.floats(0.6, 1.3), st.floats(0.6, 1.3),
    st.sampled_from([1, -1]), st.integers(0, 2),
)  # fmt: skip
def test_objects_lie_and_measure_what_geodesics_say(place, angle, shear, x_size, y_size, mirror, turns):
    crs = pyproj.CRS.from_user_input(place.crs)
    x, y = xy(place)
    if turns and crs.is_geographic:
        x += (turns - 1) * full_turn(crs)
    shape = Affine.rotation(angle) @ Affine.shear(shear) @ Affine.scale(x_size, y_size * mirror)
    transform = Affine.translation(x, y) @ pixel(crs, (x, y)) @ shape
    pixels = np.full((60, 80), 10, np.uint8)
    pixels[15:45, 20:65] = 200
    with tempfile.TemporaryDirectory() as folder:
        found, lattice, center = added(write(folder, pixels, crs, transform), "")
    bright = ((found > 105) & (found != runs.NODATA)).astype(np.uint8)
    outlines = [shapely.geometry.shape(shape) for shape, _ in rasterio.features.shapes(bright, bright > 0)]
    assert outlines
    lies = transformed(shapely.union_all(outlines), lattice.transform)
    lies = reprojected(lies, lattice.crs, crs, center[0])
    expected = transformed(shapely.segmentize(shapely.box(20, 15, 65, 45), 1), transform)
    geod, (area, length) = ellipsoid(crs)[1], geodesic(expected, crs)
    places = degrees(np.array([lies.centroid.coords[0], expected.centroid.coords[0]]), crs)
    assert geod.inv(*places[:, 0], *places[:, 1])[2] < GSD_M
    assert abs(measured(np.array([lies]), crs)[0][0] - area) < length * GSD_M / 2
    assert lies.distance(expected) == 0, "longitudes are counted as in the image"


def geodesic(polygon: shapely.Polygon, crs: pyproj.CRS) -> tuple[float, float]:
    turned = shapely.transform(polygon, lambda places: degrees(places, crs).T)
    area, length = ellipsoid(crs)[1].geometry_area_perimeter(turned)
    return abs(area), length
