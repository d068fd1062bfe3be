"""What is under review: a run, its polygons, and the label project that its checked squares go to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from qgis.core import QgsVectorLayer

from ..label.project import LabelProject
from ..runs.results import Run


@dataclass(frozen=True)
class Context:
    """What the boxes of the panel work on.

    Attributes:
        run: the chosen finished run.
        polygons: its polygon layer in the QGIS project.
        project: the label project.
        target: the layer that the quick tools change: the drafts of the square in view, else the polygons.
    """

    run: Optional[Run] = None
    polygons: Optional[QgsVectorLayer] = None
    project: Optional[LabelProject] = None
    target: Optional[QgsVectorLayer] = None
