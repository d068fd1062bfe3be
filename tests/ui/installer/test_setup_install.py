"""Real environments from tiny wheels, offline: made, cancelled, repaired, fought over."""

import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from wheels import TESTED, Watcher, passed, plan, stand_in, usable_python, wheel_folder

from orthomask.protocol import Cancelled, ErrorCode, OrthomaskError
from orthomask.ui.client import store
from orthomask.ui.installer import builds, install, processes


@pytest.fixture(scope="module")
def python():
    return usable_python()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    return wheel_folder(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(autouse=True)
def _any_pip(monkeypatch):
    """pip as the Python brings it: there is no network."""
    table = {**builds.table(), "pip": "pip"}
    monkeypatch.setattr(builds, "table", lambda: table)


@pytest.fixture
def base(tmp_path):
    return tmp_path / "profile" / "orthomask"


def make(base, wheels, python, watcher=None, test=passed, **changes):
    return install.install(plan(base, wheels, python, **changes), watcher or Watcher(), test)


def says(environment, code):
    return subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory, wheels, python):
    """A finished environment, what was told meanwhile, what was tested, and its base."""
    base, watcher, tested = tmp_path_factory.mktemp("profile") / "orthomask", Watcher(), []
    with pytest.MonkeyPatch.context() as patch:
        table = {**builds.table(), "pip": "pip"}
        patch.setattr(builds, "table", lambda: table)
        environment, outcome = make(base, wheels, python, watcher, lambda *a: tested.append(a[0]) or TESTED)
    assert outcome is TESTED
    return environment, watcher, tested, base


def test_an_environment_is_made_tested_and_found_again(made):
    environment, watcher, tested, base = made
    assert tested == [environment.python]
    assert says(environment, "import tinytorch; print(tinytorch.version)") == "1.0"
    assert store.environments(base) == (environment,)
    assert environment.record.build == "cpu"
    assert not (base / store.DOWNLOADS).exists()
    fractions = [fraction for fraction, _ in watcher.steps]
    assert fractions == sorted(fractions)


def test_a_broken_one_stays_while_its_repair_is_cancelled_at_a_random_moment_and_goes_when_it_is_done(
    made, wheels, python, tmp_path
):
    base = tmp_path / "orthomask"
    folder = store.new_folder(base, "0.0.1")
    folder.mkdir(parents=True)
    broken = store.finish(folder, replace(made[0].record, made="2020-01-01T00:00:00"))
    moments = (len(made[1].lines) + len(made[1].steps)) // 2  # another time pip may say less
    with pytest.raises(Cancelled):
        make(base, wheels, python, Watcher(random.randrange(1, moments)))
    assert store.environments(base) == (broken,)
    assert store.leftovers(base) == ()
    whole, _ = make(base, wheels, python)
    assert store.environments(base) == (whole, broken)
    assert says(whole, "import tinytorch; print(tinytorch.version)") == "1.0"
    assert store.remove(broken.folder)
    assert store.environments(base) == (whole,)


def test_cancelled_at_any_moment_it_leaves_nothing(base, wheels, tmp_path):
    python = stand_in(
        tmp_path, "echo Processing one; echo Processing two; echo Installing collected packages: one, two"
    )
    undisturbed = Watcher()
    make(tmp_path / "other", wheels, python, undisturbed)
    for moment in range(1, len(undisturbed.lines) + len(undisturbed.steps)):
        with pytest.raises(Cancelled):
            make(base, wheels, python, Watcher(moment), test=watchful)
        assert store.environments(base) == store.leftovers(base) == ()


def watchful(python, watcher):
    if watcher.isCanceled():
        raise Cancelled
    return TESTED


def test_what_fails_its_test_does_not_count(base, wheels, tmp_path):
    def fails(*_):
        raise OrthomaskError(ErrorCode.ENGINE_DIED, "It died.", "Try again.")

    with pytest.raises(OrthomaskError, match="It died"):
        make(base, wheels, stand_in(tmp_path, "echo fine"), test=fails)
    assert store.environments(base) == store.leftovers(base) == ()


def test_what_pip_says_is_told_in_words_and_what_was_fetched_is_kept(base, wheels, tmp_path):
    pip = 'echo wheel > "$TMPDIR/../kept"; echo "ERROR: [Errno 28] No space left on device"; exit 1'
    with pytest.raises(OrthomaskError) as caught:
        make(base, wheels, stand_in(tmp_path, pip))
    assert caught.value.code is ErrorCode.DISK_FULL
    assert "Errno 28" in caught.value.details
    assert not store.leftovers(base)
    assert (base / store.DOWNLOADS / "kept").exists()


FETCHING = """
echo "$*" >> "{log}"
case "$*" in *" download "*) ;; *) exit 0;; esac
while [ "$1" != --dest ]; do shift; done
dest=$2; mkdir -p "$dest"; shift 2
for word; do case "$word" in tiny*)
  [ -e "{broken}" ] && [ "$word" = tinynumpy==1.0 ] && echo "Read timed out." && exit 1
  echo "  Downloading $word.whl (1.0 MB)"; echo "Progress 0 of 1000000"; echo "Progress 1000000 of 1000000"
  echo wheel > "$dest/${{word%%==*}}-${{word##*==}}-py3-none-any.whl";; esac; done
"""


def test_a_retry_fetches_only_what_is_missing(base, tmp_path):
    log, broken = tmp_path / "log", tmp_path / "broken"
    broken.touch()
    python = stand_in(tmp_path, FETCHING.format(log=log, broken=broken))
    with pytest.raises(OrthomaskError, match="was interrupted"):
        make(base, "", python)
    assert [wheel.name.split("-")[0] for wheel in (base / store.DOWNLOADS / "wheels").iterdir()] == ["tinytorch"]
    broken.unlink()
    log.unlink()
    watcher = Watcher()
    make(base, "", python, watcher)
    fetched = [line for line in log.read_text().splitlines() if " download " in line]
    assert len(fetched) == 1
    assert "tinytorch" not in fetched[0]
    assert not (base / store.DOWNLOADS).exists()
    assert any("1 of about" in words for _, words in watcher.steps)


def test_what_a_killed_set_up_left_is_cleared_away(base, wheels, tmp_path):
    half = base / "engine-0.0.1"
    (half / "lib").mkdir(parents=True)
    (base / store.DOWNLOADS / "tmp").mkdir(parents=True)
    assert store.leftovers(base) == (half,)
    make(base, wheels, stand_in(tmp_path, "echo fine"))
    assert not half.exists()


def test_a_full_disk_is_told_before_anything_is_written(base, wheels, python, monkeypatch):
    monkeypatch.setattr(store, "free_mb", lambda _: 100)
    with pytest.raises(OrthomaskError) as caught:
        make(base, wheels, python)
    assert caught.value.code is ErrorCode.DISK_FULL
    assert "0.1 GB" in caught.value.sentence
    assert [path.name for path in base.iterdir()] == []


HOLDING = """
import pathlib, sys
from orthomask.ui.client import store
with store.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_of_two_processes_one_waits_and_a_dead_one_does_not_keep_the_other_out(base):
    pipe = subprocess.PIPE
    other = subprocess.Popen([sys.executable, "-c", HOLDING, str(base)], stdin=pipe, stdout=pipe)
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(OrthomaskError) as caught, store.locked(base):
        pass
    assert caught.value.code is ErrorCode.OUTPUT_IN_USE
    assert str(other.pid) in caught.value.sentence
    other.kill()
    other.communicate()
    assert (base / "setup.lock").exists()
    with store.locked(base):
        pass


def test_cancelling_ends_what_a_program_has_started_too(tmp_path):
    script = tmp_path / "program"
    script.write_text("#!/bin/sh\nsleep 60 &\necho $! \nwait\n")
    script.chmod(0o755)
    lines = []
    with pytest.raises(Cancelled):
        processes.run([str(script)], {}, lines.append, lambda: bool(lines))
    deadline = time.monotonic() + 60
    state = Path(f"/proc/{lines[0]}/stat")
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_record_that_is_torn_or_of_another_kind_is_no_environment(base):
    for number, text in enumerate(("", "[]", "{}", json.dumps({"version": "1"}))):
        folder = base / f"engine-{number}"
        folder.mkdir(parents=True)
        (folder / store.RECORD).write_text(text)
    assert store.environments(base) == ()
    assert len(store.leftovers(base)) == 4
