"""Explanations as layers: what the methods are called, and how what they found is coloured."""

from __future__ import annotations

import html

from qgis.core import (
    QgsBilinearRasterResampler,
    QgsColorRampShader,
    QgsLayerNotesUtils,
    QgsRasterLayer,
    QgsRasterShader,
    QgsSingleBandPseudoColorRenderer,
)
from qgis.PyQt.QtGui import QColor

from ...protocol import Explanation
from ..toolkit.present import present
from ..toolkit.words import briefly, mark, tr

TITLES = {
    Explanation.GRAD_CAM: mark("What speaks for it (Grad-CAM)"),
    Explanation.OCCLUSION: mark("What it depends on (occlusion)"),
    Explanation.ACTIVATIONS: mark("What responds to it (activations)"),
}
RAMPS = {
    Explanation.GRAD_CAM: ("#007e03a8", "#967e03a8", "#b4cc4778", "#c8f89540", "#dcf0f921"),
    Explanation.OCCLUSION: ("#c82166ac", "#a067a9cf", "#00f7f7f7", "#a0ef8a62", "#c8b2182b"),
    Explanation.ACTIVATIONS: ("#00443983", "#96443983", "#b431688e", "#c835b779", "#dcfde725"),
}
"""From the lowest to the highest value, `#aarrggbb`; transparent where there is nothing."""
LEAST = {Explanation.GRAD_CAM: 1.0, Explanation.OCCLUSION: 0.25, Explanation.ACTIVATIONS: 1e-6}
"""The last colour stands for this much or more: a small fall looks small."""


def style(layer: QgsRasterLayer, method: Explanation, sentence: str, band: int = 1) -> None:
    """Colour a band, smoothly, see-through where there is nothing; the sentence becomes the layer's notes."""
    low, high = _limits(layer, method, band)
    colours = RAMPS[method]
    ramp = QgsColorRampShader(low, high)
    ramp.setColorRampItemList(
        [
            QgsColorRampShader.ColorRampItem(value, QColor(colour), briefly(value))
            for value, colour in zip(_steps(low, high, len(colours)), colours)
        ]
    )
    shader = QgsRasterShader(low, high)
    shader.setRasterShaderFunction(ramp)
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), band, shader)
    renderer.setClassificationMin(low)
    renderer.setClassificationMax(high)
    layer.setRenderer(renderer)
    present(layer.resampleFilter()).setZoomedInResampler(QgsBilinearRasterResampler())
    QgsLayerNotesUtils.setLayerNotes(layer, f"<p>{html.escape(sentence)}</p>")


def _limits(layer: QgsRasterLayer, method: Explanation, band: int) -> tuple[float, float]:
    """The values that get the first and the last colour: 0 has the same one whatever else there is."""
    found = layer.dataProvider().bandStatistics(band)
    most = float(f"{max(abs(found.minimumValue), abs(found.maximumValue), LEAST[method]):.2g}")
    return (-most if method is Explanation.OCCLUSION else 0.0), most


def _steps(low: float, high: float, count: int) -> list[float]:
    """Evenly spaced values."""
    return [low + (high - low) * number / (count - 1) for number in range(count)]


def title(method: Explanation) -> str:
    """What a method is called, in the user's language."""
    return tr(TITLES[method])
