"""The algorithms as people run them: in the toolbox's dialog, in its batch dialog, in a model of the designer."""

import pytest
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsGeometry,
    QgsLayerTreeModel,
    QgsProcessingContext,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterRasterLayer,
    QgsProject,
    QgsVectorLayer,
)
from qgis.core import QgsProcessingModelChildParameterSource as Source
from qgis.gui import QgsBrowserGuiModel, QgsLayerTreeView
from qgis.PyQt.QtWidgets import QCheckBox, QTextEdit
from scene import wait_until, write_project

from orthomask.ui.processing.provider import OrthomaskProvider


@pytest.fixture
def provider(qgis_processing, qgis_iface, client, monkeypatch):
    """Our algorithms, and what their dialogs need of QGIS."""
    layers, files = QgsLayerTreeView(), QgsBrowserGuiModel()
    layers.setModel(QgsLayerTreeModel(QgsProject.instance().layerTreeRoot()))
    monkeypatch.setattr(type(qgis_iface), "layerTreeView", lambda _: layers, raising=False)
    monkeypatch.setattr(type(qgis_iface), "browserModel", lambda _: files, raising=False)
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def town(tmp_path):
    """Labels and areas of a label project."""
    path = write_project(tmp_path / "town.gpkg", [(0, 1)], [(0, "area 1", "train")])
    return {"LABELS": f"{path}|layername=labels", "AREAS": f"{path}|layername=areas"}


def algorithm(name):
    return QgsApplication.processingRegistry().algorithmById(f"orthomask:{name}").create()


def dialog_of(wanted, **parameters):
    """The dialog of one of our algorithms, by name, or of a model, filled in."""
    from processing.gui.AlgorithmDialog import AlgorithmDialog

    dialog = AlgorithmDialog(algorithm(wanted) if isinstance(wanted, str) else wanted.create())
    dialog.setParameters(parameters)
    return dialog


def run(wanted, **parameters):
    """Run it in its dialog; returns the dialog's log."""
    return ended(dialog_of(wanted, **parameters))


def ended(dialog):
    """Press *Run*; the log once all has ended well."""
    ends = []
    dialog.algorithmFinished.connect(lambda ok, _: ends.append(ok))
    dialog.runButton().click()
    wait_until(lambda: ends)
    log = dialog.findChild(QTextEdit, "txtLog").toPlainText()
    dialog.close()
    assert ends == [True], log
    return log


def shown():
    """The project's vector and raster layers, by name; those of the fixtures aside."""
    layers = QgsProject.instance().mapLayers().values()
    return {layer.name(): layer for layer in layers if layer.name() != "photo"}


def classes_of(layer):
    return [category.label() for category in layer.renderer().categories()]


def test_polygons_from_probabilities_are_opened(provider, layer, run_folder):
    run("polygonize", PROBABILITIES=f"{run_folder}/probabilities.tif", THRESHOLD=0.3)
    (polygons,) = shown().values()
    assert (polygons.featureCount(), classes_of(polygons)) == (2, ["field", "orchard", "no class"])


def test_polygons_near_an_extent_keep_the_edits_of_a_file(provider, layer, run_folder, engine):
    edited, extent = f"{run_folder}/polygons.gpkg", "500000,500032,2999968,3000000 [EPSG:32645]"
    run("polygonize", PROBABILITIES=f"{run_folder}/probabilities.tif", THRESHOLD=0.3, EXTENT=extent, EDITED=edited)
    (asked,) = engine.asked("polygonize")
    assert asked["edited_path"] == edited
    assert QgsGeometry.fromWkt(asked["region"]["wkt"]).boundingBox().width() == pytest.approx(32)


def test_areas_to_label_are_opened(provider, layer, tmp_path):
    run("sampleareas", IMAGE=layer, OUTPUT=str(tmp_path / "new.gpkg"))
    (areas,) = shown().values()
    assert (areas.featureCount(), areas.renderer().classAttribute()) == (2, "split")


def test_a_mask_is_opened(provider, layer, town):
    run("exportmask", IMAGE=layer, **town)
    (mask,) = shown().values()
    assert [c.label for c in mask.renderer().classes()] == ["field"]


@pytest.mark.parametrize("opened", [True, False])
def test_an_output_is_opened_only_where_that_is_ticked(provider, layer, run_folder, tmp_path, opened):
    dialog = dialog_of("polygonize", PROBABILITIES=f"{run_folder}/probabilities.tif", OUTPUT=str(tmp_path / "p.gpkg"))
    (box,) = [box for box in dialog.findChildren(QCheckBox) if "after running" in box.text()]
    box.setChecked(opened)
    ended(dialog)
    assert QgsVectorLayer(str(tmp_path / "p.gpkg"), "p").featureCount() == 2
    assert len(shown()) == opened


@pytest.mark.skipif(Qgis.QGIS_VERSION_INT >= 33400, reason="outside its main window, that QGIS's batch dialog crashes")
def test_a_batch_opens_the_output_of_each_row(provider, layer, run_folder, engine, tmp_path):
    from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog

    dialog = BatchAlgorithmDialog(algorithm("polygonize"))
    panel, context = dialog.mainWidget(), QgsProcessingContext()
    panel.addRow()
    for row, threshold in enumerate((0.3, 0.6)):
        for name, value in (("PROBABILITIES", f"{run_folder}/probabilities.tif"), ("THRESHOLD", threshold)):
            panel.wrappers[row][panel.parameter_to_column[name]].setParameterValue(value, context)
        output = panel.tblParameters.cellWidget(row + 1, panel.parameter_to_column["OUTPUT"])
        output.setValue(f"{tmp_path}/at{threshold}.gpkg")
    panel.checkLoadLayersOnCompletion.setChecked(True)
    dialog.runButton().click()
    wait_until(lambda: len(QgsProject.instance().mapLayers()) == 3 and dialog.runButton().isEnabled())
    dialog.close()
    assert [asked["threshold"] for asked in engine.asked("polygonize")] == [0.3, 0.6]
    opened = {layer.source().split("|")[0]: layer for layer in QgsProject.instance().mapLayers().values()}
    assert opened.keys() - {layer.source()} == {f"{tmp_path}/at0.3.gpkg", f"{tmp_path}/at0.6.gpkg"}
    assert classes_of(opened[f"{tmp_path}/at0.3.gpkg"]) == ["field", "orchard", "no class"]


def test_a_model_hands_outputs_on_and_opens_the_last(provider, layer, engine, tmp_path):
    """A run's probabilities become polygons, the labels of a mask inside areas that the model places."""
    model = QgsProcessingModelAlgorithm("all", "test")
    model.addModelParameter(QgsProcessingParameterRasterLayer("IMAGE", "Image"), QgsProcessingModelParameter("IMAGE"))
    image = Source.fromModelParameter("IMAGE")
    folder = Source.fromStaticValue(str(tmp_path / "run"))
    for name, sources, wanted in (
        ("segment", {"IMAGE": image, "OUTPUT": folder, "LOAD": Source.fromStaticValue(False)}, ""),
        ("polygonize", {"PROBABILITIES": Source.fromChildOutput("segment", "PROBABILITIES")}, "new polygons"),
        ("sampleareas", {"IMAGE": image}, "new areas"),
        (
            "exportmask",
            {
                "IMAGE": image,
                "LABELS": Source.fromChildOutput("polygonize", "OUTPUT"),
                "AREAS": Source.fromChildOutput("sampleareas", "OUTPUT"),
            },
            "mask",
        ),
    ):
        step = QgsProcessingModelChildAlgorithm(f"orthomask:{name}")
        step.setChildId(name)
        for parameter, source in sources.items():
            step.addParameterSources(parameter, [source])
        output = QgsProcessingModelOutput(wanted)
        output.setChildId(name)
        output.setChildOutputName("OUTPUT")
        step.setModelOutputs({wanted: output} if wanted else {})
        model.addChildAlgorithm(step)
    model.updateDestinationParameters()
    model.setProvider(QgsApplication.processingRegistry().providerById("model"))
    run(model, IMAGE=layer)
    assert engine.asked("polygonize")[-1]["probabilities_path"] == str(tmp_path / "run" / "probabilities.tif")
    asked = engine.asked("mask")[-1]
    assert len(asked["labels"]) == 1
    assert asked["areas"] is not None
    assert [*sorted(shown())] == ["mask", "new areas", "new polygons"]
    assert classes_of(shown()["new polygons"]) == ["field", "orchard", "no class"]
    assert shown()["new areas"].renderer().classAttribute() == "split"


def test_a_cancelled_algorithm_ends_without_a_complaint(provider, layer, engine, run_folder):
    engine.script(polygonize={"steps": 1000, "step_seconds": 0.01})
    dialog = dialog_of("polygonize", PROBABILITIES=f"{run_folder}/probabilities.tif")
    dialog.runButton().click()
    wait_until(lambda: engine.asked("polygonize"))
    dialog.cancelButton().click()
    wait_until(lambda: dialog.runButton().isEnabled())
    log = dialog.findChild(QTextEdit, "txtLog").toPlainText()
    dialog.close()
    assert "not correctly generated" not in log
    assert shown() == {}
