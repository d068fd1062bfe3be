"""Plans from the internet and from folders, and the report for maintainers."""

import json
from pathlib import Path

import pytest

from orthomask.protocol import ErrorCode, OrthomaskError
from orthomask.ui.client import store
from orthomask.ui.client.network import Network
from orthomask.ui.installer import builds, diagnostics, planning
from orthomask.ui.installer.builds import Gpu
from orthomask.ui.installer.planning import Offer
from orthomask.ui.installer.pythons import Python

FITS = Python("/opt/python", (3, 12, 1))
OLD = Python("/old/python", (3, 9, 1), "the engine needs Python 3.10 or newer", has_pip=True)


@pytest.fixture(autouse=True)
def _profile(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "base_folder", lambda: tmp_path / "orthomask")


@pytest.fixture
def offer():
    found = builds.builds("linux")
    return Offer(found, found[-1], "No NVIDIA driver was found.", (FITS, OLD), None)


def test_what_is_looked_at_is_what_there_is(monkeypatch):
    monkeypatch.setattr(builds, "find_gpu", lambda: Gpu("RTX 4070", 580.65, 8.9))
    monkeypatch.setattr(builds, "platform_name", lambda: "linux")
    monkeypatch.setattr(planning.pythons, "find", lambda wanted: (FITS,))
    monkeypatch.setattr(builds.platform, "machine", lambda: "x86_64")
    offer = planning.look()
    assert offer.build.name == "cu130"
    assert offer.usable == (FITS,)


def test_a_plan_says_what_is_fetched_and_needed(offer):
    plan = planning.from_internet(offer, offer.build, FITS, Network())
    assert plan.download_mb == offer.build.download_mb
    assert plan.needed_mb > plan.download_mb + offer.build.disk_mb
    assert "torch==2.13.0+cpu" in plan.requirements
    without = planning.from_internet(offer, offer.build, None, Network())
    assert without.download_mb > plan.download_mb
    assert without.helper == "/old/python"


def describe(folder, **changes):
    lock = builds.digest(planning.current_lock())
    made = {"orthomask": "1", "platform": "linux", "python": "3.12", "build": "cpu", "lock": lock, **changes}
    (folder / planning.DESCRIPTION).write_text(json.dumps(made))
    return folder


def test_a_folder_of_packages_is_a_plan_without_downloads(offer, tmp_path):
    plan = planning.from_folder(offer, describe(tmp_path))
    assert (plan.download_mb, plan.wheels, plan.python) == (0, str(tmp_path), FITS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"platform": "windows"}, "were downloaded for windows"),
        ({"lock": "other"}, "another version"),
        ({"python": "3.11"}, "need Python 3.11"),
        ({"build": "none"}, "no packages for this computer"),
    ],
)
def test_a_folder_for_another_computer_says_so(offer, tmp_path, changes, words, monkeypatch):
    monkeypatch.setattr(builds, "platform_name", lambda: "linux")
    with pytest.raises(OrthomaskError) as caught:
        planning.from_folder(offer, describe(tmp_path, **changes))
    assert caught.value.code is ErrorCode.ENGINE_SETUP
    assert words in caught.value.sentence


def test_a_folder_of_something_else_says_so(offer, tmp_path):
    with pytest.raises(OrthomaskError, match="wheelhouse"):
        planning.from_folder(offer, tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{Path.home()}/x", "~/x"),
        ("/home/anna/QGIS", "~/QGIS"),
        (r"C:\Users\Anna Maria\x".replace(" Maria", ""), r"~\x"),
        (r"'C:\\Users\\anna\\AppData'", r"'~\\AppData'"),
        ("/Users/anna/Library", "~/Library"),
        ("http://anna:s3cret@proxy.corp:8080 is away", "http://…@proxy.corp:8080 is away"),
        ("https://example.org/simple", "https://example.org/simple"),
    ],
)
def test_homes_and_passwords_are_not_told(text, told):
    assert diagnostics.redacted(text) == told


def test_the_report_says_what_counts_and_nothing_private(offer, tmp_path):
    folder = store.new_folder(store.base_folder(), "0.2.0")
    folder.mkdir(parents=True)
    store.finish(folder, store.Record("0.2.0", "abc", "cpu", "", "3.12.1", "Test processor", 1.5, 900, "2026-11-21"))
    error = OrthomaskError(ErrorCode.ENGINE_SETUP, "It failed.", "Try again.", "http://me:word@proxy:1 said no")
    network = Network("http://me:word@proxy:1")
    report = diagnostics.markdown(offer, "/home/me/python", network, error, ["first", "/home/me/last"])
    for words in ("QGIS 3", "Test processor", "of another lock", "3.10 or newer", "It failed. Try again.", "last"):
        assert words in report
    assert "word@" not in report
    assert "/home/me" not in report
