"""Why a GPU is not used: by the words of PyTorch and CUDA, which tests say in their place."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from orthomask.engine.compute import devices
from orthomask.engine.progress import Progress
from orthomask.protocol import GpuProblem, InfoRequest, OrthomaskError

SAID = {
    "The NVIDIA driver on your system is too old (found version 11040). Please update": GpuProblem.DRIVER,
    "Error 803: system has unsupported display driver / cuda driver combination": GpuProblem.DRIVER,
    "Error 804: forward compatibility was attempted on non supported HW": GpuProblem.DRIVER,
    "CUDA error: no kernel image is available for execution on the device": GpuProblem.AGE,
    "CUDA error: out of memory": GpuProblem.MEMORY,
    "CUDA out of memory. Tried to allocate 2.00 MiB": GpuProblem.MEMORY,
    "No CUDA GPUs are available": GpuProblem.ABSENT,
    "no CUDA-capable device is detected": GpuProblem.ABSENT,
    "Found no NVIDIA driver on your system.": GpuProblem.ABSENT,
    "CUDA unknown error - this may be due to an incorrectly set up environment": GpuProblem.START,
    "CUDA driver initialization failed, you might not have a CUDA gpu.": GpuProblem.START,
}


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("cuda_build")
@pytest.mark.parametrize("message", SAID)
def test_a_gpu_that_cannot_be_used_leaves_the_processor_and_a_reason(
    monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(torch, "zeros", fail)
    info = devices.run(InfoRequest(), Progress())
    assert (info.device, info.gpu_problem, info.gpu_details) == ("cpu", SAID[message], message)
    assert info.device_reason.startswith("Running on the CPU: ")
    with pytest.raises(OrthomaskError) as caught:
        devices.choose("cuda")
    assert caught.value.details == message


@pytest.mark.usefixtures("cuda_build")
def test_a_gpu_that_computes_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.zeros(1)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: one)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA RTX A4000")
    device = devices.choose()
    assert (str(device.torch), device.name, device.problem) == ("cuda:0", "NVIDIA RTX A4000", GpuProblem.NONE)
    assert device.reason == "Running on the GPU NVIDIA RTX A4000."


def test_pytorch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices, "NVIDIA_DRIVER", str(tmp_path / "none"))
    assert "no NVIDIA driver was found" in devices.choose().reason
    (tmp_path / "version").touch()
    monkeypatch.setattr(devices, "NVIDIA_DRIVER", str(tmp_path / "version"))
    device = devices.choose()
    assert device.problem is GpuProblem.BUILD
    assert "there is an NVIDIA GPU" in device.reason


def test_a_chosen_processor_asks_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_problem", lambda: pytest.fail("the GPU was woken"))
    info = devices.run(InfoRequest("cpu"), Progress())
    assert info.gpu_problem is GpuProblem.CHOSEN
    assert info.device_reason == "Running on the CPU, as chosen."


def test_every_problem_has_a_reason() -> None:
    assert set(devices.REASONS) == set(GpuProblem) - {GpuProblem.NONE}
