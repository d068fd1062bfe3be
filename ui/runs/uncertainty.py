"""Where a run is unsure, as a layer."""

from __future__ import annotations

import html

from qgis.core import QgsLayerNotesUtils, QgsRasterLayer
from qgis.PyQt.QtXml import QDomDocument

from ..toolkit.words import mark, tr
from .results import STYLES_DIR

MEANINGS = (
    mark(
        "Entropy of the model's probabilities: 0 where it is sure of one class, 1 where all are equally likely. A "
        "model can be sure and wrong."
    ),
    mark(
        "How much of the probability changes class when the image is mirrored, from 0 to 1. Where it is high, another "
        "look at the same ground gives another answer."
    ),
)
"""What each band shows."""


def style_uncertainty(layer: QgsRasterLayer, band: int = 1) -> None:
    """A heat map of one band, from transparent at zero to dark violet, and notes that say what it shows."""
    style = QDomDocument()
    text = (STYLES_DIR / "uncertainty.qml").read_text(encoding="utf-8")
    style.setContent(text.replace('band="1"', f'band="{band}"'))
    layer.importNamedStyle(style)
    QgsLayerNotesUtils.setLayerNotes(layer, f"<p>{html.escape(tr(MEANINGS[band - 1]))}</p>")
