"""Which precision a device computes is tried, and a run keeps the one that it began with; on any processor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import CancelAfter
from orthomask.engine import predict
from orthomask.engine.compute import devices, onednn
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.engine.runs import runs
from orthomask.engine.scale import blocks, crew, scale
from orthomask.engine.scale.blocks import Job
from orthomask.protocol import (
    BlockRequest,
    Cancelled,
    ErrorCode,
    Existing,
    Image,
    InfoRequest,
    InfoResult,
    OrthomaskError,
    PredictRequest,
    ScaleRequest,
    to_json,
)

CPU = torch.device("cpu")
BOTH, FP32_ONLY, NEITHER = (torch.float32, torch.bfloat16), (torch.float32,), ()


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Stands in for a processor of given features, which runs oneDNN's operators in given precisions."""

    def be(operators: tuple[torch.dtype, ...], *features: str) -> None:
        monkeypatch.setattr(onednn, "is_available", lambda dtype: dtype in operators)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(features, True))
        devices.computes.cache_clear()
        devices.prepare.cache_clear()

    yield be
    devices.computes.cache_clear()
    devices.prepare.cache_clear()


@pytest.mark.parametrize(
    ("operators", "features", "precision", "precisions"),
    [
        (BOTH, ["avx512_bf16"], "bf16", ("fp32", "bf16")),
        (BOTH, ["amx_bf16"], "bf16", ("fp32", "bf16")),
        (BOTH, ["avx512_bw"], "fp32", ("fp32", "bf16")),  # it runs, and is slower
        (FP32_ONLY, ["avx512_bf16"], "fp32", ("fp32",)),  # oneDNN may be told to use less than there is
        (FP32_ONLY, ["avx2"], "fp32", ("fp32",)),
        (NEITHER, [], "fp32", ("fp32",)),
    ],
)
def test_a_processor_computes_what_its_operators_do(
    processor: Callable[..., None], operators: Any, features: list[str], precision: str, precisions: tuple[str, ...]
) -> None:
    processor(operators, *features)
    assert devices.precision_of(CPU) == precision
    info = devices.run(InfoRequest("cpu"), Progress())
    assert (info.precision, info.precisions) == (precision, precisions)


def test_an_operator_that_fails_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise RuntimeError("bf16 path needs the cpu support avx_ne_convert or avx512bw, avx512vl and avx512dq")

    monkeypatch.setattr(torch.ops.aten, "mkldnn_reorder_conv2d_weight", lacking)
    assert not onednn.is_available.__wrapped__(torch.bfloat16)


@pytest.mark.skipif(not onednn.is_available(torch.float32), reason="no convolutions of oneDNN here")
def test_an_operator_that_computes_nonsense_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    pointwise = torch.ops.mkldnn._convolution_pointwise
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", lambda *arguments: 2 * pointwise(*arguments))
    assert not onednn.is_available.__wrapped__(torch.float32)


def test_a_network_runs_without_any_of_the_operators(
    processor: Callable[..., None], make_raster: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    processor(NEITHER)
    result = predict.run(PredictRequest(Image(str(make_raster())), str(tiny), str(tmp_path / "out")), Progress())
    assert json.loads((Path(result.probabilities_path).parent / "run.json").read_text())["precision"] == "fp32"


@pytest.fixture
def begun_in_bf16(make_raster: Callable[..., Path], tiny: Path, tmp_path: Path) -> PredictRequest:
    """An unfinished run, as a computer with bf16 leaves it."""
    request = PredictRequest(
        Image(str(make_raster((300, 200)))), str(tiny), str(tmp_path / "out"), window_px=64, overlap_px=16
    )
    with pytest.raises(Cancelled):
        predict.run(request, CancelAfter(0.6))
    state = tmp_path / "out/.orthomask/state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "precision": "bf16"}))
    return request


@pytest.mark.parametrize("existing", [Existing.REFUSE, Existing.RESUME])
@pytest.mark.parametrize("run", ["alone", "shared"])
def test_a_run_in_a_precision_that_is_missing_here_says_so_and_stays(
    processor: Callable[..., None], begun_in_bf16: PredictRequest, existing: Existing, run: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    processor(FP32_ONLY)
    monkeypatch.setattr(scale, "_workers", lambda *_: _Workers(("fp32", ("fp32",))))
    work = Path(begun_in_bf16.output_dir) / runs.WORK
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    request = replace(begun_in_bf16, existing=existing)
    with pytest.raises(OrthomaskError, match="began in bf16 precision") as caught:
        _ = (
            predict.run(request, Progress())
            if run == "alone"
            else scale.run(ScaleRequest(request, processes=1), Progress())
        )
    assert caught.value.code is ErrorCode.PRECISION
    assert "overwrite" in caught.value.remedy
    assert {path.name: path.read_bytes() for path in work.iterdir()} == before


def test_overwriting_it_starts_again(processor: Callable[..., None], begun_in_bf16: PredictRequest) -> None:
    processor(FP32_ONLY)
    result = predict.run(replace(begun_in_bf16, existing=Existing.OVERWRITE), Progress())
    again = predict.run(replace(begun_in_bf16, output_dir=f"{begun_in_bf16.output_dir}-2"), Progress())
    assert Path(result.probabilities_path).read_bytes() == Path(again.probabilities_path).read_bytes()


class _Workers:
    """Workers that only say what they compute: (preferred, all) for each."""

    def __init__(self, *precisions: tuple[str, tuple[str, ...]]) -> None:
        self._infos = [
            InfoResult("1", "cpu", f"processor {len(all_)}", "", best, {}, precisions=all_) for best, all_ in precisions
        ]

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def count(self) -> int:
        return len(self._infos)

    def submit_to_each(self, method: str, request: object) -> list[Future[Any]]:
        answers: list[Future[Any]] = []
        for info in self._infos:
            answers.append(Future())
            answers[-1].set_result(to_json(info))
        return answers


BF16, SLOW, LESSER = ("bf16", ("fp32", "bf16")), ("fp32", ("fp32", "bf16")), ("fp32", ("fp32",))


@pytest.mark.parametrize(
    ("workers", "begun", "agreed"),
    [
        ([BF16, BF16], "", "bf16"),
        ([BF16, LESSER], "", "fp32"),
        ([BF16, SLOW], "", "fp32"),
        ([BF16, SLOW], "bf16", "bf16"),
        ([BF16, LESSER], "fp32", "fp32"),
        ([BF16, LESSER], "bf16", None),
    ],
)
def test_workers_agree_on_a_precision_that_all_of_them_have(
    workers: list[Any], begun: str, agreed: str | None, begun_in_bf16: PredictRequest
) -> None:
    state = Path(begun_in_bf16.output_dir) / runs.WORK / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "precision": begun}))
    model = bundle.load(begun_in_bf16.model)
    folder, _ = runs.open_folder(begun_in_bf16, model, "")

    def agree() -> Any:
        return scale._processor(_Workers(*workers), model, "cpu", folder, Progress())  # type: ignore[arg-type]

    if agreed is None:
        with pytest.raises(OrthomaskError, match="began in bf16"):
            agree()
    else:
        processor = agree()
        assert processor.precision == agreed
        assert sum(int(part.split(" × ")[0]) for part in processor.name.split(", ")) == len(workers)


def test_a_worker_that_comes_later_and_lacks_the_precision_says_so(
    processor: Callable[..., None], begun_in_bf16: PredictRequest
) -> None:
    processor(FP32_ONLY)
    folder, _ = runs.open_folder(begun_in_bf16, bundle.load(begun_in_bf16.model), "")
    Job(begun_in_bf16, folder.run_id, bundle.load(begun_in_bf16.model).sha256, "bf16", 2).write(folder.work)
    with pytest.raises(OrthomaskError) as caught:
        blocks.run(BlockRequest(str(folder.work.resolve()), 0, 0, 96, 96), Progress())
    assert caught.value.code is ErrorCode.PRECISION


def test_each_process_of_a_crew_is_asked() -> None:
    with crew.hired(2, []) as both:
        answers = [pending.result() for pending in both.submit_to_each("info", InfoRequest("cpu"))]
        assert [answer["device"] for answer in answers] == ["cpu", "cpu"]
        assert all(member._process for member in both._members)
        assert both.submit("info", InfoRequest("cpu")).result() == answers[0]
