"""What another threshold would give, drawn over the map at once: a picture on the canvas, no layer of the project."""

from __future__ import annotations

import math
from functools import partial
from typing import Callable, Optional

from qgis.core import (
    QgsContrastEnhancement,
    QgsMapLayer,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsSingleBandGrayRenderer,
    QgsVectorLayer,
)
from qgis.gui import QgsMapCanvas, QgsMapCanvasItem
from qgis.PyQt.QtCore import QObject, QRectF, Qt, QTimer
from qgis.PyQt.QtGui import QColor, QImage, QPainter
from qgis.PyQt.QtWidgets import QStyleOptionGraphicsItem, QWidget

from ....protocol import ClassInfo
from ...toolkit.present import present

ALPHA = 170
SCALE = 254
"""A probability p is stored as p * SCALE, as in `engine/runs/runs.py`."""
SETTLE_MS = 150
"""The pictures are drawn anew when the map has rested so long."""


class Sketch(QObject):
    """Shows the map without the present polygons, and on it those pixels that reach a threshold, or other polygons.

    Pictures of the map and of the probabilities are drawn once for each extent, in the background. Another threshold
    is then only another colour table.

    Args:
        canvas: the map.
        probabilities: path of the run's raster.
        polygons: the layer that is not shown meanwhile.
    """

    def __init__(
        self, canvas: QgsMapCanvas, probabilities: str, classes: tuple[ClassInfo, ...], polygons: QgsVectorLayer
    ) -> None:
        super().__init__()
        self._canvas, self._polygons = canvas, polygons
        self._item = _Pictures(canvas)
        self._bands = [_gray(probabilities, info.value) for info in classes]
        self._colors = [QColor(info.color) for info in classes]
        self._prepared = False
        self._threshold: Optional[float] = None
        self._drawn: Optional[QgsVectorLayer] = None
        self._map: Optional[QImage] = None
        self._grays: dict[int, QImage] = {}
        self._outlines: Optional[QImage] = None
        self._jobs: list[QgsMapRendererParallelJob] = []
        self._settle = QTimer()
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._draw_anew)
        canvas.extentsChanged.connect(self._note_change)
        canvas.layersChanged.connect(self._note_change)

    def release(self) -> None:
        """Take it off the map for good."""
        self._canvas.extentsChanged.disconnect(self._note_change)
        self._canvas.layersChanged.disconnect(self._note_change)
        self.clear()
        scene = self._canvas.scene()
        if scene is not None:
            scene.removeItem(self._item)

    @property
    def is_shown(self) -> bool:
        """Whether it shows anything, or will in a moment."""
        return self._threshold is not None or self._drawn is not None

    def prepare(self) -> None:
        """Draw what will be needed, so that the first answer is as quick as the others."""
        if not self._prepared:
            self._draw_anew()

    def show_threshold(self, threshold: float) -> None:
        """Show the pixels that reach a threshold (0 to 1)."""
        self._threshold, self._drawn, self._outlines = threshold, None, None
        self.prepare()
        self._compose()

    def show_polygons(self, layer: QgsVectorLayer) -> None:
        """Show the polygons of a layer that is not in the project; until they are drawn, what was shown stays."""
        self._drawn = layer
        if self._prepared:
            self._draw([layer], self._take_outlines)
        else:
            self._draw_anew()

    def clear(self) -> None:
        """Show the map as it is."""
        self._threshold = self._drawn = None
        self._settle.stop()
        self._forget_pictures()

    def _forget_pictures(self) -> None:
        self._stop()
        self._prepared, self._map, self._grays, self._outlines = False, None, {}, None
        self._item.show_pictures([])

    def _note_change(self) -> None:
        """The pictures no longer fit the map."""
        self._forget_pictures()
        if self.is_shown:
            self._settle.start()

    def _draw_anew(self) -> None:
        self._prepared = True
        for number, band in enumerate(self._bands):
            self._draw([band], partial(self._take_gray, number), QImage.Format.Format_Grayscale8)
        if self._drawn is not None:
            self._draw([self._drawn], self._take_outlines)
        others = [layer for layer in self._canvas.layers() if layer is not self._polygons]
        self._draw(others, self._take_map, background=self._canvas.canvasColor())

    def _draw(
        self,
        layers: list[QgsMapLayer],
        take: Callable[[QImage], None],
        form: QImage.Format = QImage.Format.Format_ARGB32_Premultiplied,
        background: Optional[QColor] = None,
    ) -> None:
        """Draw layers in the background, and hand over their picture.

        Args:
            form: of the picture. Qt 5 must not convert it later: it would wait here for threads that all of QGIS's
                tasks may hold, and these for Python, which waits here.
        """
        settings = QgsMapSettings(self._canvas.mapSettings())
        settings.setOutputImageFormat(form)
        settings.setLayers(layers)
        settings.setBackgroundColor(background or QColor(Qt.GlobalColor.transparent))
        job = QgsMapRendererParallelJob(settings)
        job.setParent(self)  # it ends in its own time, and outlives what is done with it here
        job.finished.connect(partial(self._finish, job, take))
        self._jobs.append(job)
        job.start()

    def _finish(self, job: QgsMapRendererParallelJob, take: Callable[[QImage], None]) -> None:
        job.deleteLater()
        if job in self._jobs:
            self._jobs.remove(job)
            take(job.renderedImage())
            self._compose()

    def _stop(self) -> None:
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.cancelWithoutBlocking()

    def _take_map(self, picture: QImage) -> None:
        self._map = picture

    def _take_gray(self, number: int, picture: QImage) -> None:
        picture.reinterpretAsFormat(QImage.Format.Format_Indexed8)
        self._grays[number] = picture

    def _take_outlines(self, picture: QImage) -> None:
        self._outlines = picture

    def _compose(self) -> None:
        """Show what there is: the outlines, or else the pixels, on the map without the present polygons."""
        if not self.is_shown:
            return
        pictures = [self._map] if self._map is not None else []
        if self._outlines is not None:
            pictures.append(self._outlines)
        elif self._threshold is not None:
            for number, gray in sorted(self._grays.items()):
                gray.setColorTable(_colors(self._colors[number], self._threshold))
                pictures.append(gray)
        self._item.show_pictures(pictures)


class _Pictures(QgsMapCanvasItem):
    """Pictures of the whole canvas, one upon the other, below what map tools draw."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._canvas, self._pictures = canvas, list[QImage]()
        self.setZValue(-1)
        self.hide()

    def show_pictures(self, pictures: list[QImage]) -> None:
        self._pictures = pictures
        self.setPos(0, 0)
        self.setVisible(bool(pictures))
        self.update()

    def updatePosition(self) -> None:
        """It stays where the canvas is."""

    def boundingRect(self) -> QRectF:
        return QRectF(0, 0, self._canvas.width(), self._canvas.height())

    def paint(
        self,
        painter: Optional[QPainter],
        option: Optional[QStyleOptionGraphicsItem] = None,
        widget: Optional[QWidget] = None,
    ) -> None:
        for picture in self._pictures:
            present(painter).drawImage(self.boundingRect(), picture)


def _gray(path: str, band: int) -> QgsRasterLayer:
    """A band of probabilities whose picture has the stored values, and nothing where there is no data."""
    layer = QgsRasterLayer(path, "", "gdal")
    provider = present(layer.dataProvider())
    stretch = QgsContrastEnhancement(provider.dataType(band))
    stretch.setContrastEnhancementAlgorithm(QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum)
    stretch.setMinimumValue(0)
    stretch.setMaximumValue(1)
    renderer = QgsSingleBandGrayRenderer(provider, band)
    renderer.setContrastEnhancement(stretch)
    layer.setRenderer(renderer)
    return layer


def _colors(color: QColor, threshold: float) -> list[int]:
    """A colour table for the levels of probability: nothing below the threshold."""
    shown, least = QColor(color), max(1, math.ceil(round(threshold * SCALE, 6)))
    shown.setAlpha(ALPHA)
    return [0] * least + [shown.rgba()] * (256 - least)
