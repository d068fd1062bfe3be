"""What a hand does on the map."""

from qgis.PyQt.QtCore import QEvent, QPoint, QPointF, Qt
from qgis.PyQt.QtGui import QMouseEvent, QWheelEvent
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


def drag(canvas, *points):
    """Press at the first point, move along the others with the button held, release at the last."""
    QTest.mousePress(canvas.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(*points[0]))
    for x, y in points[1:]:
        move(canvas, x, y, LEFT)
    QTest.mouseRelease(canvas.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(*points[-1]))


def move(canvas, x, y, buttons=Qt.MouseButton.NoButton):
    """Offscreen, `QTest.mouseMove` knows of no button that is held."""
    here, none = QPointF(x, y), Qt.MouseButton.NoButton
    event = QMouseEvent(QEvent.Type.MouseMove, here, here, none, buttons, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(canvas.viewport(), event)


def click(canvas, x, y, button=LEFT):
    QTest.mouseClick(canvas.viewport(), button, Qt.KeyboardModifier.NoModifier, QPoint(x, y))


def turn(canvas, x, y, notches=1, keys=Qt.KeyboardModifier.NoModifier):
    """Turn the wheel."""
    here, buttons, phase = QPointF(x, y), Qt.MouseButton.NoButton, Qt.ScrollPhase.NoScrollPhase
    place = QPointF(canvas.viewport().mapToGlobal(QPoint(x, y)))
    event = QWheelEvent(here, place, QPoint(0, 0), QPoint(0, 120 * notches), buttons, keys, phase, False)
    QApplication.sendEvent(canvas.viewport(), event)


def on_map(canvas, x, y):
    return canvas.getCoordinateTransform().toMapCoordinates(x, y)
