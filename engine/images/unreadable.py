"""What a user is told of a raster that cannot be read."""

from __future__ import annotations

import os

from ...protocol import ErrorCode, Image, OrthomaskError
from ...protocol.words import tr


def damaged(name: str, row: int, error: Exception) -> OrthomaskError:
    """The error for a raster of this name that cannot be read around a row."""
    return OrthomaskError(
        ErrorCode.IMAGE_UNREADABLE,
        tr("“{}” is damaged or incomplete: it cannot be read around row {}.").format(name, row),
        tr("Copy or download the file again."),
        str(error.__cause__ or error),
    )


def not_a_raster(image: Image, error: Exception) -> OrthomaskError:
    """The error for what cannot be opened."""
    name = os.path.basename(image.path) or image.path
    if os.path.isfile(image.path) and os.path.getsize(image.path) == 0:
        sentence, remedy = tr("“{}” is empty."), tr("Copy or download the file again.")
    elif os.path.exists(image.path) or image.path.startswith("/vsi") or ":" in image.path[2:]:
        sentence = tr("“{}” cannot be opened as a raster.")
        remedy = tr("Choose a GeoTIFF or another raster that GDAL reads.")
    else:
        sentence, remedy = tr("“{}” does not exist."), tr("Check the path of the image.")
    return OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence.format(name), remedy, str(error))
