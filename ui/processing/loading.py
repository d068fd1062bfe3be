"""Layers that an algorithm leaves behind: loaded when it ends, and styled as the dock styles them."""

from __future__ import annotations

from typing import Any, Callable, ClassVar

from qgis.core import (
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
)

Style = Callable[[Any], None]
"""Styles a layer of the kind that the algorithm makes."""


class Styler(QgsProcessingLayerPostProcessorInterface):
    """Styles a layer once it has been loaded.

    QGIS does not keep a post-processor alive (qgis/QGIS#29844), so each one keeps itself until it has done its work.
    """

    _waiting: ClassVar[set[Styler]] = set()

    def __init__(self, style: Style, *, shown: bool = True) -> None:
        super().__init__()
        self._style, self._shown = style, shown
        self._waiting.add(self)

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Style it, and hide it if so wanted; QGIS calls this on the main thread."""
        self._style(layer)
        layer.triggerRepaint()
        project = context.project()
        root = project.layerTreeRoot() if project is not None else None
        node = root.findLayer(layer.id()) if root is not None else None
        if node is not None:
            node.setItemVisibilityChecked(self._shown)
        self._waiting.discard(self)


def load_when_done(
    context: QgsProcessingContext, uri: str, name: str, group: str, style: Style, *, shown: bool = True
) -> None:
    """Have the layer at `uri` added to the project, styled, when the algorithm has ended."""
    details = QgsProcessingContext.LayerDetails(name, context.project())
    details.forceName = True
    details.groupName = group  # QGIS 3.32 and newer; a mere Python attribute, without effect, before
    details.setPostProcessor(Styler(style, shown=shown))
    context.addLayerToLoadOnCompletion(uri, details)
