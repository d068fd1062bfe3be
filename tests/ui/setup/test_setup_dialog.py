"""The window of Set up, its installer a stand-in."""

import json
import threading
from dataclasses import replace

import pytest
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtWidgets import QFileDialog, QMessageBox
from scene import wait_until
from wheels import TESTED

from orthomask.protocol import Cancelled, ErrorCode, OrthomaskError
from orthomask.ui.client import environment, store
from orthomask.ui.installer import builds, install, managed, planning
from orthomask.ui.installer.planning import Offer
from orthomask.ui.installer.pythons import Python
from orthomask.ui.setup import dialog as setup_dialog
from orthomask.ui.setup.dialog import SetupDialog, State

FITS = Python("/opt/python", (3, 12, 1))
RECORD = store.Record("0.1.0", "an old lock", "cpu", "/opt/python", "3.12.1", "CPU", 1.5, 1400, "2026-01-01T00:00:00")


@pytest.fixture
def base(monkeypatch, tmp_path):
    base = tmp_path / "orthomask"
    monkeypatch.setattr(store, "base_folder", lambda: base)
    monkeypatch.delenv(environment.PYTHON_VARIABLE, raising=False)
    environment.set_python("")
    return base


@pytest.fixture
def offer(monkeypatch):
    found = builds.builds("linux")
    offer = Offer(found, found[-1], "No NVIDIA driver was found.", (FITS,), None)
    monkeypatch.setattr(planning, "look", lambda: offer)
    return offer


def environment_of(base, lock=None):
    folder = store.new_folder(base, "0.1.0")
    folder.mkdir(parents=True)
    return store.finish(folder, replace(RECORD, lock=lock or RECORD.lock))


@pytest.fixture
def installer(monkeypatch, base):
    """What the installer does next, and the plans it was given."""

    class Installer:
        def __init__(self):
            self.plans, self.outcome, self.go_on = [], None, threading.Event()

        def __call__(self, plan, watcher, test):
            self.plans.append(plan)
            watcher.log("Collecting torch")
            watcher.step(0.5, "100 of about 400 MB · torch")
            while not self.go_on.wait(0.01):
                if watcher.isCanceled():
                    raise Cancelled
            if isinstance(self.outcome, OrthomaskError):
                raise self.outcome
            return environment_of(base, builds.digest(planning.current_lock())), TESTED

    installer = Installer()
    monkeypatch.setattr(install, "install", installer)
    return installer


@pytest.fixture
def open_dialog(base, offer, qgis_app):
    opened = []

    def open_dialog(error=None):
        dialog = SetupDialog(error)
        dialog.changes = []
        dialog.engine_changed.connect(lambda: dialog.changes.append(environment.configured_python()))
        dialog.show()
        opened.append(dialog)
        wait_until(lambda: not dialog.busy)
        return dialog

    yield open_dialog
    for dialog in opened:
        dialog.release()
        dialog.close()
        dialog.deleteLater()
    wait_until(lambda: not QgsApplication.taskManager().activeTasks())
    QCoreApplication.processEvents()


def test_the_plan_is_told_before_anything_runs(open_dialog, installer, offer):
    dialog = open_dialog()
    assert "not set up yet" in dialog.words.text()
    assert dialog.bar.run_button.text() == "Set up"
    box = dialog.plan_box
    assert box.device.currentText() == "CPU"
    assert "No NVIDIA driver" in box.why.text()
    assert "3.12.1" in box.python.currentText()
    assert f"packages, about {offer.build.download_mb} MB to download" in box.space.text()
    assert "GB must be free" in box.space.text()
    assert "torch" in box.packages.toPlainText()
    assert box.place.text().endswith("orthomask")
    assert not dialog.store_box.isVisible()
    assert installer.plans == []


def test_another_device_is_another_plan(open_dialog):
    dialog = open_dialog()
    dialog.plan_box.device.setCurrentIndex(0)
    assert dialog.plan_box.plan.build.name == "cu130"
    assert "Recommended here: CPU." in dialog.plan_box.why.text()
    assert "GB to download" in dialog.plan_box.space.text()
    dialog.plan_box.python.setCurrentIndex(1)
    assert dialog.plan_box.plan.python is None


def test_set_up_shows_progress_and_ends_with_device_and_speed(open_dialog, installer):
    dialog = open_dialog()
    dialog.bar.run_button.click()
    wait_until(lambda: "100 of about 400 MB" in dialog.bar.status.text())
    assert not dialog.plan_box.isEnabled()
    assert dialog.bar.cancel_button.isVisible()
    assert "Collecting torch" in dialog.log.toPlainText()
    installer.go_on.set()
    wait_until(lambda: not dialog.busy)
    assert "The engine works. Test processor found 7 objects" in dialog.words.text()
    assert dialog.changes == [environment.configured_python()]
    assert "engine-0.1.0" in dialog.changes[0]
    assert dialog.bar.run_button.text() == "Set up again"
    assert dialog.store_box.isVisible()


def test_cancelled_it_says_what_is_kept_and_can_be_tried_again(open_dialog, installer):
    dialog = open_dialog()
    dialog.bar.run_button.click()
    wait_until(lambda: installer.plans != [])
    dialog.bar.cancel_button.click()
    wait_until(lambda: not dialog.busy)
    assert "Nothing unfinished remains" in dialog.words.text()
    assert dialog.bar.run_button.text() == "Try again"
    installer.go_on.set()
    dialog.bar.run_button.click()
    wait_until(lambda: dialog.changes != [])
    assert len(installer.plans) == 2


def test_a_failure_is_one_sentence_and_a_remedy_with_the_log_open(open_dialog, installer):
    installer.outcome = OrthomaskError(ErrorCode.ENGINE_SETUP, "The proxy is cross.", "Be kind.", "407")
    installer.go_on.set()
    dialog = open_dialog()
    dialog.bar.run_button.click()
    wait_until(lambda: "cross" in dialog.words.text())
    assert dialog.words.text() == "The proxy is cross. Be kind."
    assert not dialog.log_box.isCollapsed()
    assert dialog.bar.run_button.isEnabled()
    dialog.diagnostics_button.click()
    assert "The proxy is cross. Be kind." in QgsApplication.clipboard().text()


def test_a_broken_environment_is_replaced(open_dialog, installer, base):
    broken = environment_of(base, builds.digest(planning.current_lock()))
    dialog = open_dialog(OrthomaskError(ErrorCode.ENGINE_DIED, "The engine stopped unexpectedly.", "Run it again."))
    assert dialog.words.text() == "The engine stopped unexpectedly."
    assert dialog.bar.run_button.text() == "Repair"
    installer.go_on.set()
    dialog.bar.run_button.click()
    wait_until(lambda: dialog.changes != [])
    assert not broken.folder.exists()
    assert len(store.environments(base)) == 1


def test_an_environment_of_an_earlier_version_works_on_until_it_is_updated_and_can_be_removed(
    open_dialog, installer, base, monkeypatch
):
    old = environment_of(base)
    dialog = open_dialog()
    assert setup_dialog.state_of(None) is State.OUTDATED
    assert dialog.bar.run_button.text() == "Update"
    installer.go_on.set()
    monkeypatch.setattr(install.time, "strftime", lambda _: "2026-02-02T00:00:00")
    dialog.bar.run_button.click()
    wait_until(lambda: dialog.changes != [])
    (new,) = (found for found in store.environments(base) if found.folder != old.folder)
    store.finish(new.folder, replace(new.record, made="2026-02-02T00:00:00"))
    dialog.store_box.show_environments(environment.configured_python())
    assert dialog.store_box.table.topLevelItemCount() == 2
    assert "2.8 GB in all" in dialog.store_box.total.text()
    assert dialog.store_box.table.selectedItems()[0].text(1) == "unused, outdated"
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    dialog.store_box.remove_button.click()
    wait_until(lambda: not dialog.busy)
    assert [found.folder for found in store.environments(base)] == [new.folder]


def test_removing_what_runs_ends_the_engine_first(open_dialog, base, monkeypatch):
    made = environment_of(base)
    (base / managed.FOLDER / "cpython").mkdir(parents=True)
    dialog = open_dialog()
    ended = []
    dialog.engine_unwanted.connect(lambda: ended.append(made.folder.exists()))
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    dialog.store_box.table.setCurrentItem(dialog.store_box.table.topLevelItem(0))
    dialog.store_box.remove_button.click()
    wait_until(lambda: dialog.changes != [])
    assert ended == [True]
    assert not made.folder.exists()
    assert not (base / managed.FOLDER).exists()
    assert dialog.changes == [""]
    assert dialog.bar.run_button.text() == "Set up"


def test_a_folder_that_does_not_fit_is_told_and_cannot_be_run(open_dialog, monkeypatch, tmp_path):
    dialog = open_dialog()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    dialog.plan_box.source_button.click()
    assert "contains no packages for this computer" in dialog.bar.status.text()
    assert not dialog.bar.run_button.isEnabled()
    dialog.plan_box.source_button.click()
    assert dialog.bar.run_button.isEnabled()


def test_a_folder_says_for_which_device_and_python_it_is(open_dialog, tmp_path, offer, monkeypatch):
    other = replace(offer, pythons=(FITS, Python("/opt/other", (3, 13, 2))))
    monkeypatch.setattr(planning, "look", lambda: other)
    box = open_dialog().plan_box
    made = {"platform": "linux", "python": "3.13", "build": "cu130", "lock": builds.digest(planning.current_lock())}
    (tmp_path / planning.DESCRIPTION).write_text(json.dumps(made))
    for folder, build, python in ((str(tmp_path), "cu130", "/opt/other"), ("", "cpu", FITS.path)):
        box.use_folder(folder)
        assert (box.plan.build.name, box.plan.python.path) == (build, python)
        assert (box.device.currentData().name, box.python.currentData().path) == (build, python)
        assert ("Recommended here" in box.why.text()) is bool(folder)


def test_another_python_of_the_person_comes_before_all(open_dialog, base, monkeypatch):
    made = environment_of(base)
    dialog = open_dialog()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("/my/python", ""))
    dialog.own_button.click()
    assert dialog.changes == ["/my/python"]
    assert "/my/python" in dialog.words.text()
    assert setup_dialog.state_of(None) is State.OWN
    dialog.own_button.click()
    assert dialog.changes == ["/my/python", made.python]
    assert dialog.own_button.text() == "Use another Python…"


def test_it_fits_a_small_screen(open_dialog):
    dialog = open_dialog()
    dialog.log_box.setCollapsed(False)
    assert dialog.minimumSizeHint().width() <= 620
    assert dialog.minimumSizeHint().height() <= 700
