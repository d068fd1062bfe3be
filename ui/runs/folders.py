"""Where runs go: a new folder each, except that an unfinished run resumes in its own."""

from __future__ import annotations

import itertools
import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Optional

from qgis.core import QgsProcessingUtils, QgsProject
from qgis.PyQt.QtCore import QStandardPaths

from ...protocol import Existing, PredictRequest, to_json
from ..toolkit.settings import FOLDER, RUN_PARENTS, UNFINISHED_RUN

MOST_PARENTS = 100


def default_parent() -> str:
    """The folder that the settings name, or else `beside_project`."""
    return FOLDER.get() or beside_project()


def beside_project() -> str:
    """The folder `Orthomask` next to the project file, or in the user's documents if the project is not saved."""
    documents = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
    return str(Path(QgsProject.instance().absolutePath() or documents) / "Orthomask")


def unfinished_folder(request: PredictRequest) -> Optional[str]:
    """The folder where this same run was begun but not finished; None if there is none.

    It is kept in QGIS's settings, and so survives a crash of QGIS.
    """
    begun = json.loads(UNFINISHED_RUN.get() or "{}")
    folder = begun.get("folder", "")
    return folder if begun.get("request") == to_json(request) and Path(folder).is_dir() else None


def begin(request: PredictRequest, source: str, model: str) -> PredictRequest:
    """`request`, whose folder is the parent of all runs, with its own folder; remembered until `end`."""
    folder = unfinished_folder(request) or new_folder(request.output_dir, source, model)
    UNFINISHED_RUN.set(json.dumps({"request": to_json(request), "folder": folder}))
    remember_parent(folder)
    return replace(request, output_dir=folder, existing=Existing.RESUME)


def end() -> None:
    """Forget the last run: it has its results."""
    UNFINISHED_RUN.reset()


def go_on(request: PredictRequest, folder: str) -> PredictRequest:
    """The request to resume a run begun in this folder, by any interface; remembered until `end`."""
    if json.loads(UNFINISHED_RUN.get() or "{}").get("folder") != folder:
        planned = replace(request, output_dir=str(Path(folder).parent), existing=Existing.REFUSE)
        UNFINISHED_RUN.set(json.dumps({"request": to_json(planned), "folder": folder}))
    return replace(request, output_dir=folder, existing=Existing.RESUME)


def remember_parent(folder: str) -> None:
    """From now on, look for runs next to this run's folder, too. Main thread only."""
    if Path(QgsProcessingUtils.tempFolder()) in Path(folder).parents:
        return  # QGIS deletes it on exit
    parent = str(Path(folder).absolute().parent)
    others = [other for other in _parents() if other != parent]
    RUN_PARENTS.set(json.dumps([parent, *others][:MOST_PARENTS]))


def parents(*more: str) -> list[Path]:
    """All known parent folders of runs, and these. Main thread only."""
    return [Path(name) for name in dict.fromkeys([default_parent(), *more, *_parents()])]


def new_folder(parent: str, source: str, model: str) -> str:
    """The folder of a run that begins now, named after its source, model and time. It is not made yet.

    Of several that begin in the same second, the second gets -2 after its name.
    """
    name = re.sub(r"[^\w.-]+", "_", f"{source}-{model}-{datetime.now():%Y%m%d-%H%M%S}")
    others = (f"{name}-{number}" for number in itertools.count(2))
    return str(next(path for each in itertools.chain([name], others) if not (path := Path(parent) / each).exists()))


def _parents() -> list[str]:
    """The remembered ones."""
    with suppress(ValueError):
        return [str(name) for name in json.loads(RUN_PARENTS.get() or "[]")]
    return []
