"""The estimate before a run: measured after the first answer, in the background, never while a run goes."""

from dataclasses import replace

import pytest
from qgis.PyQt.QtCore import QPoint
from qgis.PyQt.QtWidgets import QLabel, QPushButton, QScrollArea
from scene import wait_until
from test_dock import press, reasons, run

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
    wait_until(lambda: reasons(box) == [LIGHTS[0]["reason"]])  # the lights do not wait
    assert "Measuring" in box.estimate.text()
    wait_until(lambda: "45 s" in box.estimate.text())
    assert box.estimate.text() == "About 45 s and 1.2 GB of memory on Test processor"
    (asked,) = engine.asked("calibrate")
    assert asked == {"model": "/models/fields.safetensors", "workload": UNKNOWN["workload"], "device": "auto"}
    assert box.result.workload is None


def test_a_warning_of_the_memory_becomes_a_light(ready, engine):
    box = check_anew(ready, engine, calibrate={"result": {"seconds": 45.0, "memory_mb": 9000.0, "light": LOW}})
    wait_until(lambda: reasons(box) == ["It will not do.", LIGHTS[0]["reason"]])
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
    wait_until(lambda: engine.asked("calibrate"))
    wait_until(lambda: box.estimate.text() == "")
    assert not box.estimate.isVisible()


def test_an_engine_that_fails_to_measure_leaves_the_lights(ready, engine):
    error = {"code": "internal", "sentence": "Oh.", "remedy": "Well.", "details": ""}
    box = check_anew(ready, engine, calibrate={"error": error})
    wait_until(lambda: engine.asked("calibrate"))
    wait_until(lambda: box.estimate.text() == "" and reasons(box) == [LIGHTS[0]["reason"]])


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


FINE = [{"name": name, "level": "green", "reason": f"OK: the {name}."} for name in ("bands", "pixel type", "values")]
CONTRAST = {"name": "values", "level": "red", "reason": "The colours are very different."}
COARSE = {"name": "resolution", "level": "red", "reason": "It is 20 times too coarse.", "refuses": True}


def check_with(panel, engine, *lights):
    """Have these lights."""
    engine.script(check={"result": {**UNKNOWN, "lights": list(lights), "seconds": 9.0, "workload": None}})
    panel.model.chooser.setCurrentIndex(1 - panel.model.chooser.currentIndex())
    wait_until(lambda: panel.preflight.result is not None)
    wait_until(lambda: len(reasons(panel.preflight)) > 0)


def test_what_is_fine_is_one_line_that_unfolds(ready, engine):
    check_with(ready, engine, *FINE[:2], LOW, FINE[2])
    box = ready.preflight
    wait_until(lambda: len(reasons(box)) == 2)
    assert reasons(box)[0] == LOW["reason"], "what is wrong comes first"
    assert reasons(box)[1].startswith("OK: bands, pixel type, values · <a")
    (fold,) = [words for words in box.lights.findChildren(QLabel) if words.isVisible() and "<a" in words.text()]
    fold.linkActivated.emit("#")
    wait_until(lambda: reasons(box)[2:] == [light["reason"] for light in FINE])


def test_what_unfolds_has_the_colour_of_text_in_every_theme(dock, ready, engine):
    check_with(ready, engine, *FINE)
    dock.setStyleSheet("QWidget { color: #eeeeee; background: #333333; }")
    wait_until(lambda: any("color: #eeeeee" in words for words in reasons(ready.preflight)))
    dock.setStyleSheet("")
    wait_until(lambda: any("color: #000000" in words for words in reasons(ready.preflight)))


def test_the_number_of_warnings_is_beside_run_and_leads_to_them(dock, ready, engine):
    assert ready.warnings.isVisible()
    dock.resize(360, 420)
    ready.options.setCollapsed(False)
    area = ready.findChild(QScrollArea)
    check_with(ready, engine, LOW, CONTRAST, *FINE)
    assert ready.warnings.text() == "2 warnings"
    area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
    lights = ready.preflight.lights
    wait_until(lambda: lights.mapTo(area, QPoint(0, 0)).y() < 0)
    press(ready.warnings)
    wait_until(lambda: 0 <= lights.mapTo(area, QPoint(0, 0)).y() < area.height())
    check_with(ready, engine, *FINE)
    assert not ready.warnings.isVisible()


def test_a_red_light_can_be_overruled_where_a_result_is_possible(ready, engine):
    check_with(ready, engine, CONTRAST)
    button, tick = ready.run_bar.run_button, ready.preflight.overruled
    assert not button.isEnabled()
    assert tick.isVisible()
    assert tick.text() in button.toolTip()
    tick.click()
    assert button.isEnabled()
    ready.model.threshold.setValue(0.77)
    assert button.isEnabled(), "another threshold is nothing that is checked"
    run(ready)
    assert len(engine.asked("predict")) == 1
    check_with(ready, engine, CONTRAST)
    buttons = ready.preflight.lights.findChildren
    wait_until(lambda: [each.text() for each in buttons(QPushButton) if each.isVisible()] == ["Choose a stretch…"])
    assert not button.isEnabled(), "each check is overruled by itself"


def test_what_the_engine_refuses_cannot_be_overruled(ready, engine):
    check_with(ready, engine, COARSE, CONTRAST)
    assert not ready.run_bar.run_button.isEnabled()
    assert not ready.preflight.overruled.isVisible()
    check_with(ready, engine, *FINE)
    assert ready.run_bar.run_button.isEnabled()
