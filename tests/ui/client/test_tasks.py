"""How a task of ours ends in QGIS's message bar."""

import pytest
from qgis.core import QgsApplication, QgsTask
from qgis.gui import QgsMessageBar
from scene import wait_until

from orthomask.protocol import Cancelled, InfoRequest
from orthomask.ui.client.tasks import QUIET, EngineTask, Hush


@pytest.fixture(params=["enabled later", "started with QGIS"])
def bar(qgis_app, request):
    """A message bar in which QGIS reports the end of every task, as its main window does: before us, or after."""
    bar, manager = QgsMessageBar(), QgsApplication.taskManager()

    def report(number, status):
        task = manager.task(number)
        silent = QgsTask.Flag.CanCancel != QUIET and task.flags() & QUIET
        if status in {QgsTask.TaskStatus.Complete, QgsTask.TaskStatus.Terminated} and not silent:
            bar.pushMessage(
                "Task complete" if status == QgsTask.TaskStatus.Complete else "Task failed", task.description()
            )

    first = Hush(bar) if request.param == "started with QGIS" else None
    manager.statusChanged.connect(report)
    hush = first or Hush(bar)
    yield bar
    hush.release()
    manager.statusChanged.disconnect(report)


def run(client, bar, *, cancel=False):
    """The answer or error of a task, whose panel reports the answer."""
    ends = []
    task = EngineTask("Orthomask: info", client, InfoRequest())
    task.answered.connect(lambda answer: (bar.pushMessage("Orthomask", "2 polygons"), ends.append(answer)))
    task.failed.connect(ends.append)
    if cancel:
        task.reported.connect(lambda *_: task.cancel())
    QgsApplication.taskManager().addTask(task)
    wait_until(lambda: ends and not QgsApplication.taskManager().activeTasks())
    return ends[0]


def test_only_our_own_summary_is_left(client, bar):
    run(client, bar)
    wait_until(lambda: [item.text() for item in bar.items()] == ["2 polygons"])


def test_a_cancelled_task_ends_quietly(client, bar, engine):
    engine.script(info={"steps": 1000})
    assert isinstance(run(client, bar, cancel=True), Cancelled)
    wait_until(lambda: bar.items() == [])


def test_a_task_of_somebody_else_is_reported(client, bar):
    manager, ends = QgsApplication.taskManager(), []
    other = QgsTask.fromFunction("Orthomask: info", lambda _: None, on_finished=lambda _: ends.append(True))
    manager.addTask(other)
    wait_until(lambda: ends and bar.items())
    assert [item.title() for item in bar.items()] == ["Task complete"]
