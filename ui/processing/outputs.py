"""Where an algorithm's outputs go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingUtils,
    QgsProperty,
)

NOT_LAYERS = (QgsProcessingParameterFileDestination, QgsProcessingParameterFolderDestination)
"""Outputs that QGIS does not load."""


def folder_of(output: QgsProcessingParameterDefinition, value: Any, context: QgsProcessingContext) -> str:
    """The folder that the user chose for an output; empty for a temporary one. Tells QGIS of no layer to load."""
    value = value.sink if isinstance(value, QgsProcessingOutputLayerDefinition) else value
    if isinstance(value, QgsProperty):
        value = value.valueAsString(context.expressionContext())[0]
    path = Path(str(value or ""))
    if not path.is_absolute():
        return ""
    return str(path if isinstance(output, QgsProcessingParameterFolderDestination) else path.parent)


def is_temporary(value: Any) -> bool:
    """Whether an output is a file or folder that QGIS deletes on exit."""
    return isinstance(value, str) and Path(QgsProcessingUtils.tempFolder()) in Path(value).parents
