"""What is explained: an object, or a spot, in the window of the image that the model sees around it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pyproj
import rasterio.features
import torch
from affine import Affine
from scipy import ndimage
from shapely import Geometry, Point

from ...protocol import WINDOW_PX, ClassInfo, ErrorCode, ExplainRequest, OrthomaskError, Region
from ...protocol.words import tr
from ..compute.devices import Predictor
from ..images import regions
from ..images.grid import Lattice, Window
from ..images.raster import Source, open_reader
from ..models.bundle import Bundle
from ..progress import Progress
from ..waiting import patiently

SPOT_PX = 1
"""A spot reaches this far around its place: 3 x 3 pixels."""
WIDER, LEAST_PX = 3, 128
"""The surroundings are this many times as wide as the object, and at least this wide."""


class Place(NamedTuple):
    """Where to look, in pixels of the lattice: a place, and the object's outline, or None."""

    x: float
    y: float
    outline: Geometry | None


class View(NamedTuple):
    """A window of the image, as the model sees it.

    Attributes:
        pixels: `(bands, H, W)`, normalised, 0 without data; height and width suit the network.
        valid: where there is data `(H, W)`.
        probabilities: of each class `(K, H, W)`, 0 to 1.
    """

    lattice: Lattice
    window: Window
    pixels: np.ndarray
    valid: np.ndarray
    probabilities: np.ndarray


class Subject(NamedTuple):
    """What is explained in a view.

    Attributes:
        inside: its pixels `(H, W)`.
        confidence: their mean probability of the class, 0 to 1.
        around: the pixels of the view that are its surroundings, all of them on the image.
        is_object: False for a spot where the model finds nothing.
        is_cut: whether it is larger than the view.
    """

    inside: np.ndarray
    info: ClassInfo
    confidence: float
    around: Window
    is_object: bool
    is_cut: bool


def locate(request: ExplainRequest, source: Source, lattice: Lattice) -> tuple[Place, tuple[str, ...]]:
    """Find the place on the lattice, and what the user should know about that.

    Raises:
        OrthomaskError: the CRS is not known, or the place or the object is not on the image.
    """
    crs = regions.named_crs(request.crs) if request.crs else source.crs
    outline, notes = _outline(request, crs, lattice) if request.object_wkt else (None, ())
    if outline is not None and not (math.isfinite(request.x) and math.isfinite(request.y)):
        inner = outline.representative_point()
        return Place(inner.x, inner.y, outline), notes
    middle = lattice.transform @ (lattice.width_px / 2, lattice.height_px / 2)
    point = regions.reprojected(Point(request.x, request.y), crs, lattice.crs, middle[0])
    x, y = ~lattice.transform @ (point.x, point.y) if math.isfinite(point.x + point.y) else (-1.0, -1.0)
    if not (0 <= x < lattice.width_px and 0 <= y < lattice.height_px):
        raise OrthomaskError(
            ErrorCode.REGION_OUTSIDE,
            tr("This place is outside the image."),
            tr("Choose a place on the image; check its CRS."),
        )
    return Place(x, y, outline), notes


def _outline(request: ExplainRequest, crs: pyproj.CRS, lattice: Lattice) -> tuple[Geometry, tuple[str, ...]]:
    try:
        return regions.to_lattice(Region(request.object_wkt, crs.to_wkt()), lattice)
    except OrthomaskError as error:
        raise OrthomaskError(
            error.code,
            tr("The object is not a polygon on this image."),
            tr("Choose an object on the image; check the CRS of both."),
            error.sentence,
        ) from error


def look(
    place: Place, source: Source, lattice: Lattice, bundle: Bundle, predictor: Predictor, divisor: int,
    progress: Progress,
) -> View:  # fmt: skip
    """Read and predict a window as large as a run's, with the place, or the object if it fits, in the middle.

    It begins on the image, at a whole step of the network's coarsest level, as a run's windows do.

    Args:
        divisor: of the network.

    Raises:
        OrthomaskError: the image is damaged.
    """
    side = math.ceil(WINDOW_PX / divisor) * divisor
    left, top, right, bottom = place.outline.bounds if place.outline else (place.x, place.y, place.x, place.y)
    fits = max(right - left, bottom - top) < side
    middle = ((left + right) / 2, (top + bottom) / 2) if fits else (place.x, place.y)
    x, y = (max(0, round((centre - side / 2) / divisor) * divisor) for centre in middle)
    window = Window(x, y, side, side)
    numbers = source.bands([band.name for band in bundle.card.bands])
    with open_reader(source, lattice, numbers) as reader:
        read, valid = patiently(lambda: reader.read(window), progress)
    pixels = bundle.normalise(read, valid)
    found = predictor(torch.from_numpy(pixels)[None])[0].float().cpu().numpy()
    return View(lattice, window, pixels, valid, found)


def find(view: View, place: Place, classes: tuple[ClassInfo, ...], threshold: float, value: int) -> Subject:
    """The object with an outline, or the one that the model finds at the place, or a spot there.

    Args:
        value: of the class; 0 for the most probable one.

    Raises:
        OrthomaskError: there is no data.
    """
    spot = int(place.y) - view.window.y, int(place.x) - view.window.x
    inside = _drawn(view, place.outline) if place.outline else _spot(view, spot)
    inside &= view.valid
    if not inside.any():
        raise OrthomaskError(
            ErrorCode.IMAGE_EMPTY,
            tr("The image has no data at this place."),
            tr("Choose a place where the image has data."),
        )
    value = value or int(view.probabilities[:, inside].mean(axis=1).argmax()) + 1
    is_object = place.outline is not None
    if not is_object:
        found = _found(view, spot, threshold, value)
        is_object, inside = bool(found.any()), found if found.any() else inside
    confidence = float(view.probabilities[value - 1][inside].mean())
    return Subject(inside, classes[value - 1], confidence, _around(inside, view), is_object, _is_cut(inside, view))


def _drawn(view: View, outline: Geometry) -> np.ndarray:
    """The pixels of an outline; of one that is thinner than a pixel, those that it touches."""
    place, shape = Affine.translation(view.window.x, view.window.y), view.valid.shape
    inside = rasterio.features.geometry_mask([outline], shape, place, invert=True)
    touched = rasterio.features.geometry_mask([outline], shape, place, all_touched=True, invert=True)
    return np.asarray(inside if inside.any() else touched)


def _spot(view: View, spot: tuple[int, int]) -> np.ndarray:
    inside = np.zeros(view.valid.shape, bool)
    if view.valid[spot]:
        row, column = spot
        rows = slice(max(0, row - SPOT_PX), row + SPOT_PX + 1)
        inside[rows, max(0, column - SPOT_PX) : column + SPOT_PX + 1] = True
    return inside


def _found(view: View, spot: tuple[int, int], threshold: float, value: int) -> np.ndarray:
    """The connected pixels of a class around a spot; none if it is not found there."""
    probable = (view.probabilities.argmax(axis=0) == value - 1) & (view.probabilities[value - 1] >= threshold)
    parts, _ = ndimage.label(probable & view.valid)
    return np.asarray((parts == parts[spot]) & (parts > 0))


def _around(inside: np.ndarray, view: View) -> Window:
    """The object's surroundings: a square in its middle, cut at the edges of image and view."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    width, height = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
    side = min(view.window.width, max(LEAST_PX, WIDER * max(width, height)))
    x, y = (max(0, int(span[0] + span[-1] + 1 - side) // 2) for span in (columns, rows))
    right = min(x + side, view.window.width, view.lattice.width_px - view.window.x)
    bottom = min(y + side, view.window.height, view.lattice.height_px - view.window.y)
    return Window(x, y, right - x, bottom - y)


def _is_cut(inside: np.ndarray, view: View) -> bool:
    """Whether it reaches an edge of the view that is not one of the image."""
    window, lattice = view.window, view.lattice
    return bool(
        (inside[0].any() and window.y > 0)
        or (inside[:, 0].any() and window.x > 0)
        or (inside[-1].any() and window.y + window.height < lattice.height_px)
        or (inside[:, -1].any() and window.x + window.width < lattice.width_px)
    )
