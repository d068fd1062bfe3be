import pytest
from mouse import LEFT, RIGHT, click, drag, move, on_map
from qgis.core import QgsGeometry
from qgis.gui import QgsMapToolPan
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtTest import QTest

from orthomask.ui.segment.map_tools import FreehandTool, PolygonTool, RectangleTool


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
