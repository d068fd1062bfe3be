import pytest
from osgeo import gdal
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsFillSymbol,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor
from scene import SIZE, write_raster

from orthomask.protocol import UNKNOWN, ClassInfo, ClassValue, OrthomaskError
from orthomask.ui.label.class_table import ClassTable, LayerValue, class_field_of, default_color, matched, values_of


def layer_with(*values, kind="string"):
    layer = QgsVectorLayer(f"Polygon?crs=EPSG:4326&field=use:{kind}", "uses", "memory")
    for value in values:
        feature = QgsFeature(layer.fields())
        feature.setAttributes([value])
        layer.dataProvider().addFeatures([feature])
    return layer


def categorised(layer, *entries):
    categories = [
        QgsRendererCategory(value, QgsFillSymbol.createSimple({"color": color}), label)
        for value, color, label in entries
    ]
    layer.setRenderer(QgsCategorizedSymbolRenderer("use", categories))
    return layer


def test_values_come_from_the_attribute(qgis_new_project):
    values = values_of(layer_with("wood", "rye", None, "rye"), "use")
    assert [value.source for value in values] == ["", "rye", "wood"]


def test_the_legend_comes_first_with_names_and_colours(qgis_new_project):
    layer = layer_with(2, 7, kind="integer")
    categorised(layer, (7, "#ff0000", "Houses"), (9, "#00ff00", "Sheds"), (None, "#cccccc", "the rest"))
    assert class_field_of(layer) == "use"
    assert values_of(layer, "use") == [
        LayerValue("7", "Houses", "#ff0000"), LayerValue("9", "Sheds", "#00ff00"), LayerValue("2", "2"),
    ]  # fmt: skip


def test_codes_are_numbered_by_size_and_0_and_background_are_no_classes(qgis_new_project):
    classes, mapping = matched(values_of(layer_with(1000, 0, 300, 3, kind="integer"), "use"), ())
    assert [info.name for info in classes] == ["3", "300", "1000"]
    assert {entry.source: entry.value for entry in mapping} == {"0": 0, "3": 1, "300": 2, "1000": 3}
    classes, mapping = matched(values_of(layer_with("roof", "Background"), "use"), ())
    assert [info.name for info in classes] == ["roof"]
    assert {entry.source: entry.value for entry in mapping} == {"roof": 1, "Background": 0}


def test_false_is_background_and_true_is_the_class(qgis_new_project):
    classes, mapping = matched(values_of(layer_with(True, False, None, kind="bool"), "use"), ())
    assert [info.name for info in classes] == ["use"]
    assert {entry.source: entry.value for entry in mapping} == {"": UNKNOWN, "true": 1, "false": 0}


def test_a_category_of_several_values(qgis_new_project):
    layer = categorised(layer_with("a", "b"), (["a", "b"], "#ff0000", "both"))
    classes, mapping = matched(values_of(layer, "use"), ())
    assert [info.name for info in classes] == ["both"]
    assert mapping == [ClassValue("a", 1), ClassValue("b", 1)]


def test_names_are_matched_whatever_their_case(qgis_new_project):
    known = [ClassInfo(1, "Building", "#dc3228")]
    classes, mapping = matched([LayerValue("b", "building"), LayerValue("", ""), LayerValue("y", "yard")], known)
    assert classes == [known[0], ClassInfo(2, "yard", default_color(2))]
    assert mapping == [ClassValue("b", 1), ClassValue("", UNKNOWN), ClassValue("y", 2)]


def test_too_many_values_are_refused_in_words(qgis_new_project):
    with pytest.raises(OrthomaskError, match="more than 254 values"):
        values_of(layer_with(*range(300), kind="integer"), "use")


def test_a_raster_with_a_palette(qgis_new_project, tmp_path):
    path = write_raster(tmp_path / "classes.tif", [bytes(i % 3 for i in range(SIZE * SIZE))])
    dataset = gdal.Open(path, gdal.GA_Update)
    table = gdal.ColorTable()
    for value, color in ((0, (0, 0, 0)), (1, (200, 0, 0)), (2, (0, 0, 200))):
        table.SetColorEntry(value, color)
    dataset.GetRasterBand(1).SetColorTable(table)
    del dataset
    values = {value.source: value.color for value in values_of(QgsRasterLayer(path, "classes"), "")}
    assert values["1"] == "#c80000"
    assert values["2"] == "#0000c8"


def test_a_map_of_colours_and_a_photograph(qgis_new_project, tmp_path):
    parts = [bytes(200 * (i % 2) for i in range(SIZE * SIZE)), 10, 255]
    colored = QgsRasterLayer(write_raster(tmp_path / "colors.tif", parts), "colors")
    assert [value.source for value in values_of(colored, "")] == ["#000aff", "#c80aff"]
    noise = [bytes(i * step % 251 for i in range(SIZE * SIZE)) for step in (1, 7, 13)]
    photo = QgsRasterLayer(write_raster(tmp_path / "photo.tif", noise), "photo")
    with pytest.raises(OrthomaskError, match="too many colours"):
        values_of(photo, "")


def test_a_table_keeps_names_colours_and_outlines(qgis_new_project):
    table = ClassTable()
    table.show_classes([ClassInfo(1, "field", "#4daf4a")])
    table.item(0, 1).setText(" meadow ")
    table.cellWidget(0, 0).setColor(QColor("#123456"))
    assert table.classes == (ClassInfo(1, "meadow", "#123456"),)
