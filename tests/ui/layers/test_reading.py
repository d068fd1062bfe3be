"""Choosing how an image is read: remembered with its layer, the same in all panels, and what the engine gets."""

import json

import pytest
from osgeo import gdal
from qgis.core import QgsContrastEnhancement, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from scene import wait_until, write_raster
from test_dock import press, run

from orthomask.protocol import Image
from orthomask.ui.label.sources import GroundTruth, LabelSource
from orthomask.ui.layers.images import read_as_chosen
from orthomask.ui.layers.reading import PROPERTY, Reading, reading_of, remember
from orthomask.ui.layers.reading_box import CHOSEN, NONE, SHOWN, ReadingBox

RGB = ("red", "green", "blue")


@pytest.fixture
def image(qgis_new_project, tmp_path):
    path = write_raster(tmp_path / "bytes.tif", [40, 90, 120, bytes(range(64)) * 64])
    gdal.Translate(str(tmp_path / "four.tif"), path, outputType=gdal.GDT_UInt16, scaleParams=[[0, 255, 0, 2550]])
    layer = QgsRasterLayer(str(tmp_path / "four.tif"), "four")
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.fixture
def box(image):
    box = ReadingBox()
    box.set_bands(RGB)
    box.set_image(image)
    return box


def choose(combo, line):
    """Choose a line of a combo box as a person does."""
    combo.setCurrentIndex(line)
    combo.activated.emit(line)


def stretch_layer(layer, *limits):
    for setting, (low, high) in zip(("setRed", "setGreen", "setBlue"), limits):
        enhancement = QgsContrastEnhancement(layer.dataProvider().dataType(1))
        enhancement.setContrastEnhancementAlgorithm(
            QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum
        )
        enhancement.setMinimumValue(low)
        enhancement.setMaximumValue(high)
        getattr(layer.renderer(), f"{setting}ContrastEnhancement")(enhancement)


def test_what_the_engine_takes_is_shown_until_something_is_chosen(box, image):
    assert [combo.currentText() for combo in box.bands] == ["automatic"] * 3
    box.show_taken((4, 1, 2))
    assert [combo.currentText() for combo in box.bands] == [f"{n} (automatic)" for n in (4, 1, 2)]
    assert reading_of(image) == Reading()
    choose(box.bands[0], 3)
    assert reading_of(image).bands == ("3", "1", "2"), "the others as the engine takes them"
    assert [combo.currentBand() for combo in box.bands] == [3, 1, 2]
    choose(box.bands[1], 0)
    assert reading_of(image) == Reading(), "one on automatic: all are"


def test_one_band_can_be_read_as_all_three(box, tmp_path):
    grey = QgsProject.instance().addMapLayer(QgsRasterLayer(write_raster(tmp_path / "grey.tif", [40]), "grey"))
    box.set_image(grey)
    choose(box.bands[0], 1)
    assert reading_of(grey).bands == ("1", "1", "1")


def test_it_is_remembered_with_the_project_and_shown_in_every_panel(box, image, tmp_path):
    other, changes = ReadingBox(), []
    other.set_image(image)
    other.changed.connect(lambda: changes.append(True))
    choose(box.bands[2], 4)
    assert [combo.currentBand() for combo in other.bands] == [1, 2, 4]
    assert changes == [True]
    path = str(tmp_path / "project.qgz")
    assert QgsProject.instance().write(path)
    QgsProject.instance().read(path)
    box.set_image(None)
    (again,) = QgsProject.instance().mapLayersByName("four")
    assert reading_of(again).bands == ("1", "2", "4")


def test_a_model_of_other_bands_is_not_given_them(box, image):
    choose(box.bands[0], 4)
    file = Image(image.source())
    assert read_as_chosen(file, image, RGB).bands == ("4", "2", "3")
    assert read_as_chosen(file, image, (*RGB, "nir")) == file
    box.set_bands((*RGB, "nir"))
    assert [combo.currentText() for combo in box.bands] == ["automatic"] * 4


def test_a_stretch_is_that_of_the_layer_as_shown(box, image):
    stretch_layer(image, (100, 2100), (200, 1800), (300, 1500))
    choose(box.stretch, SHOWN)
    assert reading_of(image) == Reading(("1", "2", "3"), (100, 2100, 200, 1800, 300, 1500))
    assert box.stretch.currentIndex() == CHOSEN
    assert box.stretch.currentText() == "100 – 2,100, 200 – 1,800, 300 – 1,500"
    stretch_layer(image, (0, 1), (0, 1), (0, 1))
    assert reading_of(image).stretch[:2] == (100, 2100), "another style later does not change it"
    choose(box.stretch, NONE)
    assert reading_of(image).stretch == ()


def test_bands_that_the_layer_does_not_show_are_cut(box, image):
    choose(box.bands[0], 4)
    choose(box.stretch, SHOWN)
    assert reading_of(image).stretch[:2] == pytest.approx((10, 620), abs=10)
    assert len(reading_of(image).stretch) == 6


@pytest.mark.parametrize(("typed", "value"), [("7", 7.0), ("-9999", -9999.0), ("", None), ("seven", None)])
def test_a_no_data_value_is_typed(box, image, typed, value):
    box.nodata.setText(typed)
    QTest.keyClick(box.nodata, Qt.Key.Key_Return)
    assert reading_of(image).nodata == value
    assert box.nodata.text() == ("" if value is None else box.nodata.text())


def test_an_image_that_marks_missing_data_says_so(box, tmp_path):
    path = write_raster(tmp_path / "marked.tif", [1, 2, 3], scale=1.0)
    box.set_image(QgsProject.instance().addMapLayer(QgsRasterLayer(path, "marked")))
    assert box.nodata.placeholderText() == "255, as the image says"
    assert not box.nodata.isEnabled()


@pytest.mark.parametrize("stored", ["nonsense", "[1]", '{"stretch": [3, 1]}', '{"stretch": ["a", 2]}', '{"bands": 3}'])
def test_a_property_that_cannot_be_read_counts_as_none(image, stored):
    image.setCustomProperty(PROPERTY, stored)
    assert reading_of(image) == Reading()


def test_labels_and_trainings_get_it_too(image, tmp_path):
    remember(image, Reading(("3", "2", "1"), (0, 100), 9.0))
    truth = GroundTruth.of(image, [LabelSource(image)]).read_as_chosen(image, RGB)
    assert (truth.image.bands, truth.image.stretch, truth.image.nodata) == (("3", "2", "1"), (0, 100), 9.0)


TWO = (*RGB, "second:height")


@pytest.fixture
def second(image, tmp_path):
    path = write_raster(tmp_path / "height.tif", [5, 70])
    return QgsProject.instance().addMapLayer(QgsRasterLayer(path, "height"))


def choose_second(box, layer):
    box.second.setLayer(layer)
    box.second.activated.emit(box.second.currentIndex())


def test_a_second_image_is_offered_where_the_model_reads_two(box, image, second):
    assert box.second.isHidden(), "a model of one image"
    box.set_bands(TWO)
    assert not box.second.isHidden()
    assert box.focus_on(stretch=False) is box.second, "it is still to choose"
    choose_second(box, second)
    assert reading_of(image) == Reading(second=Image(second.source()))
    assert box.focus_on(stretch=False) is box.bands[0]
    file = Image(image.source())
    assert read_as_chosen(file, image, TWO).second == Image(second.source())
    assert read_as_chosen(file, image, RGB) == file, "not for a model that reads one"
    box.set_bands(RGB)
    box.nodata.setText("7")
    QTest.keyClick(box.nodata, Qt.Key.Key_Return)
    box.set_bands(TWO)
    assert reading_of(image) == Reading(nodata=7, second=Image(second.source())), "a model of one image leaves it there"
    choose_second(box, None)
    assert reading_of(image) == Reading(nodata=7)


def test_bands_of_the_second_image_are_chosen_from_it(box, image, second):
    box.set_bands(TWO)
    choose_second(box, second)
    box.show_taken((3, 2, 1, 6))
    assert [combo.currentText() for combo in box.bands] == [f"{n} (automatic)" for n in (3, 2, 1, 2)]
    choose(box.bands[3], 1)
    assert reading_of(image).bands == ("3", "2", "1", "second:1")
    assert [combo.currentBand() for combo in box.bands] == [3, 2, 1, 1]
    choose(box.stretch, SHOWN)
    assert len(reading_of(image).stretch) == 8
    assert reading_of(image).second == Image(second.source())


def test_without_a_model_all_bands_of_the_second_image_are_read(box, image, second):
    box.set_bands(())
    choose_second(box, second)
    assert box.names == ("1", "2", "3", "second:1", "second:2")
    assert read_as_chosen(Image(image.source()), image, box.names).second == Image(second.source())


def test_a_second_image_without_its_layer_is_shown_by_its_path(box, image, second):
    box.set_bands(TWO)
    choose_second(box, second)
    path = second.source()
    QgsProject.instance().removeMapLayer(second.id())
    box.set_image(image)
    assert (box.second.currentText(), reading_of(image).second) == (path, Image(path))


def test_the_dock_sends_what_is_chosen(dock, engine, layer):
    panel = dock.segment
    press(panel.region.extent_button)
    wait_until(lambda: panel.preflight.result is not None)
    reading = panel.options.reading
    assert len(reading.bands) == len(panel.model.model.bands)
    choose(reading.bands[0], 3)
    choose(reading.stretch, SHOWN)
    wait_until(lambda: panel.preflight.result is not None)
    wait_until(lambda: engine.asked("check")[-1]["image"].get("stretch"))
    asked = engine.asked("check")[-1]["image"]
    assert asked["bands"] == ["3", "2", "3"][: len(reading.bands)]
    run(panel)
    sent = engine.asked("predict")[-1]["image"]
    assert (sent["bands"], sent["stretch"]) == (asked["bands"], asked["stretch"])
    assert json.loads(layer.customProperty(PROPERTY))["bands"] == asked["bands"]


def test_a_light_about_bands_leads_to_them(dock, engine):
    red = {"name": "pixel type", "level": "red", "reason": "It has uint16 pixels.", "refuses": True}
    amber = {"name": "bands", "level": "amber", "reason": "Assumed by their order."}
    engine.script(check={"result": {"lights": [red, amber], "windows": 1, "seconds": None, "device": "x"}})
    panel = dock.segment
    press(panel.region.extent_button)
    wait_until(lambda: len(panel.preflight.lights.warnings) == 2)
    stretch, bands = (
        next(b for b in panel.preflight.lights.findChildren(type(panel.run_bar.run_button)) if b.text() == words)
        for words in ("Choose a stretch…", "Choose bands…")
    )
    dock.activateWindow()
    press(stretch)
    assert not panel.options.isCollapsed()
    wait_until(lambda: dock.window().focusWidget() is panel.options.reading.stretch)
    press(bands)
    wait_until(lambda: dock.window().focusWidget() is panel.options.reading.bands[0])
