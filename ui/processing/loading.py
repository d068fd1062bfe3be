"""An algorithm's result layers: loaded when it ends, and styled as in the dock."""

from __future__ import annotations

from typing import Any, Callable, ClassVar

from qgis.core import (
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
)

Style = Callable[[Any], None]
"""Styles a layer that the algorithm makes."""


class Styler(QgsProcessingLayerPostProcessorInterface):
    """Styles a layer once it has been loaded.

    QGIS does not keep a post-processor alive (qgis/QGIS#29844), so each keeps itself alive until it is done.
    """

    _waiting: ClassVar[set[Styler]] = set()

    def __init__(self, style: Style, *, shown: bool = True) -> None:
        super().__init__()
        self._style, self._shown = style, shown
        self._waiting.add(self)

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Style it, and hide it if requested; QGIS calls this on the main thread."""
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
    """Add the layer at `uri` to the project, styled, when the algorithm has ended."""
    details = QgsProcessingContext.LayerDetails(name, context.project())
    details.forceName = True
    details.groupName = group  # QGIS 3.32 and newer; before, an attribute without effect
    details.setPostProcessor(Styler(style, shown=shown))
    context.addLayerToLoadOnCompletion(uri, details)
