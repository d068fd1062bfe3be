"""The tutorial runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parents[2] / "docs"
BRIEF = """
from dataclasses import replace
from orthomask.training.fit import train
from orthomask.training.loop import requests
whole = train.run
few = dict(steps=6, batch=4)
train.run = lambda request, progress: whole(replace(request, schedule=replace(request.schedule, **few)), progress)
requests.LEARNING = replace(requests.LEARNING, epochs=2, steps=2, frozen_epochs=1)
"""
"""What minutes go into is not what this tests: how well such a network becomes is tested with the trainings."""


def test_the_tutorial_runs() -> None:
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BRIEF))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(DOCS)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in shown if {"image/jpeg", "image/png"} & set(output.get("data", {}))]
    assert len(pictures) == 7, "every picture is drawn"
