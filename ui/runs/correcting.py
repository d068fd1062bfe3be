"""What makes the polygons of a run correctable with QGIS's own editing tools; kept in the layer's style and project.

A new polygon gets its class, run, number and measures; a changed one is measured again.
"""

from __future__ import annotations

from collections.abc import Sequence

from qgis.core import (
    QgsDefaultValue,
    QgsEditorWidgetSetup,
    QgsExpression,
    QgsFieldConstraints,
    QgsVectorLayer,
)

from ...protocol import ClassInfo
from .measuring import measures

HIDDEN = ("fid", "id", "class_value", "run")
"""They follow from the other fields, or from the layer."""
STATUS = "CASE WHEN \"confidence\" IS NULL THEN 'added' ELSE 'corrected' END"
"""How an outline was drawn, once a person has touched it: the model is confident of what it found alone."""


def prepare(layer: QgsVectorLayer, classes: Sequence[ClassInfo], run_id: str) -> None:
    """Set defaults, constraints and form of a run's polygon layer. One class leaves nothing to fill in: no form."""
    set_defaults(layer, classes, run_id)
    widgets = {"class": QgsEditorWidgetSetup("ValueMap", {"map": [{info.name: info.name} for info in classes]})}
    widgets.update({name: QgsEditorWidgetSetup("Hidden", {}) for name in HIDDEN})
    form = layer.editFormConfig()
    for index, field in enumerate(layer.fields().toList()):
        form.setReadOnly(index, field.name() != "class")
        if field.name() in widgets:
            layer.setEditorWidgetSetup(index, widgets[field.name()])
    form.setSuppress(form.SuppressOn if len(classes) == 1 else form.SuppressDefault)  # no scope serves every QGIS
    layer.setEditFormConfig(form)


def set_defaults(layer: QgsVectorLayer, classes: Sequence[ClassInfo], run_id: str) -> None:
    """Set the default value of each field; those of measures and status are computed at every change, too."""
    text = QgsExpression.quotedString
    values = " ".join(f'WHEN "class" = {text(info.name)} THEN {info.value}' for info in classes)
    area, perimeter = measures(layer.crs(), layer.extent())
    defaults = {
        "id": QgsDefaultValue('coalesce(maximum("id"), 0) + 1'),
        "class": QgsDefaultValue(text(classes[0].name)),
        "class_value": QgsDefaultValue(f"CASE {values} END", True),
        "area_m2": QgsDefaultValue(area, True),
        "perimeter_m": QgsDefaultValue(perimeter, True),
        "outline": QgsDefaultValue(STATUS, True),
        "run": QgsDefaultValue(text(run_id)),
    }
    for index, field in enumerate(layer.fields().toList()):
        if field.name() in defaults:
            layer.setDefaultValueDefinition(index, defaults[field.name()])
        if field.name() == "id":  # QGIS then numbers parts of a split polygon, and pasted ones, anew
            layer.setFieldConstraint(index, QgsFieldConstraints.Constraint.ConstraintUnique)
