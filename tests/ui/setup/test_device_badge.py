"""The badge says what the engine computes on, and if a GPU is idle, why and what cures it."""

import os
from dataclasses import replace

import pytest
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from scene import wait_until

from orthomask.protocol import GpuProblem, InfoResult
from orthomask.ui.installer import builds, graphics
from orthomask.ui.installer.builds import Gpu
from orthomask.ui.installer.graphics import AMD, INTEL, NVIDIA, Graphics
from orthomask.ui.setup import gpu_advice
from orthomask.ui.setup.device_badge import DeviceBadge
from orthomask.ui.setup.gpu_advice import Cure, advice
from orthomask.ui.toolkit import settings

CPU = InfoResult("1", "cpu", "Some <processor>", "There is no GPU.", "fp32", {}, GpuProblem.BUILD, "PyTorch 2.13+cpu")
GPU = InfoResult("1", "cuda:0", "RTX 4070", "Running on the GPU RTX 4070.", "bf16", {})
RTX = Gpu("RTX 4070", 580.65, 8.9)


def seen(gpu=RTX, makers=(NVIDIA,)):
    build, why = builds.choose(builds.builds("linux"), gpu, "x86_64")
    return Graphics(gpu, makers, build.name, why)


@pytest.fixture
def badge(qgis_app):
    badge = DeviceBadge()
    badge.show()
    yield badge
    badge.release()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    badge.deleteLater()


@pytest.fixture
def nvidia_smi(monkeypatch, tmp_path):
    """Puts a program of that name first on the PATH."""

    def put(text):
        folder = tmp_path / "programs"
        folder.mkdir()
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{text}\n")
        (folder / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return put


def looked(badge):
    wait_until(lambda: badge._task is None, 30)
    return badge


def test_a_gpu_that_is_used_is_named_and_nothing_is_looked_for(badge):
    badge.show_device(GPU)
    assert badge.text() == "<b>GPU</b> RTX 4070"
    assert badge.lamp.accessibleName() == "GPU"
    assert badge._task is None
    assert not badge.cure.isVisible()
    assert badge.toolTip() == "Running on the GPU RTX 4070."


def test_without_a_gpu_the_processor_is_no_reproach(badge, monkeypatch):
    monkeypatch.setattr(graphics, "look", lambda: seen(None, ()))
    badge.show_device(CPU)
    looked(badge)
    assert badge.text() == "<b>CPU</b> Some &lt;processor&gt;"
    assert badge.lamp.accessibleName() == "CPU"
    assert badge.advice is None
    assert not badge.cure.isVisible()
    assert badge.toolTip() == "There is no GPU.\nPyTorch 2.13+cpu"


@pytest.mark.parametrize(
    ("problem", "words", "cure"),
    [
        (GpuProblem.BUILD, "set up for the CPU only", Cure.SET_UP),
        (GpuProblem.DRIVER, "driver is too old", Cure.SET_UP),
        (GpuProblem.AGE, "PyTorch build does not support it", Cure.SET_UP),
        (GpuProblem.MEMORY, "using its memory. Close them", Cure.LOOK_AGAIN),
        (GpuProblem.ABSENT, "CUDA_VISIBLE_DEVICES", Cure.LOOK_AGAIN),
        (GpuProblem.START, "Restart the computer", Cure.LOOK_AGAIN),
        (GpuProblem.CHOSEN, "the CPU is chosen in the settings", Cure.USE_GPU),
    ],
)
def test_each_cause_has_its_sentence_and_its_cure(badge, monkeypatch, problem, words, cure):
    monkeypatch.setattr(graphics, "look", seen)
    wanted = []
    badge.setup_wanted.connect(lambda: wanted.append(Cure.SET_UP))
    badge.look_wanted.connect(lambda: wanted.append(Cure.LOOK_AGAIN))
    settings.DEVICE.set("cpu")
    badge.show_device(replace(CPU, gpu_problem=problem))
    looked(badge)
    assert badge.reason.text().startswith("RTX 4070 is not used: ")
    assert words in badge.reason.text()
    assert badge.cure.text() == cure.value
    is_warning = problem is not GpuProblem.CHOSEN
    assert (badge.lamp.accessibleName() == "A GPU is available but not used") is is_warning
    QTest.mouseClick(badge.cure, Qt.MouseButton.LeftButton)
    assert wanted == ([] if cure is Cure.USE_GPU else [cure])
    assert settings.DEVICE.get() == ("auto" if cure is Cure.USE_GPU else "cpu")


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (Gpu("GTX 960", 470.2, 5.2), "525 or newer: update the driver"),
        (Gpu("Tesla K80", 530.0, 3.7), "does not support this generation or type of GPU"),
    ],
)
def test_where_no_build_fits_a_remedy_is_named_and_no_button_promises_more(gpu, words):
    said = advice(CPU, seen(gpu))
    assert words in said.sentence
    assert gpu.name in said.sentence
    assert said.cure is Cure.NONE
    assert said.is_warning


def test_a_driver_that_does_not_answer_is_told():
    said = advice(CPU, seen(None, (NVIDIA, INTEL)))
    assert "driver does not answer" in said.sentence
    assert said.is_warning


@pytest.mark.parametrize("makers", [(AMD,), (INTEL,), (AMD, INTEL)])
def test_gpus_of_other_makers_are_said_not_to_be_used(makers):
    said = advice(CPU, seen(None, makers))
    assert ", ".join(makers) in said.sentence
    assert "NVIDIA and Apple GPUs only" in said.sentence
    assert (said.cure, said.is_warning) == (Cure.NONE, False)


@pytest.mark.parametrize(
    ("problem", "words", "cure"),
    [(GpuProblem.BUILD, "newer macOS", Cure.NONE), (GpuProblem.CHOSEN, "settings", Cure.USE_GPU)],
)
def test_an_idle_apple_gpu_is_told(monkeypatch, problem, words, cure):
    monkeypatch.setattr(gpu_advice.sys, "platform", "darwin")
    monkeypatch.setattr(gpu_advice.platform, "machine", lambda: "arm64")
    said = advice(replace(CPU, gpu_problem=problem), Graphics(None, (), "mac", ""))
    assert words in said.sentence
    assert said.cure is cure


def test_the_system_lists_its_gpus(monkeypatch, tmp_path):
    for number, (kind, vendor) in enumerate((("0x030000", "0x8086"), ("0x030200", "0x10de"), ("0x020000", "0x1002"))):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "class").write_text(f"{kind}\n")
        (folder / "vendor").write_text(f"{vendor}\n")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(graphics, "_PCI", tmp_path)
    assert graphics.makers() == (NVIDIA, INTEL)
    monkeypatch.setattr(graphics, "_PCI", tmp_path / "none")
    assert graphics.makers() == ()


def test_the_program_of_nvidia_is_asked_in_the_background(badge, nvidia_smi, tmp_path):
    answered = tmp_path / "answered"
    nvidia_smi(f'while [ ! -e "{answered}" ]; do sleep 0.02; done; echo "RTX 4070, 580.65.06, 8.9"')
    badge.show_device(CPU)  # would never return if the main thread waited for it
    answered.touch()
    assert badge.text().startswith("<b>CPU</b>")
    looked(badge)
    assert badge.reason.text() == "RTX 4070 is not used: the engine was set up for the CPU only."


def test_a_program_that_hangs_is_given_up(badge, nvidia_smi, monkeypatch):
    monkeypatch.setattr(builds, "SECONDS", 0.3)
    monkeypatch.setattr(graphics, "makers", lambda: (NVIDIA,))
    nvidia_smi("exec sleep 60")
    badge.show_device(CPU)
    looked(badge)
    assert "driver does not answer" in badge.reason.text()


def test_what_is_no_device_any_more_takes_its_advice_along(badge, monkeypatch):
    monkeypatch.setattr(graphics, "look", seen)
    badge.show_device(CPU)
    badge.say("Starting the engine…")
    looked(badge)
    assert badge.text() == "Starting the engine…"
    assert not badge.cure.isVisible()
    assert not badge.lamp.isVisible()


def test_the_button_opens_set_up_with_the_right_build(dock, engine, nvidia_smi):
    nvidia_smi('echo "GTX 1080, 580.65.06, 6.1"')
    engine.script(info={"result": {**CPU.__dict__, "gpu_problem": "build"}})
    dock.ask_engine()
    wait_until(dock.device.cure.isVisible)
    QTest.mouseClick(dock.device.cure, Qt.MouseButton.LeftButton)
    wait_until(lambda: not dock.setup.busy, 60)
    assert dock.setup.isVisible()
    assert dock.setup.plan_box.device.currentData().name == "cu126"
    assert "GTX 1080" in dock.setup.plan_box.why.text()
