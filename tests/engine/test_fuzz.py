"""Damaged rasters, bundles and messages: an error in words or a right result; no hang, no crash, nothing wrong.

`make test` tries some; `make fuzz` tries 2,000.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from fuzzing import Damage, Trier, damaged, damages, try_bundle, try_raster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_worker import Client

from conftest import UTM, scene
from orthomask.engine.models import bundle
from orthomask.protocol import REQUESTS, ErrorCode, Image, PredictRequest, to_json

CODES = {code.value for code in ErrorCode} - {ErrorCode.INTERNAL.value}
ROUNDS = settings.default.max_examples // 4
fuzz = settings(
    max_examples=ROUNDS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def rasters() -> Iterator[Trier]:
    trier = Trier(try_raster)
    yield trier
    trier.close()


@pytest.fixture(scope="module")
def bundles() -> Iterator[Trier]:
    trier = Trier(try_bundle)
    yield trier
    trier.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("worker"))  # a message may name any output folder
        client = Client()
    yield client
    assert client.close() == 0


LAYOUTS = {
    "tiled": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
    "striped": {"interleave": "pixel"},
    "lzw": {"compress": "lzw", "predictor": 2, "nodata": 0},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_rasters(
    make_raster: Callable[..., Path], rasters: Trier, tiny: Path, tmp_path: Path, layout: str
) -> None:
    shutil.copy(tiny, tmp_path / "tiny.safetensors")
    whole = make_raster(scene(100, 90), name="whole.tif", **LAYOUTS[layout])
    assert rasters(whole) == "valid"
    path = tmp_path / "damaged.tif"

    @settings(fuzz, max_examples=max(1, ROUNDS // 3))
    @given(damages())
    def attempt(damage: list[Damage]) -> None:
        path.write_bytes(damaged(whole.read_bytes(), damage))
        assert rasters(path) in {"valid", *CODES}

    attempt()


@pytest.mark.parametrize("sealed", [True, False])
def test_damaged_bundles(bundles: Trier, tiny: Path, tmp_path: Path, sealed: bool) -> None:
    whole, path = tmp_path / "whole.safetensors", tmp_path / "damaged.safetensors"
    shutil.copy(tiny, whole)
    if not sealed:  # as earlier versions wrote them
        with bundle.safetensors.safe_open(tiny, framework="numpy") as file:
            metadata = {key: value for key, value in file.metadata().items() if key != bundle.SEAL}
        whole.write_bytes(safetensors.torch.save(safetensors.torch.load_file(tiny), metadata))
    assert bundles(whole) == "valid"
    header = 8 + int.from_bytes(whole.read_bytes()[:8], "little")

    @settings(fuzz, max_examples=max(1, ROUNDS // 2))
    @given(damages(), st.booleans())
    def attempt(damage: list[Damage], in_header: bool) -> None:
        content = whole.read_bytes()
        if in_header:
            changed = damaged(content[8:header], damage)
            content = len(changed).to_bytes(8, "little") + changed + content[header:]
        else:
            content = damaged(content, damage)
        path.write_bytes(content)
        outcome = bundles(path)
        if sealed and bundle.SEAL.encode() in content and content != whole.read_bytes():
            assert outcome in CODES
        assert outcome in CODES or outcome.startswith("valid")

    attempt()


def leaves(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The places of all values in a JSON document, whole lists and objects too."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def put(document: Any, path: tuple[Any, ...], value: object) -> None:
    """Replace a value in a JSON document."""
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def test_descriptions_that_make_no_sense(bundles: Trier, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    weights = safetensors.torch.load_file(tiny)
    card = to_json(bundle.load(str(tiny)).card)
    places = [place for place in leaves(card) if place]

    @settings(fuzz, max_examples=max(1, ROUNDS // 2))
    @given(st.dictionaries(st.sampled_from(places), ANYTHING | NUMBERS, min_size=1, max_size=2))
    def attempt(changes: dict[tuple[object, ...], object]) -> None:
        document = json.loads(json.dumps(card))
        for place, value in changes.items():
            with suppress(KeyError, IndexError, TypeError):  # it went with another change
                put(document, place, value)
        path.write_bytes(safetensors.torch.save(weights, {bundle.KEY: json.dumps(document)}))
        outcome = bundles(path)
        assert outcome in CODES or outcome == "valid"

    attempt()


NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1e308, 2**31, 10**9, 1e-320])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def changed(params: dict[str, object]) -> st.SearchStrategy[object]:
    """The parameters of a request with some replaced, missing or new; or anything."""
    replaced = st.dictionaries(st.sampled_from(sorted(params)) | st.text(max_size=8), ANYTHING, max_size=2)
    return ANYTHING | replaced.map(lambda new: {**params, **new})


def test_damaged_messages(make_raster: Callable[..., Path], client: Client, tiny: Path, tmp_path: Path) -> None:
    image = make_raster(scene(80, 70), crs=UTM)
    request = to_json(PredictRequest(Image(str(image)), str(tiny), str(tmp_path / "out"), window_px=64, overlap_px=16))
    request["existing"] = "resume"
    methods = st.sampled_from([*REQUESTS, "predict", "cancel", "sing"]) | st.text(max_size=8)
    parts = {"id": st.integers() | ANYTHING, "method": methods | ANYTHING, "params": changed(request)}
    messages = st.fixed_dictionaries(parts)
    number = 0

    @settings(fuzz, max_examples=max(1, ROUNDS))
    @given(messages | ANYTHING, st.none() | damages())
    def attempt(message: object, damage: list[Damage] | None) -> None:
        nonlocal number
        line = json.dumps(message)
        if damage:
            line = damaged(line.encode(), damage).decode("utf-8", "replace").replace("\n", " ").replace("\r", " ")
        client.send(line)
        number += 1
        client.call(f"sentinel {number}", "info", {})  # type: ignore[arg-type]
        for answer in client.messages():
            if answer.get("id") == f"sentinel {number}":
                assert "result" in answer
                return
            data = answer.get("error", {}).get("data", {"code": "bad_request"})
            assert data["code"] in CODES, (line, data)

    attempt()
