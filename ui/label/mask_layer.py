"""A mask as a layer: the colours of its classes, background and unknown transparent."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsPalettedRasterRenderer, QgsRasterLayer
from qgis.PyQt.QtGui import QColor

from ...protocol import MaskResult
from ..runs.results import RASTER_ALPHA
from .class_table import default_color


def mask_layer(result: MaskResult) -> QgsRasterLayer:
    """The mask's layer, named after its file."""
    layer = QgsRasterLayer(result.mask_path, Path(result.mask_path).stem)
    style_mask(layer, result)
    return layer


def style_mask(layer: QgsRasterLayer, result: MaskResult) -> None:
    """Show the counted classes in the colours of the file's own palette."""
    palette = {int(item.value): item.color for item in layer.dataProvider().colorTable(1)}
    classes = []
    for count in result.counts:
        color = QColor(palette.get(count.value, QColor(default_color(count.value))))
        color.setAlpha(RASTER_ALPHA)
        classes.append(QgsPalettedRasterRenderer.Class(count.value, color, count.name))
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, classes))
