"""Deleting a run: its own files and nothing else, to the trash if there is one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Optional

from qgis.core import QgsLayerTreeGroup, QgsMapLayer, QgsProject, QgsProviderRegistry, QgsVectorLayer

from ...protocol import UNCERTAINTY_FILE, ErrorCode, OrthomaskError
from ..layers.picture_client import PICTURE_DIR, WORK_DIR
from ..toolkit.trash import moved_to_trash
from ..toolkit.words import tr
from .generations import POLYGONS, later
from .naming import NAME_FILE
from .results import CLASSES, PROBABILITIES, RECORD

HIDDEN = (WORK_DIR, PICTURE_DIR, f".{UNCERTAINTY_FILE}.partial")
BESIDE = {
    CLASSES: (".aux.xml",),
    PROBABILITIES: (".aux.xml",),
    UNCERTAINTY_FILE: (".aux.xml",),
    POLYGONS: ("-wal", "-shm", "-journal"),
    NAME_FILE: (),
    RECORD: (),
}
"""Extra files that GDAL and SQLite leave next to the results; the record, which makes it a run, is last."""


def own_files(folder: Path) -> list[Path]:
    """The files that the run made in its folder, its record last."""
    remade = [path.name + end for path in later(folder) for end in ("", *BESIDE[POLYGONS])]
    names = [*HIDDEN, *remade, *(name + end for name, ends in BESIDE.items() for end in ("", *ends))]
    return [path for path in (folder / name for name in names) if path.exists()]


def foreign_files(folder: Path) -> list[str]:
    """Names of other files in the folder.

    Raises:
        OrthomaskError: the folder cannot be read.
    """
    own = {path.name for path in own_files(folder)}
    try:
        return sorted(path.name for path in folder.iterdir() if path.name not in own)
    except OSError as error:
        raise _stuck(folder, error) from error


def layers_of(project: QgsProject, folder: Path) -> list[QgsMapLayer]:
    """The layers of the project that show the run's own files."""
    own = {path.resolve() for path in own_files(folder)}
    return [layer for layer in project.mapLayers().values() if _file_of(layer) in own]


def refuse_unsaved(layers: Sequence[QgsMapLayer]) -> None:
    """Raise if one of the layers has unsaved edits.

    Raises:
        OrthomaskError: it has.
    """
    for layer in layers:
        if isinstance(layer, QgsVectorLayer) and layer.isEditable() and layer.isModified():
            sentence = tr("The layer {} of this run has unsaved edits.").format(layer.name())
            raise OrthomaskError(ErrorCode.OUTPUT_IN_USE, sentence, tr("Save or discard them first."))


def take_out(project: QgsProject, layers: Sequence[QgsMapLayer], title: str) -> None:
    """Remove the layers from the project, and a group with this title that they leave empty."""
    nodes = [project.layerTreeRoot().findLayer(layer.id()) for layer in layers]
    parents = [node.parent() for node in nodes if node is not None]
    groups = {id(parent): parent for parent in parents if parent is not None}
    for layer in layers:
        if isinstance(layer, QgsVectorLayer):
            layer.rollBack()  # nothing was changed; in edit mode, the layer's file would stay open
    project.removeMapLayers([layer.id() for layer in layers])
    for group in groups.values():
        parent = group.parent()
        if group.name() == title and not group.children() and isinstance(parent, QgsLayerTreeGroup):
            parent.removeChildNode(group)


def trash(folder: Path) -> list[Path]:
    """Move the run to the trash, with its folder if nothing else is in it; returns what could not be moved.

    Raises:
        OrthomaskError: the folder cannot be read.
    """
    wanted = own_files(folder) if foreign_files(folder) else [folder]
    return [path for path in wanted if not moved_to_trash(path)]


def delete(folder: Path) -> None:
    """Delete the run for good, with its folder if nothing else is in it.

    Raises:
        OrthomaskError: a file is open in another program, or may not be deleted; the record is then kept.
    """
    for path in own_files(folder):
        _remove(path)
    with suppress(OSError):  # not empty, or open elsewhere: no longer a run
        folder.rmdir()


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError as error:
        raise _stuck(path, error) from error


def _file_of(layer: QgsMapLayer) -> Optional[Path]:
    """The file that a layer shows; None if it shows none."""
    path = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source()).get("path")
    return Path(path).resolve() if path else None


def _stuck(path: Path, error: OSError) -> OrthomaskError:
    sentence = tr("“{}” cannot be deleted.").format(path)
    remedy = tr("Close the programs that use it, check that you can write to its folder, and try again.")
    return OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy, str(error))
