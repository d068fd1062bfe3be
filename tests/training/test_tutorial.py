"""The chapters of the tutorial run from their first cell to their last."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nrw_servers import nrw

DOCS = Path(__file__).resolve().parents[2] / "docs"
BRIEF = """
from dataclasses import replace
from orthomask.training.fit import train
from orthomask.training.loop import requests
whole = train.run
def brief(request, progress):
    few = dict(epochs=2, steps=4, batch=4, chip_px=min(request.schedule.chip_px, 128))
    narrow = replace(request.network, width_factor=0.5)
    return whole(replace(request, schedule=replace(request.schedule, **few), network=narrow), progress)
train.run = brief
requests.LEARNING = replace(requests.LEARNING, epochs=2, steps=2, frozen_epochs=1)
"""
"""What minutes go into is not what this tests: how well such a network becomes is tested with the trainings."""


def executed(notebook: NotebookNode, folder: Path) -> list[NotebookNode]:
    """What a notebook shows, in brief."""
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BRIEF))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def pictures(shown: list[NotebookNode]) -> int:
    return sum(bool({"image/jpeg", "image/png"} & set(output.get("data", {}))) for output in shown)


def test_the_tutorial_runs() -> None:
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    assert pictures(executed(notebook, DOCS)) == 7, "every picture is drawn"


def test_open_data_is_collected_masked_cut_and_learnt_from(tmp_path: Path) -> None:
    path = DOCS / "tutorial" / "nrw.ipynb"
    notebook = nbformat.read(path, as_version=4)
    with nrw(tmp_path) as addresses:
        for cell in notebook.cells:
            for real, ours in addresses.items():
                cell.source = cell.source.replace(real, ours)
        shown = executed(notebook, path.parent)
    told = "".join(output.get("text", "") for output in shown)
    assert "3072 x 2048 pixels, EPSG:25832, 4 bands of uint8" in told
    assert "6 squares, {'building': " in told
    assert re.search(r"[1-9]\d* pixels of courtyards, 0 of them building", told)
    assert "nir from band 4" in told
    assert "on test squares: IoU" in told
    assert pictures(shown) == 2
