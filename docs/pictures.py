"""Tools for the pictures of the dock: a director of scenes, and small image files."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from osgeo import gdal
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt, QThreadPool, QTimer
from qgis.PyQt.QtGui import QImage, QPixmap
from qgis.PyQt.QtWidgets import QLabel, QTextBrowser, QWidget
from qgis.utils import iface

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(os.environ.get("SCREENSHOTS", Path(tempfile.gettempdir()) / "screenshots"))
LIMIT_SECONDS = 900
SPARE_THREADS = 4
WIDTH_PX, EVEN_COLOURS = 1100, 64

Condition = Callable[[], bool]


def settled(seconds: float = 1.0) -> Condition:
    """True once the canvas has been drawn and some time has passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end and not iface.mapCanvas().isDrawing()


def picture(name: str, shown: QWidget | QPixmap | None = None) -> None:
    """Save a widget, by default the main window: at most `WIDTH_PX` wide and in 256 colours."""
    shown = shown or iface.mainWindow()
    if isinstance(shown, QWidget):
        name_no_folders(shown)
    QgsApplication.processEvents()
    image = (shown if isinstance(shown, QPixmap) else shown.grab()).toImage()
    smooth = Qt.TransformationMode.SmoothTransformation
    small = image.scaledToWidth(min(WIDTH_PX, image.width()), smooth)
    plain = Qt.ImageConversionFlag.AvoidDither
    indexed = small.convertToFormat(QImage.Format.Format_Indexed8, palette(small), plain)
    indexed.save(str(OUT / f"{name}.png"))
    print(f"{name}.png", flush=True)


def name_no_folders(shown: QWidget) -> None:
    """Replace this computer's paths with neutral ones: pictures are public."""
    for text in shown.findChildren(QTextBrowser):
        if str(ROOT) in text.toHtml():
            text.setHtml(text.toHtml().replace(str(ROOT), "/home/me/orthomask"))
    for label in shown.findChildren(QLabel):
        label.setText(label.text().replace(str(ROOT), "/home/me/orthomask"))


def palette(image: QImage) -> list[int]:
    """256 colours as `0xAARRGGBB`: those of flat areas unchanged, the best fit for the rest (median cut)."""
    pixels = image.convertToFormat(QImage.Format.Format_RGBA8888)
    data = pixels.constBits().asstring(pixels.sizeInBytes())
    dataset = gdal.GetDriverByName("MEM").Create("", pixels.width(), pixels.height(), 3)
    for band in range(3):
        dataset.GetRasterBand(band + 1).WriteRaster(0, 0, pixels.width(), pixels.height(), data[band::4])
    table = gdal.ColorTable()
    gdal.ComputeMedianCutPCT(*(dataset.GetRasterBand(band) for band in (1, 2, 3)), 256 - EVEN_COLOURS, table)
    colours, row = list(zip(data[0::4], data[1::4], data[2::4])), pixels.width()
    neighbours = zip(colours[row:], colours[row - 1 :], colours)
    even = Counter(here for here, left, above in neighbours if here == left == above).most_common(EVEN_COLOURS)
    entries = [table.GetColorEntry(index)[:3] for index in range(table.GetCount())] + [colour for colour, _ in even]
    return [0xFF000000 | red << 16 | green << 8 | blue for red, green, blue in entries]


class Director:
    """Goes from scene to scene as their conditions come true, without blocking QGIS.

    Args:
        end: called with the exit status after the last scene or a failure.
    """

    def __init__(self, scenes: Iterator[Condition], end: Callable[[int], None]) -> None:
        self._scenes, self._condition, self._finish = scenes, lambda: True, end
        pool = QThreadPool.globalInstance()  # Qt scales pictures in it, while our tasks fill it
        pool.setMaxThreadCount(pool.maxThreadCount() + SPARE_THREADS)
        self._deadline = time.monotonic() + LIMIT_SECONDS
        self._timer = QTimer()
        self._timer.timeout.connect(self._look)
        self._timer.start(50)

    def _look(self) -> None:
        try:
            if time.monotonic() > self._deadline:
                raise TimeoutError("a scene took too long")
            while self._condition():
                self._condition = next(self._scenes)
        except StopIteration:
            self._end(0)
        except Exception:  # noqa: BLE001 (the script's edge: QGIS must end, whatever happened)
            traceback.print_exc()
            self._end(1)

    def _end(self, status: int) -> None:
        self._timer.stop()
        self._finish(status)
