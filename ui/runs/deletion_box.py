"""The questions before runs are deleted, and the report afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.core import QgsMapLayer, QgsProject
from qgis.PyQt.QtWidgets import QMessageBox, QWidget

from ..toolkit.words import tr, tr_n
from . import deletion as run_deletion
from .history import PastRun, State

MOST_NAMES = 5


def delete_runs(runs: Sequence[PastRun], parent: QWidget) -> str:
    """Delete runs after asking, and first remove their layers; returns what was done, empty for nothing.

    Raises:
        OrthomaskError: a layer has unsaved edits (nothing was done), or a file cannot be deleted.
    """
    project = QgsProject.instance()
    layers = {run.folder: run_deletion.layers_of(project, run.folder) for run in runs}
    for shown in layers.values():
        run_deletion.refuse_unsaved(shown)
    foreign = [name for run in runs for name in run_deletion.foreign_files(run.folder)]
    if not _is_wanted(runs, [layer for shown in layers.values() for layer in shown], foreign, parent):
        return ""
    left = []
    for run in runs:
        run_deletion.take_out(project, layers[run.folder], run.title)
        if run_deletion.trash(run.folder):
            left.append(run)
    if left and _is_wanted_for_good(left, parent):
        for run in left:
            run_deletion.delete(run.folder)
        return tr_n("{} run deleted.", "{} runs deleted.", len(runs)).format(len(runs))
    moved = len(runs) - len(left)
    return tr_n("{} run moved to the trash.", "{} runs moved to the trash.", moved).format(moved) if moved else ""


def _is_wanted(runs: Sequence[PastRun], layers: Sequence[QgsMapLayer], foreign: Sequence[str], parent: QWidget) -> bool:
    """Ask, and say what goes and what stays."""
    question = tr_n("Delete the run “{}”?", "Delete {} runs?", len(runs))
    question = question.format(runs[0].title if len(runs) == 1 else len(runs))
    told = [tr("Its own files go to the trash.") if len(runs) == 1 else tr("Their own files go to the trash.")]
    if any(run.state is State.UNFINISHED for run in runs):
        told.append(tr("Unfinished runs cannot be resumed afterwards; make sure that they are not running elsewhere."))
    if layers:
        words = tr_n(
            "{} layer will be removed from the project.", "{} layers will be removed from the project.", len(layers)
        )
        told.append(words.format(len(layers)))
    if foreign:
        names = ", ".join(foreign[:MOST_NAMES]) + ("…" if len(foreign) > MOST_NAMES else "")
        told.append(tr("Files that are not the run's own are kept, and so is its folder: {}.").format(names))
    return _agreed(question, " ".join(told), parent)


def _is_wanted_for_good(runs: Sequence[PastRun], parent: QWidget) -> bool:
    titles = "”, “".join(run.title for run in runs)
    question = tr("“{}” cannot be moved to the trash. Delete it for good?").format(titles)
    return _agreed(question, tr("This cannot be undone."), parent)


def _agreed(question: str, told: str, parent: QWidget) -> bool:
    box = QMessageBox(QMessageBox.Icon.Question, tr("Orthomask: delete"), question, parent=parent)
    box.setInformativeText(told)
    delete = box.addButton(tr("Delete"), QMessageBox.ButtonRole.DestructiveRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    return bool(box.clickedButton() is delete)
