"""The report of an evaluation: one HTML file with embedded tables, plots and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import matplotlib.image
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...engine import html
from ...engine.models.bundle import Bundle
from ...protocol import BACKGROUND, UNKNOWN, ClassInfo, Curve, Dependence, Diagnosis, EvaluateResult
from .calibration import Histogram
from .error_layers import KINDS, errors
from .tally import Example, Tally

INK, ACCENT = "#1f2933", "#2b6cb0"
SHOWN_AREAS = 40
"""Areas in the report's table, the worst first; all are in the JSON."""
GAP_PX = 6


def render(result: EvaluateResult, bundle: Bundle, tally: Tally, about: dict[str, Any]) -> str:
    """The whole report as HTML, without external links.

    Args:
        about: what was evaluated, when and by which version, see the template.
    """
    areas = tally.areas()
    return html.render(
        "report.html.j2",
        {"percent": lambda share: f"{share:.1%}", "grouped": lambda number: f"{number:,.0f}"},
        result=result,
        card=bundle.card,
        sha256=bundle.sha256,
        about=about,
        areas=areas[:SHOWN_AREAS],
        area_count=len(areas),
        shares=_row_shares(tally.confusion),
        plots=_plots(tally.histogram, result),
        curves=_curves(result.diagnosis) if result.diagnosis else [],
        examples=[(_triptych(example, bundle.card.classes), example) for example in tally.worst],
        kinds=KINDS if len(bundle.card.classes) > 1 else KINDS[:3],
    )


def _row_shares(confusion: np.ndarray) -> list[list[float]]:
    """The confusion as shares of each true class."""
    shares: list[list[float]] = (confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)).tolist()
    return shares


def _plots(histogram: Histogram, result: EvaluateResult) -> list[tuple[str, str, str]]:
    """Title, explanation and picture of each plot."""
    return [
        (
            "Threshold",
            "How the scores of all classes together change with the threshold on these areas. Best on those for "
            f"{result.tuned_on.value}: {result.best_threshold:.2f}.",
            _plot(lambda axes: _sweep(axes, histogram, result)),
        ),
        (
            "Precision and recall",
            "Each point is a threshold: what part of the finds is right, and what part of the objects' area is found.",
            _plot(lambda axes: _precision_recall(axes, histogram, result)),
        ),
        (
            "Calibration",
            "How often pixels of a probability really are of that class. On the diagonal a probability means what "
            f"it says; the mean distance from it is {result.calibration_error:.3f} (Guo et al. 2017).",
            _plot(lambda axes: _reliability(axes, histogram)),
        ),
    ]


def _curves(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """Title, sentence and picture of each curve."""
    return [
        (title, curve.sentence, _plot(partial(draw, curve=curve, diagnosis=diagnosis)))
        for curve in diagnosis.curves
        for title, draw in [CURVES[curve.dependence]]
    ]


def _line(axes: Axes, curve: Curve, diagnosis: Diagnosis, *, unchanged: float, label: str, ratio: bool) -> None:
    """Scores over values in their order, the unchanged image among them.

    Args:
        ratio: the values are factors.
    """
    points = [(probe.value, probe.iou, probe.object_f1) for probe in curve.probes]
    values, ious, objects = zip(*sorted([*points, (unchanged, diagnosis.iou, diagnosis.object_f1)]))
    axes.axvline(unchanged, color="#9aa5b1", linewidth=1)
    axes.plot(values, ious, "o-", color=ACCENT, linewidth=2, markersize=4, label="IoU")
    axes.plot(values, objects, "o-", color="#8a6d1d", linewidth=1, markersize=3, label="object F1")
    if ratio:
        axes.set_xscale("log")
        axes.minorticks_off()
    margin = 1.1 if ratio else 0.05 * (max(values) - min(values))
    axes.set(
        xlabel=label, ylabel="score", xticks=values, xticklabels=[f"{value:g}" for value in values],
        xlim=(min(values) / margin, max(values) * margin) if ratio else (min(values) - margin, max(values) + margin),
    )  # fmt: skip
    axes.legend(framealpha=0.9, edgecolor="none", fontsize=8)


def _bars(axes: Axes, curve: Curve, diagnosis: Diagnosis) -> None:
    """The scores of each change, one below the other; the lines are those of the unchanged image."""
    rows = np.arange(len(curve.probes))
    axes.barh(rows - 0.2, [probe.iou for probe in curve.probes], 0.36, color=ACCENT, label="IoU")
    axes.barh(rows + 0.2, [probe.object_f1 for probe in curve.probes], 0.36, color="#8a6d1d", label="object F1")
    axes.axvline(diagnosis.iou, color=ACCENT, linewidth=1, linestyle="--")
    axes.axvline(diagnosis.object_f1, color="#8a6d1d", linewidth=1, linestyle="--")
    axes.set(xlabel="score (dashed: unchanged)", ylim=(len(rows) - 0.5, -0.5), yticks=rows)
    axes.set_yticklabels([probe.label for probe in curve.probes])
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))


CURVES: dict[Dependence, tuple[str, Callable[..., None]]] = {
    Dependence.RESOLUTION: (
        "Resolution",
        partial(_line, unchanged=1.0, label="pixel size, of the model's", ratio=True),
    ),
    Dependence.BRIGHTNESS: (
        "Brightness",
        partial(_line, unchanged=0.0, label="added, of the usual range", ratio=False),
    ),
    Dependence.CONTRAST: ("Contrast", partial(_line, unchanged=1.0, label="factor", ratio=True)),
    Dependence.BLUR: ("Blur", partial(_line, unchanged=0.0, label="standard deviation, pixels", ratio=False)),
    Dependence.BANDS: ("Bands", _bars),
    Dependence.ORDER: ("Order of the bands", _bars),
}
"""Title of each curve, and what draws it."""


def _sweep(axes: Axes, histogram: Histogram, result: EvaluateResult) -> None:
    rows = histogram.sweep()
    thresholds = [row.threshold for row in rows]
    axes.plot(thresholds, [row.iou for row in rows], color=ACCENT, linewidth=2, label="IoU")
    found = [row for row in rows if row.precision or row.recall]
    axes.plot(
        [row.threshold for row in found],
        [row.precision for row in found],
        color="#8a6d1d",
        linewidth=1,
        label="precision",
    )
    axes.plot(thresholds, [row.recall for row in rows], color="#1b7f5c", linewidth=1, label="recall")
    axes.axvline(result.threshold, color=INK, linewidth=1, linestyle="--", label=f"used: {result.threshold:.2f}")
    axes.plot(result.best_threshold, result.best_iou, "o", color=ACCENT, label=f"best: {result.best_threshold:.2f}")
    axes.set(xlabel="threshold", ylabel="score")
    axes.legend(framealpha=0.9, edgecolor="none", fontsize=8, ncols=2)  # the dashed line may pass behind it


def _precision_recall(axes: Axes, histogram: Histogram, result: EvaluateResult) -> None:
    rows = histogram.sweep()
    found = [row for row in rows if row.precision]
    axes.plot([row.recall for row in found], [row.precision for row in found], color=ACCENT, linewidth=2)
    whole = result.pixels[0]
    axes.plot(whole.recall, whole.precision, "o", color=INK, label=f"threshold {result.threshold:.2f}")
    axes.set(xlabel="recall", ylabel="precision")
    axes.legend(frameon=False, fontsize=8)


def _reliability(axes: Axes, histogram: Histogram) -> None:
    rows = histogram.reliability()
    sizes = [10 + 140 * np.sqrt(row.share) for row in rows]
    axes.plot([0, 1], [0, 1], color="#9aa5b1", linewidth=1)
    axes.plot([row.probability for row in rows], [row.frequency for row in rows], color=ACCENT, linewidth=1)
    axes.scatter([row.probability for row in rows], [row.frequency for row in rows], s=sizes, color=ACCENT)
    axes.set(xlabel="probability", ylabel="frequency")


def _plot(draw: Callable[[Axes], None]) -> str:
    """A plot with both axes from 0 to 1, as the data URI of an SVG."""
    with rc_context({"font.size": 9, "svg.hashsalt": "orthomask", "axes.edgecolor": "#9aa5b1", "text.color": INK}):
        figure = Figure(figsize=(4.2, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.grid(color="#e4e7eb", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return html.data_uri("image/svg+xml", buffer.getvalue())


def _triptych(example: Example, classes: Sequence[ClassInfo]) -> str:
    """Image, truth in the classes' colours, and prediction in the colours of its errors, side by side."""
    known = example.truth != UNKNOWN
    truth = np.where(known, example.truth, BACKGROUND)
    true = _tinted(example.picture, truth, classes, known)
    kinds = np.where(known, errors(example.found, example.truth), BACKGROUND)
    found = _tinted(example.picture, kinds, KINDS, known)
    gap = np.full((example.picture.shape[0], GAP_PX, 3), 255, np.uint8)
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.hstack([example.picture, gap, true, gap, found]), format="png")
    return html.data_uri("image/png", buffer.getvalue())


def _tinted(picture: np.ndarray, values: np.ndarray, classes: Sequence[ClassInfo], known: np.ndarray) -> np.ndarray:
    """A grey picture overlaid with values in colour; unknown pixels are pale."""
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    result = np.where(known[..., None], grey, 200 + grey * 0.2)
    for info in classes:
        here = values == info.value
        result[here] = 0.4 * result[here] + 0.6 * np.array(list(bytes.fromhex(info.color[1:])))
    return result.astype(np.uint8)
