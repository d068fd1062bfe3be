"""The GPU's part of a prediction: with stand-ins for CUDA that record and replay on the processor, and with a GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from orthomask.engine import predict
from orthomask.engine.compute import devices, gpu
from orthomask.engine.compute.batches import Batches
from orthomask.engine.estimates import memory
from orthomask.engine.images.grid import Lattice, Window, select
from orthomask.engine.models import bundle
from orthomask.engine.models.unet import UNet, UNetArguments, fused
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, OrthomaskError

LATTICE = Lattice("", Affine.identity(), 500, 150, 64, 16)
CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Graph:
    """Stands for a CUDA graph: what was recorded runs again on replay, from and to the same places in memory."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        for function, arguments, named, result in self.steps:
            result.copy_(function(*arguments, **named))


class Recorder(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.graph.steps.append((function, args, kwargs or {}, result))
        return result


class Cuda:
    """Stands for `torch.cuda`. What is recorded is not computed before it is replayed."""

    def __init__(self) -> None:
        self.stream_now, self.captures, self.error = "default", 0, None
        self.log: list[str] = []
        self.CUDAGraph = Graph

    def Stream(self, device: torch.device) -> Any:
        return SimpleNamespace(name="beside", wait_stream=lambda _: None)

    def current_stream(self, device: torch.device) -> Any:
        return SimpleNamespace(name=self.stream_now, wait_stream=lambda _: None)

    def Event(self, blocking: bool) -> Any:
        number = sum(line.startswith("event") for line in self.log)
        return SimpleNamespace(
            record=lambda stream: self.log.append(f"event {number} after what is on {stream.name}"),
            synchronize=lambda: self.log.append(f"wait for {number}"),
        )

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.stream_now = self.stream_now, stream.name
        try:
            yield
        finally:
            self.stream_now = before

    def device(self, device: torch.device) -> Any:
        return nullcontext()

    @contextmanager
    def graph(self, graph: Graph, stream: Any, capture_error_mode: str) -> Iterator[None]:
        self.captures += 1
        if self.error:
            self.stream_now = "left behind"  # as PyTorch does
            raise self.error
        with Recorder(graph):
            yield
        for *_, result in graph.steps:
            result.fill_(torch.nan)

    def synchronize(self, device: torch.device) -> None:
        self.log.append("synchronize")

    def is_available(self) -> bool:
        return True

    def empty_cache(self) -> None:
        self.log.append("empty")


class Torch:
    """`torch` as `engine/compute/gpu.py` sees it, with another `torch.cuda`."""

    def __init__(self, cuda: Cuda | None) -> None:
        self.cuda = cuda

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    stand_in = Cuda()
    monkeypatch.setattr(gpu, "torch", Torch(stand_in))
    return stand_in


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    return fused(UNet(UNetArguments(3, 2, (8, 12), 1, 4))).requires_grad_(False)


def windows(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_a_recording_gives_what_the_network_gives(cuda: Cuda, network: nn.Module) -> None:
    recorded = gpu.Recorded(copy.deepcopy(network))
    with torch.inference_mode():
        for count, seed in ((4, 1), (4, 2), (2, 3), (2, 4), (2, 5)):
            given = windows(count, seed)
            torch.testing.assert_close(recorded(given), network(given))
    assert cuda.captures == 2
    assert cuda.stream_now == "default"


def test_what_cannot_be_recorded_runs_as_it_is(cuda: Cuda, network: nn.Module) -> None:
    cuda.error = RuntimeError("CUDA error: operation not permitted when stream is capturing")
    recorded = gpu.Recorded(network)
    for seed in range(3):
        torch.testing.assert_close(recorded(windows(2, seed)), network(windows(2, seed)))
    assert (cuda.captures, cuda.stream_now) == (1, "default")


def test_a_recording_that_gives_other_numbers_is_not_used(
    cuda: Cuda, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Graph, "replay", lambda self: self.steps[-1][-1].fill_(1))
    recorded = gpu.Recorded(network)
    for seed in range(2):
        torch.testing.assert_close(recorded(windows(2, seed)), network(windows(2, seed)))


def test_without_a_gpu_nothing_of_cuda_is_touched(
    make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = devices.prepare(bundle.load(str(make_bundle())), devices.choose("cpu"), "fp32")
    monkeypatch.setattr(gpu, "torch", Torch(None))
    assert ready(windows(2)).shape == (2, 1, 32, 32)
    assert gpu.plain(ready.network) is ready.network
    np.testing.assert_array_equal(gpu.leaving(windows(1))(), windows(1).numpy())
    assert len(predicted(ready, 2)) == LATTICE.rows


class Halved(nn.Module):
    """Runs out of memory with more than so many windows."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most, self.sizes = network, most, []

    def forward(self, batch: Tensor) -> Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.network(batch)


def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """A pattern of three bands, with a hole that is wider than a window."""
    y, x = np.mgrid[window.y : window.y + window.height, window.x : window.x + window.width].astype(np.float32)
    valid = (x < LATTICE.width_px) & (y < LATTICE.height_px) & ~((x > 200) & (x < 300))
    return np.where(valid, np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 5)]), np.float32(0)), valid


def predicted(predictor: Callable[[Tensor], Tensor], batch: int, device: torch.device = CPU) -> list[np.ndarray]:
    strips = predict.strips(LATTICE, select(LATTICE, None), read, predictor, 1, Progress(), batch=batch, device=device)
    return [strip.probabilities for strip in strips]


def ready(network: nn.Module) -> devices.Predictor:
    return devices.Predictor(network, devices.choose("cpu"), "fp32")


def test_batches_give_what_single_windows_give(network: nn.Module) -> None:
    single = predicted(ready(network), 1)
    for batch in (3, 8):
        for one, other in zip(single, predicted(ready(network), batch), strict=True):
            np.testing.assert_allclose(one.astype(int), other, atol=1)  # of 254


def test_out_of_memory_halves_the_batch_and_records_anew(cuda: Cuda, network: nn.Module) -> None:
    expected = predicted(ready(network), 2)
    scarce = Halved(network, 2)
    found = predicted(ready(gpu.Recorded(scarce)), 8)
    assert scarce.sizes == [8, 4, 2, 2]  # and then replayed
    assert (cuda.captures, cuda.log) == (1, ["empty", "empty"])
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_is_given_back_with_all_recordings(cuda: Cuda, network: nn.Module) -> None:
    one, other = gpu.Recorded(network), gpu.Recorded(network)
    for recorded in (one, other):
        recorded(windows(2))
    gpu.give_back()
    assert cuda.log == ["synchronize", "synchronize", "empty"]
    torch.testing.assert_close(one(windows(2)), network(windows(2)))
    assert cuda.captures == 3


def test_what_a_network_takes_is_counted_without_its_recording(cuda: Cuda, network: nn.Module) -> None:
    plain, recorded = ready(network), ready(gpu.Recorded(network))
    assert memory.activations_mb(recorded, 3) == memory.activations_mb(plain, 3)
    assert cuda.captures == 0


class OnHost:
    """Stands for a batch that is copied to a GPU."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def to(self, device: torch.device, non_blocking: bool) -> OnHost:
        assert (device, non_blocking) == (GPU, True)
        self.cuda.log.append(f"copy on {self.cuda.stream_now}")
        return self

    def record_stream(self, stream: Any) -> None:
        self.cuda.log.append(f"used on {stream.name}")


def test_batches_are_copied_beside_the_computing_and_not_too_far_ahead(cuda: Cuda) -> None:
    ramp = gpu._Ramp(GPU)
    for _ in range(4):
        ramp(OnHost(cuda))  # type: ignore[arg-type]
    assert [line for line in cuda.log if "wait" in line] == ["wait for 0", "wait for 1"]
    assert cuda.log.count("copy on beside") == cuda.log.count("used on default") == 4
    assert cuda.log.index("wait for 0") > cuda.log.index("event 1 after what is on default")


def test_a_result_is_waited_for_before_it_is_used(cuda: Cuda) -> None:
    result = SimpleNamespace(device=GPU, to=lambda where, non_blocking: torch.ones(2))
    wait = gpu.leaving(result)  # type: ignore[arg-type]
    assert cuda.log == ["event 0 after what is on default"]
    np.testing.assert_array_equal(wait(), [1, 1])
    assert cuda.log[1:] == ["wait for 0"]


@pytest.mark.parametrize("nonsense", [torch.nan, torch.inf, -torch.inf])
def test_a_network_that_answers_with_no_probabilities_is_refused(nonsense: float) -> None:
    with pytest.raises(OrthomaskError) as caught:
        predicted(lambda batch: torch.where(batch[:, :1] > 0.99, nonsense, 0.5), 2)
    assert caught.value.code is ErrorCode.BUNDLE_UNREADABLE


@needs_gpu
@pytest.mark.parametrize("name", ["buildings", "farmland"])
def test_a_gpu_finds_what_the_processor_finds(name: str) -> None:
    model = bundle.load(name)
    batch = torch.rand(16, len(model.card.bands), 512, 512)
    on_gpu, on_processor = (devices.prepare(model, devices.choose(device), "fp32") for device in ("cuda", "cpu"))
    recorded = [on_gpu(batch.pin_memory()).cpu() for _ in range(3)]
    assert isinstance(on_gpu.network, gpu.Recorded)
    assert on_gpu.network._recording is not None
    torch.testing.assert_close(recorded[0], recorded[-1], rtol=0, atol=0)
    torch.testing.assert_close(recorded[0][:2], on_processor(batch[:2]), rtol=0, atol=0.02)  # by default TF32
    for one, other in zip(predicted(on_gpu, 4, GPU), predicted(on_processor, 1), strict=True):
        np.testing.assert_allclose(one.astype(int), other, atol=6)  # of 254
    gpu.give_back()


@needs_gpu
def test_many_batches_on_a_gpu_do_not_overtake_each_other() -> None:
    """Copies, recordings and results share memory: each batch must come out as if it were alone."""
    on_gpu = devices.prepare(bundle.load("buildings"), devices.choose("cuda"))
    given = [np.random.default_rng(seed).random((3, 512, 512), np.float32) for seed in range(40)]
    valid = np.ones((512, 512), bool)
    found = [
        probabilities.cpu()
        for _ in range(2)
        for probabilities, _ in Batches(on_gpu, 4, 1, GPU)([(window, valid) for window in given], Progress())
        if probabilities is not None
    ]
    for window, one, again in zip(given, found[:40], found[40:], strict=True):
        torch.testing.assert_close(one, again, rtol=0, atol=0)
        alone = on_gpu(torch.from_numpy(np.stack([window] * 4)))[0].cpu()
        torch.testing.assert_close(one, alone, rtol=0, atol=0.01)
    gpu.give_back()
