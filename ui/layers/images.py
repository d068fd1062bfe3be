"""Images for a request, from anything QGIS shows: files directly, all else as a rendered picture."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional, Union

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
)

from ...protocol import ErrorCode, Image, OrthomaskError
from ..client.engine_client import Feedback
from ..toolkit.words import tr
from .map_view import ImageSource, MapView
from .pixels import MapPixels, Pixels, ProviderPixels
from .reading import Reading, reading_of
from .rendering import Picture
from .sources import PickedRegion, image_of, is_file, require_image

FrozenImage = Union[Image, Picture]
"""A file, or a picture to render."""


def is_rendered(source: Optional[ImageSource]) -> bool:
    """Whether it must be rendered because the engine cannot open it."""
    return source is not None and source.isValid() and not is_file(source)


def is_drawn(source: Optional[ImageSource]) -> bool:
    """Whether it comes as a picture in colours, not as bands."""
    return source is not None and is_rendered(source) and pixels_of(source).color


def has_end(source: Optional[ImageSource]) -> bool:
    """Whether its extent is finite; a map service has no end."""
    return isinstance(source, QgsRasterLayer) and (not is_rendered(source) or source.dataProvider().xSize() > 0)


def planned(source: Optional[ImageSource], gsd_m: float, places: Sequence[QgsGeometry], margin_px: int) -> FrozenImage:
    """The file behind a layer, or the picture of some places to render. Main thread only.

    Args:
        gsd_m: wanted for a picture, in true metres on the ground.
        places: in the CRS of the source.
        margin_px: around the places.

    Raises:
        OrthomaskError: there is no layer, it is broken, or the picture cannot be rendered.
    """
    image = require_image(source)
    if is_file(image):
        return image_of(image)
    return Picture.of(pixels_of(image), gsd_m, places, margin_px)


def pixels_of(source: ImageSource) -> Pixels:
    """Where a non-file image's pixels come from. Main thread only."""
    if isinstance(source, MapView):
        return source.pixels()
    if isinstance(source, QgsRasterLayer):
        return ProviderPixels.of(source)
    settings = QgsMapSettings()
    settings.setTransformContext(QgsProject.instance().transformContext())
    return MapPixels.of(source.name(), [source], source.crs(), settings)


def places_of(region: Optional[PickedRegion], crs: QgsCoordinateReferenceSystem) -> list[QgsGeometry]:
    """The polygons of a region in another CRS; none for None.

    Raises:
        OrthomaskError: it cannot be transformed.
    """
    if region is None:
        return []
    geometry = QgsGeometry(region.geometry)
    box = geometry.boundingBox()
    geometry = geometry.densifyByDistance(max(box.width(), box.height()) / 20)
    try:
        geometry.transform(QgsCoordinateTransform(region.crs, crs, QgsProject.instance()))
    except QgsCsException as error:
        sentence, remedy = tr("The region does not overlap the layer."), tr("Draw it on the layer.")
        raise OrthomaskError(ErrorCode.REGION_OUTSIDE, sentence, remedy, str(error)) from error
    return geometry.asGeometryCollection()


def kept_beside(image: Image, path: str) -> Image:
    """The image; a rendered one is saved from deletion by moving it next to the raster `path`. Any thread.

    Raises:
        OrthomaskError: it cannot be moved.
    """
    if image.rendered is None:
        return image
    target = Path(path).with_name(f"{Path(path).stem}-image.tif")
    try:
        shutil.move(image.path, target)
    except OSError as error:
        sentence = tr("The rendered image of {} cannot be written.")
        remedy = tr("Choose a folder that you can write to.")
        raise OrthomaskError(
            ErrorCode.OUTPUT_UNWRITABLE, sentence.format(image.rendered.name), remedy, str(error)
        ) from error
    return replace(image, path=str(target))


def read_as_chosen(image: FrozenImage, source: Optional[ImageSource], names: Sequence[str] = ()) -> FrozenImage:
    """The image of a layer, read as chosen for the layer. Main thread only.

    Args:
        names: of the bands that are read; empty for any.
    """
    return read_as(image, reading_of(source).fitting(names))


def read_as(image: FrozenImage, reading: Reading) -> FrozenImage:
    """The image, read like this; a picture in colours has no other bands, and marks its own unknown pixels."""
    if isinstance(image, Image):
        return reading.applied(image)
    return replace(image, reading=Reading(second=reading.second) if image.pixels.color else reading)


def frozen(image: FrozenImage) -> FrozenImage:
    """The image with copies of its layers, for another thread. Main thread only."""
    return image.frozen() if isinstance(image, Picture) else image


def written(image: FrozenImage, folder: Path, feedback: Feedback) -> Image:
    """The file, rendered into the folder if necessary; any thread.

    Raises:
        Cancelled: the feedback was cancelled.
        OrthomaskError: it cannot be rendered.
    """
    return image.write(folder, feedback) if isinstance(image, Picture) else image
