"""Images for a request, of whatever QGIS shows: files as they are, anything else as a picture that is rendered."""

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
from .rendering import Picture
from .sources import PickedRegion, image_of, is_file, require_image

FrozenImage = Union[Image, Picture]
"""A file, or a picture that is to be rendered."""


def is_rendered(source: Optional[ImageSource]) -> bool:
    """Whether it has to be rendered, as the engine cannot open it."""
    return source is not None and source.isValid() and not is_file(source)


def has_end(source: Optional[ImageSource]) -> bool:
    """Whether its extent is that of a picture; a map service goes on and on."""
    return isinstance(source, QgsRasterLayer) and (not is_rendered(source) or source.dataProvider().xSize() > 0)


def planned(source: Optional[ImageSource], gsd_m: float, places: Sequence[QgsGeometry], margin_px: int) -> FrozenImage:
    """The file behind a layer, or the picture of some places that would be rendered. Main thread only.

    Args:
        gsd_m: that is wanted of a picture, in true metres on the ground.
        places: in the CRS of the source.
        margin_px: how far around the places.

    Raises:
        OrthomaskError: there is no such layer, it is broken, or the picture is not possible.
    """
    image = require_image(source)
    if is_file(image):
        return image_of(image)
    return Picture.of(pixels_of(image), gsd_m, places, margin_px)


def pixels_of(source: ImageSource) -> Pixels:
    """Where the pixels of something come from that is no file. Main thread only."""
    if isinstance(source, MapView):
        return source.pixels()
    if isinstance(source, QgsRasterLayer):
        return ProviderPixels.of(source)
    settings = QgsMapSettings()
    settings.setTransformContext(QgsProject.instance().transformContext())
    return MapPixels.of(source.name(), [source], source.crs(), settings)


def places_of(region: Optional[PickedRegion], crs: QgsCoordinateReferenceSystem) -> list[QgsGeometry]:
    """The polygons of a region in another CRS; none for no region.

    Raises:
        OrthomaskError: the region cannot be there.
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
    """The image, moved to where a raster of its pixels goes where it would go away otherwise; any thread.

    Raises:
        OrthomaskError: it cannot be moved there.
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


def with_nodata(image: FrozenImage, value: Optional[float]) -> FrozenImage:
    """The file with a value that is to be no data; a picture says itself where nothing is known."""
    return replace(image, nodata=value) if isinstance(image, Image) else image


def frozen(image: FrozenImage) -> FrozenImage:
    """The image from copies of its layers, for another thread. Main thread only."""
    return image.frozen() if isinstance(image, Picture) else image


def written(image: FrozenImage, folder: Path, feedback: Feedback) -> Image:
    """The file, rendered into the folder where it is none yet; any thread.

    Raises:
        Cancelled: the feedback was cancelled.
        OrthomaskError: it cannot be rendered.
    """
    return image.write(folder, feedback) if isinstance(image, Picture) else image
