"""Snapping that suits labels, while labels are edited. Afterwards the project's own settings are restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from qgis.core import QgsProject, QgsSnappingConfig, QgsTolerance, QgsVectorLayer

from ...protocol import Outline
from .project import LabelProject

TOLERANCE_PX = 10.0


class LabelSnapping:
    """Watches the label layer of a project: snapping is on while the layer is edited.

    If the user has already switched snapping on, their settings are kept.

    Args:
        label_project: its labels are watched.
    """

    def __init__(self, label_project: LabelProject) -> None:
        self._label_project = label_project
        self._before: Optional[_Settings] = None
        self._ours: Optional[tuple[Any, ...]] = None
        self._layer = label_project.labels
        self._layer.editingStarted.connect(self._begin)
        self._layer.editingStopped.connect(self._end)
        if self._layer.isEditable():
            self._begin()

    def release(self) -> None:
        """Restore the settings, and stop watching."""
        self._end()
        self._layer.editingStarted.disconnect(self._begin)
        self._layer.editingStopped.disconnect(self._end)

    def _begin(self) -> None:
        project = QgsProject.instance()
        if project.snappingConfig().enabled():
            return
        self._before = _Settings.of(project)
        config = self._config(project.snappingConfig())
        self._ours = _facts(config)
        project.setSnappingConfig(config)
        project.setTopologicalEditing(True)
        if _never_overlap(self._label_project):
            project.setAvoidIntersectionsMode(QgsProject.AvoidIntersectionsMode.AvoidIntersectionsLayers)
            project.setAvoidIntersectionsLayers([self._layer])

    def _config(self, config: QgsSnappingConfig) -> QgsSnappingConfig:
        """Snap to vertices and edges of labels, and to nothing else."""
        config.setEnabled(True)
        config.setMode(QgsSnappingConfig.SnappingMode.AdvancedConfiguration)
        for layer, settings in config.individualLayerSettings().items():
            settings.setEnabled(layer == self._layer)
            if layer == self._layer:
                settings.setTypeFlag(config.VertexFlag | config.SegmentFlag)
                settings.setTolerance(TOLERANCE_PX)
                settings.setUnits(QgsTolerance.UnitType.Pixels)
            config.setIndividualLayerSettings(layer, settings)
        return config

    def _end(self) -> None:
        project = QgsProject.instance()
        if self._before is not None and _facts(project.snappingConfig()) == self._ours:
            self._before.restore(project)
        self._before = self._ours = None


@dataclass(frozen=True)
class _Settings:
    """A project's own settings; layers by their IDs, as they may be gone when the settings are restored."""

    enabled: bool
    mode: Any
    layers: dict[str, Any]
    topological: bool
    avoid_mode: Any
    avoided: list[str]

    @classmethod
    def of(cls, project: QgsProject) -> _Settings:
        """The current settings."""
        config = project.snappingConfig()
        layers = {layer.id(): settings for layer, settings in config.individualLayerSettings().items()}
        avoided = [layer.id() for layer in project.avoidIntersectionsLayers()]
        mode = project.avoidIntersectionsMode()
        return cls(config.enabled(), config.mode(), layers, project.topologicalEditing(), mode, avoided)

    def restore(self, project: QgsProject) -> None:
        """Restore them; layers added meanwhile keep theirs."""
        config = project.snappingConfig()
        config.setEnabled(self.enabled)
        config.setMode(self.mode)
        for identity, settings in self.layers.items():
            layer = project.mapLayer(identity)
            if isinstance(layer, QgsVectorLayer):
                config.setIndividualLayerSettings(layer, settings)
        project.setSnappingConfig(config)
        project.setTopologicalEditing(self.topological)
        project.setAvoidIntersectionsMode(self.avoid_mode)
        avoided = (project.mapLayer(identity) for identity in self.avoided)
        project.setAvoidIntersectionsLayers([layer for layer in avoided if isinstance(layer, QgsVectorLayer)])


def _facts(config: QgsSnappingConfig) -> tuple[Any, ...]:
    """What a user changes in the snapping toolbar, apart from layers."""
    return config.enabled(), config.mode(), config.tolerance(), config.units(), config.typeFlag()


def _never_overlap(label_project: LabelProject) -> bool:
    """Whether overlapping labels can only be a mistake: with one class, or with parcels that share borders."""
    classes = label_project.classes
    return len(classes) == 1 or all(info.outline is Outline.SHARED for info in classes)
