"""How a layer of findings looks: each kind has its line and its colour, and none hides what it is about."""

from __future__ import annotations

from typing import cast

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFillSymbol,
    QgsMapLayer,
    QgsRendererCategory,
    QgsVectorLayer,
)

from ....protocol import Fault
from ...toolkit.present import present
from ...toolkit.words import tr
from .finding_list import KINDS

LINES = {
    Fault.SHIFTED: ("#1a1a1a", "dot"),
    Fault.UNLABELLED: ("#d01c8b", "solid"),
    Fault.CONTRADICTED: ("#2166ac", "dash"),
    Fault.DOUBLE: ("#e08214", "dash dot"),
}


def style_findings(layer: QgsMapLayer) -> None:
    """Outlines by kind, and the reason as the map tip."""
    categories = [QgsRendererCategory(kind.value, _outline(*LINES[kind]), tr(name)) for kind, name in KINDS.items()]
    vector = cast(QgsVectorLayer, layer)
    vector.setRenderer(QgsCategorizedSymbolRenderer("kind", categories))
    vector.setMapTipTemplate('[% "reason" %]')


def _outline(color: str, line: str) -> QgsFillSymbol:
    look = {"style": "no", "outline_color": color, "outline_style": line, "outline_width": "0.7"}
    return present(QgsFillSymbol.createSimple(look))
