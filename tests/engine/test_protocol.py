from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthomask import protocol
from orthomask.engine.progress import Progress
from orthomask.protocol import ErrorCode, Image, ModelSummary, OrthomaskError, PredictRequest, Trial, from_json, to_json

RESULTS = [result for _, result in protocol.REQUESTS.values()]
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
st.register_type_strategy(float, st.floats(allow_nan=False))
st.register_type_strategy(str, texts)
cards = st.dictionaries(texts, st.integers() | texts)
st.register_type_strategy(ModelSummary, st.builds(ModelSummary, card=cards))
st.register_type_strategy(Trial, st.builds(Trial, options=cards))


requests = st.builds(
    PredictRequest,
    image=st.builds(Image, path=texts.filter(bool)),
    model=texts.filter(bool),
    output_dir=texts.filter(bool),
    threshold=st.none() | st.floats(0.01, 0.99),
    window_px=st.sampled_from([64, 512]),
    overlap_px=st.integers(0, 32),
)


@given(st.one_of(requests, *map(st.from_type, RESULTS)))
def test_messages_survive_the_way_through_json(message: object) -> None:
    assert from_json(type(message), to_json(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"image": {"path": "a"}, "model": "m", "output_dir": "o", "colour": "red"},
        {"image": {"path": 1}, "model": "m", "output_dir": "o"},
        {"image": {"path": "a"}, "model": "m", "output_dir": "o", "threshold": "high"},
        {"image": {"path": "a"}, "model": "m", "output_dir": "o", "existing": "maybe"},
        {"image": {"path": "a"}, "model": "m", "output_dir": "o", "window_px": 100},
        {"image": {"path": "a"}, "model": "m", "output_dir": "o", "threshold": 1.5},
        {"image": {"path": "a", "bands": 3}, "model": "m", "output_dir": "o"},
        {"image": {"path": ""}, "model": "m", "output_dir": "o"},
    ],
)
def test_bad_requests_are_refused_with_a_sentence_and_a_remedy(data: object) -> None:
    with pytest.raises(OrthomaskError) as caught:
        from_json(PredictRequest, data)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert caught.value.sentence.endswith(".")
    assert caught.value.remedy.endswith(".")


def test_errors_survive_the_way_through_json() -> None:
    error = OrthomaskError(ErrorCode.DISK_FULL, "Full.", "Empty it.", "errno 28")
    assert OrthomaskError.from_json(error.to_json()).to_json() == error.to_json()


def test_part_of_a_progress_maps_onto_the_whole() -> None:
    seen = []

    class Recorder(Progress):
        def show(self, fraction: float, message: str) -> None:
            seen.append((round(fraction, 6), message))

    part = Recorder().part(0.2, 0.6)
    part.report(0.5, "half")
    part.part(0.5, 1.0).report(1.0, "end")
    assert seen == [(0.4, "half"), (0.6, "end")]
