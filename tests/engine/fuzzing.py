"""Damaged files, and a process that tries them: if it crashes or hangs, the test fails and its case is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import rasterio
import torch
from faults import FORKS
from hypothesis import strategies as st

from orthomask import worker
from orthomask.engine import predict
from orthomask.engine.compute import devices
from orthomask.engine.images.grid import Window
from orthomask.engine.images.raster import open_image
from orthomask.engine.models import bundle
from orthomask.engine.progress import Progress
from orthomask.protocol import Image, OrthomaskError, PredictRequest

HANG_S = 60
MOST_PX = 1 << 20
"""A raster that says that it is larger is opened and planned, not predicted."""
Damage = tuple[str, float, bytes]


def damages() -> st.SearchStrategy[list[Damage]]:
    """What can happen to a file: bytes overwritten, inserted, removed, zeroed, or its end cut off."""
    kinds = st.sampled_from(["overwrite", "overwrite", "flip", "insert", "remove", "zero", "cut"])
    places = st.floats(0, 1) | st.floats(0, 0.02) | st.floats(0.98, 1)
    return st.lists(st.tuples(kinds, places, st.binary(min_size=1, max_size=8)), min_size=1, max_size=6)


def damaged(content: bytes, damage: list[Damage]) -> bytes:
    """`content` after all of that."""
    for kind, place, data in damage:
        at = int(place * max(0, len(content) - 1))
        head, tail = content[:at], content[at:]
        content = {
            "overwrite": head + data + tail[len(data) :],
            "flip": head + bytes([(tail[:1] or b"\0")[0] ^ (data[0] | 1)]) + tail[1:],
            "insert": head + data + tail,
            "remove": head + tail[len(data) :],
            "zero": head + bytes(min(len(tail), 16 * len(data))) + tail[16 * len(data) :],
            "cut": head,
        }[kind]
    return content


class Trier:
    """A child that tries files; a new one is started when one has died.

    Args:
        attempt: tries a path; returns what came of it.
    """

    def __init__(self, attempt: Callable[[Path], str]) -> None:
        self._attempt = attempt
        self._start()

    def _start(self) -> None:
        self._cases, there = FORKS.Pipe()
        self._process = FORKS.Process(target=_try_all, args=(there, self._attempt), daemon=True)
        self._process.start()
        there.close()

    def __call__(self, path: Path) -> str:
        """What came of a file: `valid`, the code of an error, or what is wrong."""
        self._cases.send(path)
        try:
            if self._cases.poll(HANG_S):
                return str(self._cases.recv())
            self._process.kill()
            outcome = "hangs"
        except EOFError:
            outcome = "crashes"
        self._process.join()
        self._start()
        return outcome

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _try_all(cases: Connection, attempt: Callable[[Path], str]) -> None:
    torch.set_num_threads(1)
    while True:
        path = cases.recv()
        try:
            outcome = attempt(path)
        except OrthomaskError as error:
            outcome = error.code.value
        except Exception as error:  # noqa: BLE001 (as the worker does)
            known = worker.unexpected(error)
            outcome = known.code.value if known.code.value != "internal" else f"internal: {known.details}"
        cases.send(outcome)


def try_bundle(path: Path) -> str:
    """Load a bundle and run its network; it is valid when its answers are probabilities."""
    opened = bundle.load(str(path))
    with torch.inference_mode():
        answer = torch.softmax(opened.model()(torch.zeros(1, len(opened.card.bands), 64, 64)), dim=1)
    finite = bool(torch.isfinite(answer).all())
    return "valid" if finite else "valid, but a run will refuse its answers"


def try_raster(path: Path) -> str:
    """Predict a raster, and compare with what its pixels, read at once, give."""
    model = str(path.with_name("tiny.safetensors"))
    out = path.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    request = PredictRequest(Image(str(path)), model, str(out), window_px=64, overlap_px=16)
    with open_image(request.image) as source:
        plan = predict.plan(source, request)
        if (
            source.dataset.width * source.dataset.height > MOST_PX
            or plan.lattice.width_px * plan.lattice.height_px > MOST_PX
        ):
            return "valid"
    result = predict.run(request, Progress())
    with rasterio.open(result.probabilities_path) as dataset:
        found = dataset.read()
    with rasterio.open(path) as dataset:
        if dataset.transform != plan.lattice.transform:
            return "valid"
        pixels, valid = dataset.read(plan.numbers), dataset.dataset_mask() > 0
    return "valid" if np.array_equal(found, _expected(plan, pixels, valid)) else "wrong"


def _expected(plan: predict.Plan, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = slice(window.y, window.y + window.height), slice(window.x, window.x + window.width)
        part, mask = pixels[:, rows, columns], valid[rows, columns]
        beyond = ((0, window.height - mask.shape[0]), (0, window.width - mask.shape[1]))
        whole, known = np.pad(np.where(mask, part, 0), ((0, 0), *beyond)), np.pad(mask, beyond)
        return plan.bundle.normalise(whole, known), known

    predictor = devices.prepare(plan.bundle, devices.choose("cpu"))
    classes = len(plan.bundle.card.classes)
    strips = predict.strips(plan.lattice, plan.selection, read, predictor, classes, Progress())
    return np.concatenate([strip.probabilities for strip in strips], axis=1)
