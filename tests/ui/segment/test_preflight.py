"""The estimate before a run: measured after the first answer, in the background, never while a run goes."""

from dataclasses import replace

import pytest
from qgis.core import QgsApplication
from qgis.PyQt.QtWidgets import QPushButton
from scene import wait_until
from test_dock import press, run

LIGHTS = [{"name": "bands", "level": "green", "reason": "The model reads red, green and blue."}]
UNKNOWN = {
    "lights": LIGHTS, "windows": 12, "seconds": None, "device": "Test processor",
    "workload": {"windows": 12, "strip_mb": 20.5},
}  # fmt: skip
LOW = {"name": "memory", "level": "amber", "reason": "It will not do."}


@pytest.fixture
def ready(dock):
    press(dock.segment.region.extent_button)
    wait_until(lambda: dock.segment.preflight.result is not None)
    return dock.segment


def check_anew(panel, engine, **script):
    """Another choice is checked, by an engine that does what the script says."""
    engine.script(check={"result": UNKNOWN}, **script)
    panel.model.chooser.setCurrentIndex(1 - panel.model.chooser.currentIndex())
    wait_until(lambda: panel.preflight.result is not None)
    return panel.preflight


def test_what_is_known_is_told_at_once(ready, engine):
    known = {**UNKNOWN, "seconds": 90.0, "memory_mb": 530.0, "workload": None}
    engine.script(check={"result": known})
    ready.model.chooser.setCurrentIndex(1)
    wait_until(lambda: ready.preflight.result is not None)
    assert ready.preflight.estimate.text() == "About 2 min and 530 MB of memory on Test processor"
    assert engine.asked("calibrate") == []


def test_what_is_not_known_is_measured_after_the_answer(ready, engine):
    box = check_anew(ready, engine, calibrate={"steps": 20})
    assert box._lights.count() == 2, "the lights do not wait"
    assert "Measuring" in box.estimate.text()
    wait_until(lambda: "45 s" in box.estimate.text())
    assert box.estimate.text() == "About 45 s and 1.2 GB of memory on Test processor"
    (asked,) = engine.asked("calibrate")
    assert asked == {"model": "/models/fields.safetensors", "workload": UNKNOWN["workload"], "device": "auto"}
    assert box.result.workload is None


def test_a_warning_of_the_memory_becomes_a_light(ready, engine):
    box = check_anew(ready, engine, calibrate={"result": {"seconds": 45.0, "memory_mb": 9000.0, "light": LOW}})
    wait_until(lambda: box._lights.count() == 4)
    assert box._lights.itemAtPosition(1, 1).widget().text() == "It will not do."
    assert "9.0 GB" in box.estimate.text()
    assert box.result.level == "amber"


def test_another_choice_ends_the_measuring(ready, engine):
    check_anew(ready, engine, calibrate={"steps": 1000})
    wait_until(lambda: engine.asked("calibrate"))
    box = check_anew(ready, engine)
    wait_until(lambda: "45 s" in box.estimate.text())
    assert [asked["model"] for asked in engine.asked("calibrate")] == [
        "/models/fields.safetensors", "/models/buildings.safetensors",
    ]  # fmt: skip


def test_nothing_is_measured_while_a_run_goes_and_what_was_cut_short_is_made_up_for(ready, engine):
    box = check_anew(ready, engine, calibrate={"steps": 1000})
    wait_until(lambda: engine.asked("calibrate"))
    engine.script(check={"result": UNKNOWN})
    run(ready)
    assert len(engine.asked("predict")) == 1, "the run did not wait for the measuring"
    wait_until(lambda: "45 s" in box.estimate.text())
    methods = [message["method"] for message in engine.requests]
    assert "cancel" in methods[methods.index("calibrate") : methods.index("predict")]
    assert "calibrate" in methods[methods.index("predict") :]


def test_a_check_that_ends_while_a_run_goes_starts_no_other(ready, engine):
    """Another choice has been made meanwhile, which is to be checked; but not now."""
    box = ready.preflight
    wanted = box._wanted
    box.pause()
    before = len(engine.asked("check"))
    box._end(replace(wanted, model="another"), None)
    box._timer.stop()
    box._start()
    assert box._task is None
    assert len(engine.asked("check")) == before
    box.result = None
    box.check(wanted)
    wait_until(lambda: box.result is not None)
    assert len(engine.asked("check")) == before + 1, "after the run it is"


def test_a_speed_that_cannot_be_measured_is_not_told(ready, engine):
    box = check_anew(ready, engine, calibrate={"result": {"seconds": None, "memory_mb": None}})
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    assert box.estimate.text() == ""
    assert not box.estimate.isVisible()


def test_an_engine_that_fails_to_measure_leaves_the_lights(ready, engine):
    error = {"code": "internal", "sentence": "Oh.", "remedy": "Well.", "details": ""}
    box = check_anew(ready, engine, calibrate={"error": error})
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    assert box._lights.count() == 2
    assert box.estimate.text() == ""


MARGIN = {
    "name": "data", "level": "amber", "reason": "8% of it is a margin where all bands are 255.", "nodata": 255.0,
}  # fmt: skip


def nodata_button(box):
    wait_until(lambda: any(button.isVisible() for button in box.findChildren(QPushButton)))
    (button,) = [button for button in box.findChildren(QPushButton) if button.isVisible()]
    return button


def test_a_margin_is_no_data_with_one_click_and_data_again_with_another(ready, engine):
    engine.script(check={"result": {**UNKNOWN, "lights": [*LIGHTS, MARGIN], "seconds": 9.0, "workload": None}})
    ready.model.chooser.setCurrentIndex(1)
    wait_until(lambda: ready.preflight.result is not None)
    assert engine.asked("check")[-1]["image"].get("nodata") is None
    button = nodata_button(ready.preflight)
    assert button.text() == "Treat 255 as no data"
    clean = {"name": "data", "level": "green", "reason": "92% of the region has data."}
    engine.script(check={"result": {**UNKNOWN, "lights": [*LIGHTS, clean], "seconds": 9.0, "workload": None}})
    press(button)
    wait_until(lambda: ready.preflight.result is not None)
    assert engine.asked("check")[-1]["image"]["nodata"] == 255.0
    run(ready)
    assert engine.asked("predict")[-1]["image"]["nodata"] == 255.0, "the run leaves out what the check left out"
    wait_until(lambda: ready.preflight.result is not None)
    button = nodata_button(ready.preflight)
    assert button.text() == "Treat 255 as data again"
    press(button)
    wait_until(lambda: ready.preflight.result is not None)
    assert engine.asked("check")[-1]["image"].get("nodata") is None
