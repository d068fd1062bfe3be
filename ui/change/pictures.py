"""The map with the image of another date, rendered in the background, and drawn over the canvas."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from qgis.core import QgsMapLayer, QgsMapRendererParallelJob, QgsMapSettings, QgsProject, QgsVectorLayer
from qgis.gui import QgsMapCanvas, QgsMapCanvasItem
from qgis.PyQt.QtCore import QLineF, QObject, QPointF, QRectF, Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QColor, QImage, QPainter, QPen, QTransform

from ..toolkit.present import present

BELOW_BANDS = -5.0
"""Between the map and what is drawn on it, such as outlines."""
CASING_PX, LINE_PX, SPACE_PX = 4.0, 2.0, 6.0


def layers_with(canvas: QgsMapCanvas, image: QgsMapLayer) -> list[QgsMapLayer]:
    """The vector layers that the canvas shows, over an image."""
    return [*(layer for layer in canvas.layers() if isinstance(layer, QgsVectorLayer)), image]


def other_of(canvas: QgsMapCanvas, earlier: QgsMapLayer, later: QgsMapLayer) -> QgsMapLayer:
    """The image of the date that the canvas does not show: the later one if the earlier lies on top."""
    shown = [layer for layer in canvas.layers() if layer in (earlier, later)]
    return later if shown[:1] == [earlier] else earlier


class DatePicture(QObject):
    """What the canvas would show with one image under its vector layers; follows the canvas from `start` to `stop`.

    Args:
        canvas: only read.
        image: ID of the layer.
    """

    ready = pyqtSignal()
    """There is a new picture."""

    def __init__(self, canvas: QgsMapCanvas, image: str) -> None:
        super().__init__()
        self._canvas, self._image = canvas, image
        self._job: Optional[QgsMapRendererParallelJob] = None
        self._last: Optional[QgsMapRendererParallelJob] = None
        self._ending: list[QgsMapRendererParallelJob] = []
        self.picture = QImage()
        self.settings = QgsMapSettings()
        """Of the picture."""

    def start(self) -> None:
        """Render now, and whenever the canvas renders."""
        self._canvas.renderStarting.connect(self.render)
        self.render()

    def stop(self) -> None:
        """Leave the canvas alone, and forget the picture."""
        self._canvas.renderStarting.disconnect(self.render)
        self._cancel()
        self.picture = QImage()

    def render(self) -> None:
        """Render anew; the last picture stays until then."""
        self._cancel()
        image = QgsProject.instance().mapLayer(self._image)
        if image is None:
            return
        settings = QgsMapSettings(self._canvas.mapSettings())
        settings.setLayers(layers_with(self._canvas, image))
        self._job = QgsMapRendererParallelJob(settings)
        self._job.finished.connect(self._take)
        self._job.start()

    @property
    def transform(self) -> QTransform:
        """From the picture to the canvas as it is now, which may have moved on."""
        there, here = self.settings.mapToPixel(), present(self._canvas.getCoordinateTransform())
        size = self.settings.outputSize()
        corners = ((0, 0), (size.width(), 0), (0, size.height()))
        places = [here.transform(there.toMapCoordinates(x, y)) for x, y in corners]
        (x, y), (right_x, right_y), (low_x, low_y) = ((place.x(), place.y()) for place in places)
        return QTransform(
            (right_x - x) / size.width(), (right_y - y) / size.width(),
            (low_x - x) / size.height(), (low_y - y) / size.height(), x, y,
        )  # fmt: skip

    def _take(self) -> None:
        job = present(self._job)
        self._job, self._last = None, job  # which may not be deleted while it says so
        self.picture, self.settings = job.renderedImage(), job.mapSettings()
        self.ready.emit()

    def _cancel(self) -> None:
        """Let the job end by itself: to wait for it would block QGIS."""
        job, self._job = self._job, None
        if job is None:
            return
        job.finished.disconnect(self._take)
        self._ending.append(job)
        job.finished.connect(lambda: QTimer.singleShot(0, lambda: self._ending.remove(job)))
        job.cancelWithoutBlocking()


class Part(NamedTuple):
    """A picture, where it is shown on the canvas in pixels, and what stands in its corner."""

    picture: DatePicture
    place: QRectF
    title: str = ""
    corner: Any = Qt.AlignmentFlag.AlignLeft


class MapCover(QgsMapCanvasItem):
    """Draws pictures of dates over the map, below outlines and other marks."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self._parts: tuple[Part, ...] = ()
        self._line: Optional[QLineF] = None
        self.setZValue(BELOW_BANDS)

    def show_parts(self, *parts: Part, line: Optional[QLineF] = None) -> None:
        """Draw these parts, and a line between them."""
        self.prepareGeometryChange()
        self._parts, self._line = parts, line
        self.update()

    def remove(self) -> None:
        """Leave the canvas as it was."""
        self._parts = ()
        self._canvas.scene().removeItem(self)

    def boundingRect(self) -> QRectF:
        """The whole canvas."""
        return QRectF(0, 0, self._canvas.width(), self._canvas.height())

    def paint(self, painter: Any, *_: Any) -> None:
        """Draw; Qt calls this."""
        for part in self._parts:
            if not part.picture.picture.isNull():
                painter.save()
                painter.setClipRect(part.place)
                painter.save()
                painter.setTransform(part.picture.transform, True)
                painter.drawImage(QPointF(0, 0), part.picture.picture)
                painter.restore()
                _write(painter, part)
                painter.restore()
        if self._line is not None:
            for color, width in ((QColor(0, 0, 0, 160), CASING_PX), (QColor(255, 255, 255), LINE_PX)):
                painter.setPen(QPen(color, width))
                painter.drawLine(self._line)


def _write(painter: QPainter, part: Part) -> None:
    """The title in a corner of the part, readable on any image."""
    if not part.title:
        return
    room = part.place.adjusted(SPACE_PX, SPACE_PX, -SPACE_PX, -SPACE_PX)
    flags = part.corner
    box = painter.boundingRect(room, flags, part.title)
    frame = box.adjusted(-SPACE_PX / 2, -SPACE_PX / 4, SPACE_PX / 2, SPACE_PX / 4)
    painter.fillRect(frame, QColor(0, 0, 0, 150))
    painter.setPen(QColor(255, 255, 255))
    painter.drawText(box, flags, part.title)
