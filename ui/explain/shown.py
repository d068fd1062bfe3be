"""The layers of an explanation in the project: a group on top, of which one layer is seen at a time."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Optional

from qgis.core import QgsLayerTreeGroup, QgsProject, QgsRasterLayer

from ...protocol import ExplainResult, Explanation
from ..toolkit.present import present
from ..toolkit.words import briefly, tr
from .explanations import style, title

GROUP = "orthomask/explanations"
"""Custom property of the group."""


class ShownExplanations:
    """Adds explanations to the project; those of the object before go when the first of another one comes.

    Their files are temporary: QGIS says so at the layers, and offers to save them.
    """

    def __init__(self) -> None:
        self._folders: list[Path] = []

    def new_folder(self) -> Path:
        """An empty folder for the explanations of an object."""
        self._folders.append(Path(tempfile.mkdtemp(prefix="orthomask-why-")))
        return self._folders[-1]

    def add(self, method: Explanation, result: ExplainResult) -> None:
        """Add a layer for each band of a result, below those of the same object."""
        if self._group is not None and self._group.customProperty(GROUP) != str(Path(result.path).parent):
            self._remove_group()
        group = self._group or self._new_group(result)
        for band, name in enumerate(result.bands, 1):
            layer = QgsRasterLayer(result.path, title(method) if len(result.bands) == 1 else name)
            style(layer, method, result.sentence, band)
            QgsProject.instance().addMapLayer(layer, addToLegend=False)
            node = present(group.addLayer(layer))
            node.setItemVisibilityChecked(len(group.children()) == 1)
        group.setIsMutuallyExclusive(True, 0)

    def clear(self) -> None:
        """Remove the layers, and their files."""
        self._remove_group()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        self._folders = []

    @property
    def _group(self) -> Optional[QgsLayerTreeGroup]:
        groups = present(QgsProject.instance().layerTreeRoot()).findGroups(True)
        return next((group for group in groups if group.customProperty(GROUP)), None)

    def _new_group(self, result: ExplainResult) -> QgsLayerTreeGroup:
        words = tr("Why? {} ({})").format(result.class_name, briefly(result.confidence, 2))
        group = QgsLayerTreeGroup(words)
        group.setCustomProperty(GROUP, str(Path(result.path).parent))
        present(QgsProject.instance().layerTreeRoot()).insertChildNode(0, group)
        for expanded in (False, True):  # as in `results.add_run`
            group.setExpanded(expanded)
        return group

    def _remove_group(self) -> None:
        group = self._group
        if group is None:
            return
        QgsProject.instance().removeMapLayers(group.findLayerIds())
        present(QgsProject.instance().layerTreeRoot()).removeChildNode(group)
