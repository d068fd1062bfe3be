import pytest
from mouse import LEFT, RIGHT, click, drag, move, on_map
from qgis.core import QgsGeometry
from qgis.gui import QgsMapToolPan
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QPoint, Qt
from qgis.PyQt.QtTest import QTest

from orthomask.ui.layers.map_tools import FreehandTool, PointerWords, PolygonTool, RectangleTool
from orthomask.ui.segment.region_box import RegionBox


@pytest.fixture
def looking(canvas, layer):
    canvas.setExtent(layer.extent())
    return canvas


@pytest.fixture
def use(looking):
    """Makes a tool the canvas's; gives what it draws."""
    tools = []

    def use(kind):
        tool, drawn = kind(looking), []
        tool.drawn.connect(lambda geometry: drawn.append(QgsGeometry(geometry)))
        looking.setMapTool(tool)
        tools.append(tool)
        return drawn

    yield use
    for tool in tools:
        looking.unsetMapTool(tool)


def items(canvas):
    return len(canvas.scene().items())


def test_rectangle(looking, use):
    before = items(looking)
    drawn = use(RectangleTool)
    drag(looking, (50, 60), (120, 100), (200, 160))
    expected = QgsGeometry.fromPolygonXY([[on_map(looking, *p) for p in ((50, 60), (200, 60), (200, 160), (50, 160))]])
    assert len(drawn) == 1
    assert drawn[0].symDifference(expected).area() < 1e-6 * expected.area()
    assert items(looking) == before


@pytest.mark.parametrize("finish", ["right click", "double click"])
def test_polygon(looking, use, finish):
    drawn = use(PolygonTool)
    corners = [(50, 60), (200, 60), (200, 160)]
    for corner in corners[:2]:
        click(looking, *corner)
        move(looking, corner[0] + 5, corner[1] + 5)
    if finish == "right click":
        click(looking, *corners[2])
        click(looking, 100, 100, RIGHT)
    else:
        click(looking, *corners[2])
        QTest.mouseDClick(looking.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(*corners[2]))
    expected = QgsGeometry.fromPolygonXY([[on_map(looking, *corner) for corner in corners]])
    assert len(drawn) == 1
    assert drawn[0].symDifference(expected).area() < 1e-6 * expected.area()


def test_two_corners_are_no_polygon_and_backspace_takes_one_back(looking, use):
    drawn = use(PolygonTool)
    click(looking, 50, 60)
    click(looking, 200, 60)
    click(looking, 50, 60, RIGHT)
    assert drawn == []
    click(looking, 390, 290)
    QTest.keyClick(looking, Qt.Key.Key_Backspace)
    click(looking, 200, 160)
    click(looking, 50, 60, RIGHT)
    corner = on_map(looking, 200, 160)
    assert drawn[0].boundingBox().yMinimum() == pytest.approx(corner.y())
    assert drawn[0].boundingBox().xMaximum() == pytest.approx(corner.x())


def test_freehand(looking, use):
    drawn = use(FreehandTool)
    drag(looking, (50, 50), (100, 49), (150, 50), (151, 100), (150, 150), (100, 151), (50, 150), (49, 100))
    side = 100 * looking.mapUnitsPerPixel()
    assert drawn[0].area() == pytest.approx(side**2, rel=0.05)
    assert drawn[0].contains(on_map(looking, 100, 100))


@pytest.mark.parametrize("kind", [RectangleTool, PolygonTool, FreehandTool])
def test_escape_gives_up(looking, use, kind):
    before = items(looking)
    drawn, given_up = use(kind), []
    looking.mapTool().given_up.connect(lambda: given_up.append(True))
    QTest.mousePress(looking.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(50, 60))
    move(looking, 90, 90, LEFT)
    assert items(looking) == before + 1
    QTest.keyClick(looking, Qt.Key.Key_Escape)
    QTest.mouseRelease(looking.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(200, 160))
    assert drawn == []
    assert given_up == [True]
    assert items(looking) == before


def test_another_tool_ends_the_drawing(looking, use):
    before = items(looking)
    use(PolygonTool)
    click(looking, 50, 60)
    click(looking, 80, 60)
    looking.setMapTool(QgsMapToolPan(looking))
    assert items(looking) == before


def test_the_canvas_is_as_it_was(looking, use):
    extent, crs = looking.extent(), looking.mapSettings().destinationCrs()
    use(RectangleTool)
    drag(looking, (50, 60), (200, 160))
    assert looking.extent() == extent
    assert looking.mapSettings().destinationCrs() == crs


def test_a_rectangle_shows_its_area_while_it_is_drawn(looking, use):
    use(RectangleTool)
    QTest.mousePress(looking.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(50, 60))
    move(looking, 250, 160, LEFT)
    (words,) = looking.findChildren(PointerWords)
    side = looking.mapUnitsPerPixel()
    assert words.isVisible()
    assert words.text() == f"{200 * side * 100 * side / 0.9996**2:.0f} m²", "on the ground, not on the map"
    move(looking, 399, 299, LEFT)
    assert looking.viewport().rect().contains(words.geometry()), "near an edge it is on the other side of the pointer"
    QTest.mouseRelease(looking.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, QPoint(399, 299))
    assert not [words for words in looking.findChildren(PointerWords) if words.isVisible()]


def test_on_a_rotated_map_a_rectangle_follows_the_screen(looking, use):
    looking.setRotation(30)
    try:
        drawn = use(RectangleTool)
        drag(looking, (50, 60), (120, 100), (200, 160))
        corners = [on_map(looking, *point) for point in ((50, 60), (200, 60), (200, 160), (50, 160))]
    finally:
        looking.setRotation(0)
    expected = QgsGeometry.fromPolygonXY([corners])
    assert drawn[0].symDifference(expected).area() < 1e-6 * expected.area()


@pytest.fixture
def region(qgis_iface, looking):
    box = RegionBox(qgis_iface)
    yield box
    box.release()


@pytest.mark.parametrize("end", ["drawn", "escape", "button", "another of ours"])
def test_the_tool_from_before_comes_back(looking, region, end):
    pan = QgsMapToolPan(looking)
    looking.setMapTool(pan)
    region.rectangle_button.click()
    assert looking.mapTool() is not pan
    if end == "drawn":
        drag(looking, (50, 60), (200, 160))
        assert region.region is not None
    elif end == "escape":
        QTest.keyClick(looking, Qt.Key.Key_Escape)
    elif end == "button":
        region.rectangle_button.click()
    else:
        region.polygon_button.click()
        QTest.keyClick(looking, Qt.Key.Key_Escape)
    assert looking.mapTool() is pan
    assert not region.rectangle_button.isChecked()


def test_a_tool_that_is_gone_does_not_come_back(looking, region):
    pan = QgsMapToolPan(looking)
    looking.setMapTool(pan)
    region.rectangle_button.click()
    pan.deleteLater()
    QCoreApplication.sendPostedEvents(pan, QEvent.Type.DeferredDelete)
    drag(looking, (50, 60), (200, 160))
    assert looking.mapTool() is None
