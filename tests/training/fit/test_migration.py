"""What an earlier version began goes on in this one."""

import json

import pytest
from trainings import training, write_pictures

from orthomask.protocol import ErrorCode, Existing, OrthomaskError, to_json
from orthomask.training.fit.folder import TrainingFolder


@pytest.fixture
def begun(tmp_path):
    """A training that is to go on, and what Orthomask 0.2.0 had written of it: without what that did not know."""
    request = training(write_pictures(tmp_path / "data"), tmp_path / "run", existing=Existing.RESUME)
    record = to_json(request)
    del record["threshold"], record["network"]["encoder"]
    for pictures in record["data"]["pictures"]:
        del pictures["boundaries"], pictures["boundary_trim_px"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "request.json").write_text(json.dumps(record))
    return request


def test_a_training_of_an_earlier_version_goes_on(begun):
    assert TrainingFolder(begun).open() is None


def test_what_an_earlier_version_could_not_do_is_another_training(begun, tmp_path):
    other = training(begun.data, tmp_path / "run", existing=Existing.RESUME, threshold=0.5)
    with pytest.raises(OrthomaskError, match=r"other settings: threshold\.") as caught:
        TrainingFolder(other).open()
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS
