"""A search: every combination once, the best first, and a failing trial is no end of it."""

import csv
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from trainings import HOUSES, training, write_pictures, write_project

from orthomask.cli import commands
from orthomask.engine.progress import Progress
from orthomask.protocol import Cancelled, ErrorCode, Existing, OrthomaskError, SearchOption, SearchRequest
from orthomask.training.fit import search


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Tiny networks are slower with several threads."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data"))


def searched(data, folder, *options, trials=0, existing=Existing.REFUSE, seed=1):
    common = training(data, folder, epochs=1, steps=2, existing=existing)
    return SearchRequest(common, tuple(SearchOption(name, values) for name, values in options), trials, seed)


def run(request):
    return search.run(request, Progress())


RATES = ("schedule.learning_rate", ("0.02", "0.0001"))


def test_all_combinations_are_tried_and_the_best_comes_first(data, tmp_path):
    result = run(searched(data, tmp_path, RATES, ("schedule.decay", ("cosine", "plateau"))))
    assert len(result.trials) == 4
    assert len({json.dumps(trial.options, sort_keys=True) for trial in result.trials}) == 4
    scores = [trial.scores["iou"] for trial in result.trials]
    assert scores == sorted(scores, reverse=True)
    assert {Path(trial.run_dir).name for trial in result.trials} == {f"trial-00{n}" for n in range(1, 5)}
    with open(result.table_path, encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [float(row["iou"]) for row in table] == scores
    assert {row["schedule.decay"] for row in table} == {"cosine", "plateau"}
    assert (Path(result.trials[0].run_dir) / "run.json").exists()


def test_some_are_drawn_without_repetition(data, tmp_path):
    options = [(f"schedule.{name}", ("1", "2", "3")) for name in ("seed", "patience", "warmup_steps")]
    drawn = search.combinations(searched(data, tmp_path, *options, trials=9))
    assert len({json.dumps(settings) for settings in drawn}) == 9
    assert drawn == search.combinations(searched(data, tmp_path, *options, trials=9))
    assert drawn != search.combinations(searched(data, tmp_path, *options, trials=9, seed=2))
    assert len(search.combinations(searched(data, tmp_path, *options, trials=99))) == 27


def test_a_failing_trial_is_noted_and_the_search_goes_on(data, tmp_path):
    result = run(searched(data, tmp_path, ("schedule.precision", ("12-bit", "32-true"))))
    good, bad = result.trials
    assert good.scores["iou"] > 0
    assert bad.scores == {}
    assert "settings" in bad.error
    assert bad.error in Path(result.table_path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["schedule.speed", "sched.steps"])
def test_unknown_options_are_refused_before_anything_is_written(data, tmp_path, name):
    with pytest.raises(OrthomaskError, match=name):
        run(searched(data, tmp_path / "new", (name, ("1",))))
    assert not (tmp_path / "new").exists()


def test_an_interrupted_search_goes_on(data, tmp_path):
    class Impatient(Progress):
        def show(self, fraction, message):
            if fraction > 0.6:
                raise Cancelled

    request = searched(data, tmp_path, RATES, existing=Existing.RESUME)
    with pytest.raises(Cancelled):
        search.run(request, Impatient())
    first = tmp_path / "trial-001" / "run.json"
    written = first.stat().st_mtime_ns
    assert len(run(request).trials) == 2
    assert first.stat().st_mtime_ns == written
    with pytest.raises(OrthomaskError) as caught:
        run(searched(data, tmp_path, RATES))
    assert caught.value.code is ErrorCode.OUTPUT_EXISTS


SMALL = ["--epochs", "1", "--steps", "2", "--batch", "2", "--size", "32", "--set", "network.widths=[16,16]",
         "--set", "schedule.workers=0", "--set", "schedule.precision=32-true"]  # fmt: skip


def invoke(*arguments):
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def test_the_commands_train_and_search(tmp_path, monkeypatch):
    write_project(tmp_path, (HOUSES[0], HOUSES[1]), ("train", "validation"))
    labels = tmp_path / "labels.gpkg"
    image = ["--image", tmp_path / "uint8.tif", "--labels", f"{labels}|houses", "--class-field", "kind"]
    image += ["--areas", f"{labels}|layername=areas"]
    out = tmp_path / "run"
    result = invoke("train", *image, *SMALL, "--name", "mine", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    assert answer["model_path"] == str(out / "mine.safetensors")
    request = json.loads((out / "request.json").read_text())
    assert request["data"]["projects"][0]["areas"]["layer"] == "areas"
    again = invoke("train", *image, *SMALL, "--name", "mine", "--out", out, "--resume")
    assert again.exit_code == 0
    assert "images/s" in again.output
    assert "waiting" in again.output
    assert invoke("train", *image, *SMALL, "--out", out).exit_code == 3
    found = invoke("search", *image, *SMALL, "--out", tmp_path / "s", "--option", "network.widths=[16,16],[16,32]")
    assert found.exit_code == 0, found.output
    assert found.output.count("IoU") == 2
    assert "network.widths [16, 32]" in found.output
    assert invoke("train", *image, "--out", tmp_path / "x", "--set", "speed=3").exit_code == 2
    assert invoke("train", "--out", tmp_path / "x").exit_code == 2
    monkeypatch.setenv("LOCAL_RANK", "1")
    second = invoke("train", *image, *SMALL, "--name", "mine", "--out", out, "--resume")
    assert (second.exit_code, second.output) == (0, "")
