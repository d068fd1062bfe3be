import pytest
from mouse import drag
from qgis.core import QgsProject, QgsRasterLayer, QgsRectangle
from qgis.PyQt.QtCore import QCoreApplication, QEvent, Qt
from qgis.PyQt.QtGui import QKeyEvent
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication
from scene import wait_until, write_raster

from orthomask.ui.change.look_box import LookBox

DARK, BRIGHT = 40, 220
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def images(qgis_new_project, tmp_path):
    """The same place at two dates: dark, then bright; the later one on top."""
    made = []
    for name, value in (("2012", DARK), ("2020", BRIGHT)):
        layer = QgsRasterLayer(write_raster(tmp_path / f"{name}.tif", [value] * 3), name)
        made.append(QgsProject.instance().addMapLayer(layer))
    return made


@pytest.fixture
def box(qgis_iface, canvas, images, monkeypatch):
    window = qgis_iface.mainWindow()
    monkeypatch.setattr(qgis_iface, "addDockWidget", window.addDockWidget, raising=False)
    monkeypatch.setattr(qgis_iface, "removeDockWidget", window.removeDockWidget, raising=False)
    canvas.setLayers(images[::-1])
    canvas.setExtent(QgsRectangle(500_004, 2_999_980, 500_028, 2_999_992))
    canvas.waitWhileRendering()
    items = len(canvas.scene().items())
    box = LookBox(qgis_iface)
    box.choose(*(layer.id() for layer in images))
    box.show()
    yield box
    box.release()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert len(canvas.scene().items()) == items
    assert canvas.mapTool() is None
    box.deleteLater()
    QCoreApplication.processEvents()


def brightness(canvas, x, y):
    return canvas.grab().toImage().pixelColor(x, y).red()


def looks(canvas, *expected):
    """Wait until the canvas is dark or bright at each place (x, y, value)."""
    wait_until(lambda: all(abs(brightness(canvas, x, y) - value) < 5 for x, y, value in expected), 20)


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, LEFT)


def key(canvas, kind):
    QApplication.sendEvent(canvas, QKeyEvent(kind, Qt.Key.Key_O, Qt.KeyboardModifier.NoModifier))


def test_swipe_shows_the_earlier_image_left_of_or_above_the_line(box, canvas):
    press(box.swipe_button)
    looks(canvas, (100, 150, DARK), (300, 150, BRIGHT))
    drag(canvas, (200, 150), (210, 150), (320, 155))
    looks(canvas, (300, 150, DARK), (340, 150, BRIGHT))
    drag(canvas, (200, 150), (202, 160), (205, 200))
    looks(canvas, (300, 190, DARK), (100, 210, BRIGHT))


def test_swipe_follows_the_map_and_leaves_on_escape(box, canvas):
    press(box.swipe_button)
    canvas.setExtent(QgsRectangle(500_010, 2_999_984, 500_016, 2_999_988))
    canvas.refresh()
    looks(canvas, (100, 150, DARK), (300, 150, BRIGHT))
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    assert not box.swipe_button.isChecked()
    looks(canvas, (100, 150, BRIGHT))


def test_swipe_and_second_view_end_when_an_image_goes(box, canvas, images):
    press(box.swipe_button)
    press(box.view_button)
    QgsProject.instance().removeMapLayer(images[0])
    assert canvas.mapTool() is None
    assert box.view is None
    QCoreApplication.processEvents()
    assert not any(button.isEnabled() for button in (box.swipe_button, box.blink_button, box.view_button))


def test_swipe_ends_with_the_project(box, canvas):
    press(box.swipe_button)
    QgsProject.instance().clear()
    assert canvas.mapTool() is None


def test_blink_shows_the_other_date_while_the_key_or_the_button_is_held(box, canvas, images):
    key(canvas, QEvent.Type.KeyPress)
    looks(canvas, (200, 150, DARK))
    key(canvas, QEvent.Type.KeyRelease)
    looks(canvas, (200, 150, BRIGHT))
    canvas.setLayers(images)  # now the earlier one is on top
    canvas.refresh()
    looks(canvas, (200, 150, DARK))
    QTest.mousePress(box.blink_button, LEFT)
    looks(canvas, (200, 150, BRIGHT))
    QTest.mouseRelease(box.blink_button, LEFT)
    looks(canvas, (200, 150, DARK))


def test_two_views_move_together_both_ways(box, canvas):
    press(box.view_button)
    other = box.view.canvas
    assert "2012" in box.view.windowTitle()
    canvas.setExtent(QgsRectangle(500_010, 2_999_984, 500_016, 2_999_988))
    assert other.center().distance(canvas.center()) < 0.01
    assert other.mapUnitsPerPixel() == pytest.approx(canvas.mapUnitsPerPixel(), rel=0.01)
    other.setExtent(QgsRectangle(500_004, 2_999_980, 500_028, 2_999_992))
    assert other.center().distance(canvas.center()) < 0.01
    assert other.mapUnitsPerPixel() == pytest.approx(canvas.mapUnitsPerPixel(), rel=0.01)
    box.view.close()
    assert box.view is None
    assert not box.view_button.isChecked()


def test_one_image_alone_cannot_be_compared(box, images):
    box.later.setLayer(images[0])
    assert not box.swipe_button.isEnabled()
