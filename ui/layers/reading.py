"""How an image is read where the user has chosen it: bands, stretch, no data, second image; kept with its layer."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from qgis.core import (
    QgsContrastEnhancement,
    QgsMultiBandColorRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsSingleBandGrayRenderer,
)
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ...protocol import Image, OrthomaskError, from_json, to_json
from ...protocol.words import SECOND
from .sources import image_of, is_file

PROPERTY = "orthomask/reading"
"""Custom property of a layer, as JSON."""
CUT = (0.02, 0.98)
"""Shares of pixels below and above the limits of a band that the layer does not show, as in QGIS's own cut."""


@dataclass(frozen=True)
class Reading:
    """How an image is read; what is empty is left to the engine.

    Attributes:
        bands: their numbers, or names, in the order of the model; `SECOND` is before those of the second image.
        stretch: a low and a high value for each of the bands, or for all.
        nodata: used if the image itself marks no missing data.
        second: the second image.
    """

    bands: tuple[str, ...] = ()
    stretch: tuple[float, ...] = ()
    nodata: Optional[float] = None
    second: Optional[Image] = None

    def fitting(self, names: Sequence[str]) -> Reading:
        """The same, without what does not suit the bands that are read, by their names; empty for any."""
        count = len(names)
        fits = len(self.bands) in (0, count) and len(self.stretch) in (0, 2, 2 * count)
        alone = count > 0 and not any(name.startswith(SECOND) for name in names)
        suited = self if count == 0 or fits else Reading(nodata=self.nodata, second=self.second)
        return replace(suited, second=None) if alone else suited

    def applied(self, image: Image) -> Image:
        """The image, read like this."""
        bands = self.bands or image.bands
        return replace(image, bands=bands, stretch=self.stretch, nodata=self.nodata, second=self.second)


class ReadingNews(QObject):
    """Announces that a layer is read differently, to all panels."""

    changed = pyqtSignal()


reading_news = ReadingNews()


def reading_of(layer: object) -> Reading:
    """What was chosen for a layer; nothing for what is not a raster layer. Main thread only."""
    stored = layer.customProperty(PROPERTY) if isinstance(layer, QgsRasterLayer) else None
    try:
        values = json.loads(stored or "{}")
        second = from_json(Image, values["second"]) if values.get("second") else None
        reading = Reading(
            tuple(map(str, values.get("bands", ()))), tuple(values.get("stretch", ())), values.get("nodata"),
            second and with_access(second),
        )  # fmt: skip
        reading.applied(Image("image"))  # its numbers make sense
    except (OrthomaskError, TypeError, ValueError, AttributeError):
        return Reading()
    return reading


def with_access(image: Image) -> Image:
    """An image of a record, with what is needed to open it, such as a password, from the layer that shows it."""
    shown = file_layer(image.path)
    second = image.second and with_access(image.second)
    return replace(image, access=image_of(shown).access if shown else image.access, second=second)


def file_layer(path: str) -> Optional[QgsRasterLayer]:
    """The project layer of a file."""
    files = [layer for layer in QgsProject.instance().mapLayers().values() if layer.isValid() and is_file(layer)]
    return next((layer for layer in files if image_of(layer).path == path), None)


def remember(layer: QgsRasterLayer, reading: Reading) -> None:
    """Read the layer like this from now on; kept in the project. Nothing else of the layer changes."""
    if reading == reading_of(layer):
        return
    if reading == Reading():
        layer.removeCustomProperty(PROPERTY)
    else:
        values = {"bands": reading.bands, "stretch": reading.stretch, "nodata": reading.nodata}
        also = {"second": to_json(reading.second)} if reading.second else {}
        layer.setCustomProperty(PROPERTY, json.dumps({**values, **also}))
    reading_news.changed.emit()


def shown_bands(layer: QgsRasterLayer, count: int) -> tuple[int, ...]:
    """The bands that the layer shows as red, green and blue, then the others; the last is repeated up to `count`."""
    renderer, numbers = layer.renderer(), range(1, layer.bandCount() + 1)
    shown = []
    if isinstance(renderer, QgsMultiBandColorRenderer):
        shown = [band for band in (renderer.redBand(), renderer.greenBand(), renderer.blueBand()) if band in numbers]
    found = list(dict.fromkeys([*shown, *numbers]))
    return tuple((found + found[-1:] * count)[:count])


def shown_stretch(layer: QgsRasterLayer, bands: Sequence[int]) -> tuple[float, ...]:
    """Low and high value of each band as the layer shows it, else by a 2 to 98% cut. Main thread only."""
    limits = _shown_limits(layer)
    found: list[float] = []
    for band in bands:
        low, high = limits.get(band) or layer.dataProvider().cumulativeCut(band, *CUT)
        low = low if math.isfinite(low) else 0.0  # of a band without data
        found += (float(low), float(high) if low < high < math.inf else low + 1)
    return tuple(found)


def _shown_limits(layer: QgsRasterLayer) -> dict[int, tuple[float, float]]:
    """The limits of the contrast of each band that has one."""
    renderer = layer.renderer()
    pairs: list[tuple[int, Optional[QgsContrastEnhancement]]] = []
    if isinstance(renderer, QgsMultiBandColorRenderer):
        pairs = [
            (renderer.redBand(), renderer.redContrastEnhancement()),
            (renderer.greenBand(), renderer.greenContrastEnhancement()),
            (renderer.blueBand(), renderer.blueContrastEnhancement()),
        ]
    elif isinstance(renderer, QgsSingleBandGrayRenderer):
        pairs = [(renderer.grayBand(), renderer.contrastEnhancement())]
    none = QgsContrastEnhancement.ContrastEnhancementAlgorithm.NoEnhancement
    return {
        band: (found.minimumValue(), found.maximumValue())
        for band, found in pairs
        if found is not None
        and found.contrastEnhancementAlgorithm() != none
        and found.minimumValue() < found.maximumValue()
    }
