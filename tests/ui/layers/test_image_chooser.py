"""Which layers the image chooser offers, and that it keeps to what the user chose."""

import shutil

import pytest
from qgis.core import QgsProject, QgsRasterLayer, QgsVectorLayer
from scene import write_raster

from orthomask.ui.layers.map_view import ImageChooser, MapView, is_result
from orthomask.ui.runs import results

MAP = "Map as it looks now"


@pytest.fixture
def chooser(canvas):
    canvas.setLayers([])
    return ImageChooser(canvas, "The image")


@pytest.fixture
def add(tmp_path, canvas):
    """Adds an image of this name to the project; the canvas shows it."""

    def add(name):
        layer = QgsRasterLayer(write_raster(tmp_path / f"{name}.tif", [90, 120, 60]), name)
        QgsProject.instance().addMapLayer(layer)
        canvas.setLayers([layer])
        return layer

    return add


def entries(chooser):
    return [chooser.itemText(index) for index in range(chooser.count())]


def choose(chooser, name):
    """Choose an entry as a person does."""
    chooser.setCurrentIndex(chooser.findText(name))
    chooser.activated.emit(chooser.currentIndex())


def test_without_layers_there_is_nothing_to_choose(chooser, add):
    assert entries(chooser) == []
    assert chooser.image is None
    layer = add("photo")
    assert entries(chooser) == ["photo", MAP]
    assert chooser.image is layer


def test_results_are_neither_offered_nor_fallen_onto(chooser, add, run_folder, canvas):
    photo = add("photo")
    results.add_run(QgsProject.instance(), results.read_run(run_folder))
    assert entries(chooser) == ["photo", MAP]
    assert chooser.image is photo
    canvas.setLayers([*QgsProject.instance().mapLayers().values()])
    assert MapView(canvas).layers() == [photo], "nor are they part of the map"
    canvas.setLayers([layer for layer in canvas.layers() if layer is not photo])
    QgsProject.instance().removeMapLayer(photo)
    assert entries(chooser) == []
    assert chooser.image is None


def test_an_image_beside_results_is_an_image(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    shutil.copy(folder / "classes.tif", folder / "image.tif")
    shutil.copy(folder / "classes.tif", folder / "uncertainty.tif")
    for name in ("classes", "uncertainty"):
        assert is_result(QgsRasterLayer(str(folder / f"{name}.tif"), name))
    assert is_result(QgsVectorLayer(f"{folder / 'polygons.gpkg'}|layername=polygons", "polygons"))
    assert not is_result(QgsRasterLayer(str(folder / "image.tif"), "image"))
    (folder / "run.json").unlink()
    assert not is_result(QgsRasterLayer(str(folder / "classes.tif"), "classes"))


def test_the_choice_is_kept_when_layers_come_and_go(chooser, add, tmp_path):
    first, chosen = add("b"), add("c")
    choose(chooser, "c")
    for name in ("a", "d"):
        add(name)
        assert chooser.image is chosen
    QgsProject.instance().removeMapLayer(first)
    assert chooser.image is chosen
    QgsProject.instance().write(str(tmp_path / "project.qgz"))
    QgsProject.instance().read(str(tmp_path / "project.qgz"))
    assert chooser.image.name() == "c", "and when the project is read again"
    choose(chooser, MAP)
    add("e")
    assert isinstance(chooser.image, MapView)
