import json
import threading

import processing
import pytest
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterRasterLayer,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from scene import CRS, LEFT, TOP, Watcher, wait_until, write_raster

from orthomask.ui.layers.reading import Reading, remember
from orthomask.ui.models import own_models
from orthomask.ui.processing.provider import OrthomaskProvider


@pytest.fixture
def provider(qgis_processing, client):
    provider = OrthomaskProvider(client)
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


@pytest.fixture
def areas():
    """Two polygons, the second one selected."""
    layer = QgsVectorLayer(f"Polygon?crs={CRS}", "areas", "memory")
    for x in (LEFT, LEFT + 20):
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, TOP - 10, x + 10, TOP)))
        layer.dataProvider().addFeatures([feature])
    layer.selectByIds([2])
    QgsProject.instance().addMapLayer(layer)
    return layer


def segment(tmp_path, layer, **parameters):
    return processing.run("orthomask:segment", {"IMAGE": layer, "OUTPUT": str(tmp_path / "run"), **parameters})


def complaint(tmp_path, layer, **parameters):
    """What a person reads of a run that fails."""
    feedback = QgsProcessingFeedback(False)
    given = {"IMAGE": layer, "OUTPUT": str(tmp_path / "run"), **parameters}
    with pytest.raises(QgsProcessingException) as caught:
        processing.run("orthomask:segment", given, feedback=feedback)
    return f"{caught.value} {feedback.textLog()}"


def box(engine):
    geometry = QgsGeometry.fromWkt(engine.asked("predict")[-1]["region"]["wkt"])
    return geometry.boundingBox()


@pytest.mark.parametrize("temporary", [True, False])
def test_results_that_qgis_will_delete_are_said_to_be_temporary(provider, layer, tmp_path, temporary):
    feedback = QgsProcessingFeedback(False)
    given = {"IMAGE": layer, "OUTPUT": "TEMPORARY_OUTPUT" if temporary else str(tmp_path / "run")}
    processing.run("orthomask:segment", given, feedback=feedback)
    assert ("These results are temporary" in feedback.textLog()) is temporary


def test_the_provider_offers_algorithms_with_help(provider):
    algorithms = {algorithm.id(): algorithm for algorithm in provider.algorithms()}
    names = {"segment", "polygonize", "check", "train", "evaluate"}
    assert {f"orthomask:{name}" for name in names} <= set(algorithms)
    for algorithm in algorithms.values():
        assert algorithm.shortHelpString()
        assert all(parameter.help() for parameter in algorithm.parameterDefinitions())
        assert all(len(parameter.description()) > 3 for parameter in algorithm.parameterDefinitions())


def test_segment_needs_an_image_and_a_folder_and_has_sound_defaults(provider, layer, engine, photo, tmp_path):
    results = segment(tmp_path, layer)
    asked = engine.asked("predict")[-1]
    assert asked["image"]["path"] == photo
    assert asked["model"] == "buildings"
    assert asked["region"] is None
    assert asked["threshold"] is None
    assert asked["existing"] == "refuse"
    assert asked["device"] == "auto"
    assert results["POLYGON_COUNT"] == 2
    assert results["POLYGON_AREA_M2"] == 250
    assert results["DEVICE_USED"] == "Test processor"
    assert results["RUN_ID"] == "0123456789ab"
    assert results["OUTPUT"] == str(tmp_path / "run")
    for name in ("CLASSES", "PROBABILITIES"):
        assert QgsRasterLayer(results[name], name).isValid()
    assert QgsVectorLayer(results["POLYGONS"], "polygons").featureCount() == 2


def test_segment_takes_what_is_given(provider, layer, engine, tmp_path):
    segment(
        tmp_path, layer, THRESHOLD=0.7, MODEL_FILE="/models/mine.safetensors", EXISTING=2, DEVICE="cpu",
        IMAGE_DATE="2024", MIN_AREA=9, MIN_HOLE=3, SIMPLIFY=False,
    )  # fmt: skip
    asked = engine.asked("predict")[-1]
    assert asked["threshold"] == 0.7
    assert asked["model"] == "/models/mine.safetensors"
    assert asked["existing"] == "resume"
    assert asked["device"] == "cpu"
    assert asked["image_date"] == "2024"
    assert asked["polygons"] == {"min_area_m2": 9, "min_hole_m2": 3, "simplify": False}


def test_the_region_is_all_polygons_or_the_selected_ones(provider, layer, areas, engine, tmp_path):
    segment(tmp_path, layer, REGION=areas)
    assert box(engine).width() == pytest.approx(30)
    segment(tmp_path, layer, REGION=QgsProcessingFeatureSourceDefinition(areas.id(), True))
    assert box(engine) == QgsRectangle(LEFT + 20, TOP - 10, LEFT + 30, TOP)


def test_the_extent_is_a_region_and_cuts_a_region(provider, layer, areas, engine, tmp_path):
    extent = f"{LEFT + 25},{LEFT + 40},{TOP - 5},{TOP} [{CRS}]"
    segment(tmp_path, layer, EXTENT=extent)
    assert box(engine) == QgsRectangle(LEFT + 25, TOP - 5, LEFT + 40, TOP)
    assert engine.asked("predict")[-1]["region"]["crs"] == CRS
    segment(tmp_path, layer, EXTENT=extent, REGION=areas)
    assert box(engine) == QgsRectangle(LEFT + 25, TOP - 5, LEFT + 30, TOP)


def test_a_region_without_an_inside_is_refused_in_words(provider, layer, tmp_path):
    empty = QgsVectorLayer(f"Polygon?crs={CRS}", "empty", "memory")
    assert "The region encloses no area. Use a polygon" in complaint(tmp_path, layer, REGION=empty)


def test_an_error_of_the_engine_is_sentence_and_remedy(provider, layer, engine, tmp_path):
    error = {"code": "output_exists", "sentence": "There is a run.", "remedy": "Choose another.", "details": "x"}
    engine.script(predict={"error": error})
    assert "There is a run. Choose another." in complaint(tmp_path, layer)


def test_progress_and_cancel_go_through_the_feedback(provider, layer, engine, tmp_path):
    engine.script(predict={"steps": 1000, "step_seconds": 0.02})
    algorithm = QgsApplication.processingRegistry().algorithmById("orthomask:segment")
    context, feedback = QgsProcessingContext(), QgsProcessingFeedback()
    percents, ends = [], []
    feedback.progressChanged.connect(percents.append)
    parameters = {"IMAGE": layer.id(), "OUTPUT": str(tmp_path / "run")}
    context.setProject(QgsProject.instance())
    task = QgsProcessingAlgRunnerTask(algorithm, parameters, context, feedback)
    task.executed.connect(lambda ok, results: ends.append(results))
    QgsApplication.taskManager().addTask(task)
    wait_until(lambda: len(percents) > 3)
    feedback.cancel()
    wait_until(lambda: ends)
    assert ends == [{}]


def test_results_are_loaded_styled_in_the_colours_of_the_classes(provider, layer, tmp_path):
    context, feedback = QgsProcessingContext(), QgsProcessingFeedback()
    context.setProject(QgsProject.instance())
    parameters = {"IMAGE": layer.id(), "OUTPUT": str(tmp_path / "run")}
    processing.run("orthomask:segment", parameters, context=context, feedback=feedback)
    details = context.layersToLoadOnCompletion()
    kinds = {detail.name.split(" · ")[0] for detail in details.values()}
    assert kinds == {"Classes", "Polygons", "Probability of field"}
    uri = next(uri for uri, detail in details.items() if detail.name.startswith("Polygons"))
    polygons = QgsVectorLayer(uri, "polygons")
    details[uri].postProcessor().postProcessLayer(polygons, context, feedback)
    assert [c.label() for c in polygons.renderer().categories()] == ["field", "orchard", "no class"]


def test_the_log_gets_no_line_for_each_window(provider, layer, engine, tmp_path):
    engine.script(predict={"steps": 200, "step_seconds": 0})
    feedback = Watcher()
    parameters = {"IMAGE": layer, "OUTPUT": str(tmp_path / "run")}
    processing.run("orthomask:segment", parameters, feedback=feedback)
    assert 10 <= len(feedback.texts) <= 20
    assert len(feedback.percents) > 100


def test_rasters_are_loaded_hidden_and_polygons_shown(provider, layer, tmp_path):
    context, feedback = QgsProcessingContext(), QgsProcessingFeedback()
    context.setProject(QgsProject.instance())
    parameters = {"IMAGE": layer.id(), "OUTPUT": str(tmp_path / "run")}
    processing.run("orthomask:segment", parameters, context=context, feedback=feedback)
    shown = {}
    for uri, details in context.layersToLoadOnCompletion().items():
        vector = "polygons" in uri
        loaded = QgsVectorLayer(uri, "polygons") if vector else QgsRasterLayer(uri, "raster")
        QgsProject.instance().addMapLayer(loaded)
        details.postProcessor().postProcessLayer(loaded, context, feedback)
        shown[vector] = QgsProject.instance().layerTreeRoot().findLayer(loaded.id()).isVisible()
    assert shown == {True: True, False: False}


def test_nothing_is_loaded_if_so_chosen(provider, layer, tmp_path):
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    parameters = {"IMAGE": layer.id(), "OUTPUT": str(tmp_path / "run"), "LOAD": False}
    processing.run("orthomask:segment", parameters, context=context)
    assert context.layersToLoadOnCompletion() == {}


def test_polygonize(provider, run_folder, engine, tmp_path):
    parameters = {"PROBABILITIES": f"{run_folder}/probabilities.tif", "THRESHOLD": 0.3}
    results = processing.run("orthomask:polygonize", {**parameters, "OUTPUT": str(tmp_path / "again.gpkg")})
    assert engine.asked("polygonize")[-1]["threshold"] == 0.3
    assert engine.asked("polygonize")[-1]["probabilities_path"] == f"{run_folder}/probabilities.tif"
    assert results["POLYGON_COUNT"] == 2
    assert QgsVectorLayer(results["OUTPUT"], "again").featureCount() == 2
    results = processing.run("orthomask:polygonize", {**parameters, "OUTPUT": "TEMPORARY_OUTPUT"})
    assert results["OUTPUT"].endswith(".gpkg")


def test_check(provider, layer, engine):
    results = processing.run("orthomask:check", {"IMAGE": layer})
    assert results["LEVEL"] == "amber"
    assert [light["name"] for light in json.loads(results["LIGHTS"])] == ["bands", "resolution"]
    assert results["WINDOWS"] == 12
    assert results["SECONDS"] == 90


def test_segment_and_polygonize_in_a_model(provider, layer, engine, tmp_path):
    """The second step takes the first one's output, as in the model designer."""
    source = QgsProcessingModelChildParameterSource
    model = QgsProcessingModelAlgorithm("both", "test")
    model.addModelParameter(QgsProcessingParameterRasterLayer("IMAGE", "Image"), QgsProcessingModelParameter("IMAGE"))
    first = QgsProcessingModelChildAlgorithm("orthomask:segment")
    first.setChildId("first")
    first.addParameterSources("IMAGE", [source.fromModelParameter("IMAGE")])
    first.addParameterSources("OUTPUT", [source.fromStaticValue(str(tmp_path / "run"))])
    model.addChildAlgorithm(first)
    second = QgsProcessingModelChildAlgorithm("orthomask:polygonize")
    second.setChildId("second")
    second.addParameterSources("PROBABILITIES", [source.fromChildOutput("first", "PROBABILITIES")])
    second.addParameterSources("THRESHOLD", [source.fromStaticValue(0.9)])
    output = QgsProcessingModelOutput("again")
    output.setChildId("second")
    output.setChildOutputName("OUTPUT")
    second.setModelOutputs({"again": output})
    model.addChildAlgorithm(second)
    model.updateDestinationParameters()
    results = processing.run(model, {"IMAGE": layer, "second:again": str(tmp_path / "again.gpkg")})
    assert engine.asked("polygonize")[-1]["probabilities_path"] == str(tmp_path / "run" / "probabilities.tif")
    assert results["second:again"] == str(tmp_path / "again.gpkg")


def test_the_engine_is_asked_outside_the_main_thread(provider, layer, engine, tmp_path, client, monkeypatch):
    threads = []
    original = client.call
    monkeypatch.setattr(client, "call", lambda *a: (threads.append(threading.current_thread()), original(*a))[1])
    algorithm = QgsApplication.processingRegistry().algorithmById("orthomask:segment")
    context, feedback = QgsProcessingContext(), QgsProcessingFeedback()
    context.setProject(QgsProject.instance())
    ends = []
    parameters = {"IMAGE": layer.id(), "OUTPUT": str(tmp_path / "run")}
    task = QgsProcessingAlgRunnerTask(algorithm, parameters, context, feedback)
    task.executed.connect(lambda ok, results: ends.append(ok))
    QgsApplication.taskManager().addTask(task)
    wait_until(lambda: ends)
    assert ends == [True]
    assert threads[0] is not threading.main_thread()


def test_a_value_can_be_no_data(provider, layer, engine, tmp_path):
    processing.run("orthomask:check", {"IMAGE": layer, "NODATA": 0})
    assert engine.asked("check")[-1]["image"]["nodata"] == 0
    processing.run("orthomask:segment", {"IMAGE": layer, "NODATA": 255, "OUTPUT": str(tmp_path / "run")})
    assert engine.asked("predict")[-1]["image"]["nodata"] == 255
    processing.run("orthomask:check", {"IMAGE": layer})
    assert engine.asked("check")[-1]["image"].get("nodata") is None


def test_bands_and_a_stretch_can_be_chosen(provider, layer, engine, tmp_path):
    remember(layer, Reading(("3", "2", "1"), (), 7.0))  # what the panels remember is not the toolbox's
    processing.run("orthomask:check", {"IMAGE": layer, "BANDS": "2, 1, red", "STRETCH": "200, 3000"})
    asked = engine.asked("check")[-1]["image"]
    assert (asked["bands"], asked["stretch"], asked.get("nodata")) == (["2", "1", "red"], [200, 3000], None)
    assert "not a list of numbers" in complaint(tmp_path, layer, STRETCH="all")
    assert "low and high values" in complaint(tmp_path, layer, STRETCH="5")


def test_a_second_image_is_read_too(provider, layer, engine, tmp_path):
    path = write_raster(tmp_path / "second.tif", [1, 2])
    processing.run("orthomask:check", {"IMAGE": layer, "SECOND": path, "BANDS": "1, second:2"})
    asked = engine.asked("check")[-1]["image"]
    assert (asked["second"]["path"], asked["bands"]) == (path, ["1", "second:2"])


def bundle(path, gsd_m=0.2):
    """As much of a bundle as its resolution is read from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"__metadata__": {"orthomask": json.dumps({"gsd_m": gsd_m})}}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    return path


@pytest.fixture
def own_models_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(own_models, "own_folder", lambda: tmp_path / "own")
    return tmp_path / "own"


def offered(name, parameter):
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(name)
    return algorithm.parameterDefinition(parameter).options()


def test_own_models_are_offered_where_the_dock_lists_them(provider, layer, engine, own_models_folder, tmp_path):
    before = offered("orthomask:segment", "MODEL")
    own, namesake = bundle(own_models_folder / "roofs.safetensors"), bundle(own_models_folder / "buildings.safetensors")
    (own_models_folder / "damaged.safetensors").write_bytes(b"weights")
    added = bundle(tmp_path / "elsewhere" / "added.safetensors")
    own_models.remember_files([str(added)])
    new = [str(namesake), "roofs", str(added)]
    assert offered("orthomask:segment", "MODEL") == [*before, *new]
    assert offered("orthomask:train", "START") == [*before, *new, "from scratch"]
    for name, asked in (("roofs", str(own)), (str(added), str(added)), ("buildings", "buildings")):
        segment(tmp_path, layer, MODEL=name)
        assert engine.asked("predict")[-1]["model"] == asked


def test_a_model_that_is_gone_is_named_with_a_remedy(provider, layer, engine, tmp_path):
    """Not replaced by the default one."""
    assert "There is no model “roofs”. Choose one of buildings" in complaint(tmp_path, layer, MODEL="roofs")
    step, feedback = (
        QgsApplication.processingRegistry().createAlgorithmById("orthomask:segment"),
        QgsProcessingFeedback(),
    )
    _, ended_well = step.run(
        {"IMAGE": layer, "MODEL": "roofs", "OUTPUT": str(tmp_path / "run")}, QgsProcessingContext(), feedback
    )  # as a step of a saved model, which is not checked
    assert not ended_well
    assert "There is no model “roofs”" in feedback.textLog()
    assert not engine.asked("predict")


@pytest.mark.parametrize("name", ["segment", "polygonize", "sampleareas"])
def test_a_folder_that_cannot_be_written_is_refused_before_it_runs(provider, layer, run_folder, tmp_path, name):
    (tmp_path / "file").write_text("")
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"orthomask:{name}")
    given = {"IMAGE": layer, "PROBABILITIES": f"{run_folder}/probabilities.tif"}
    context = QgsProcessingContext()
    for output, words in (
        (str(tmp_path / "file" / "out.gpkg"), "cannot be written. Choose a folder that you can write to."),
        (str(tmp_path / "new" / "out.gpkg"), ""),
        ("TEMPORARY_OUTPUT", ""),
    ):
        sound, message = algorithm.checkParameterValues({**given, "OUTPUT": output}, context)
        assert sound is not bool(words)
        assert words in message
    assert context.layersToLoadOnCompletion() == {}
