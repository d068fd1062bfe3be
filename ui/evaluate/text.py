"""The main scores of an evaluation, as tables that fit the dock."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from ...protocol import EvaluateResult, Split
from ..label.project import SPLIT_NAMES
from ..toolkit.words import area_in_words, in_digits, tr

ALL = "all"


def evaluation_html(result: EvaluateResult) -> str:
    """Pixel and object scores by class, area estimates, the best threshold, and what the model depends on."""
    pixels = [
        (_class(row.name), *_numbers(row.iou, row.f1, row.precision, row.recall))
        for row in result.pixels
        if len(result.pixels) > 2 or row.name != ALL  # for one class, “all” repeats it
    ]
    objects = [
        (_class(row.name), *_numbers(row.f1, row.precision, row.recall), f"{row.matched} / {row.missed} / {row.false}")
        for row in result.objects
    ]
    parts = [_table(tr("Pixels"), ("IoU", "F1", tr("precision"), tr("recall")), pixels)]
    if objects:
        heads = ("F1", tr("precision"), tr("recall"), tr("matched / missed / false"))
        parts.append(_table(tr("Objects"), heads, objects))
    if result.areas:
        areas = [
            (_class(row.name), *(area_in_words(area) for area in (row.mapped_m2, row.estimated_m2, row.margin_m2)))
            for row in result.areas
        ]
        parts.append(_table(tr("Area"), (tr("mapped"), tr("estimated"), tr("± (95 %)")), areas))
    parts.append(f"<p>{threshold_words(result)}</p>")
    if result.diagnosis:
        said = [html.escape(curve.sentence) for curve in result.diagnosis.curves if curve.sentence]
        title = f"<b>{tr('Diagnosis')}</b><br>{html.escape(result.diagnosis.sentence)}"
        parts.append(f"<p>{'<br>• '.join([title, *said])}</p>")
    parts += [f"<p>⚠ {html.escape(warning)}</p>" for warning in result.warnings]
    return "".join(parts)


def threshold_words(result: EvaluateResult) -> str:
    """The threshold, and the best one if there are objects to find."""
    if not result.best_iou:
        return tr("Threshold {}.").format(in_digits(result.threshold, 2))
    best = tr("Threshold {}; the best would be {}, with an IoU of {}.")
    numbers = (in_digits(result.threshold, 2), in_digits(result.best_threshold, 2), in_digits(result.best_iou, 3))
    return f"{best.format(*numbers)} {threshold_origin(result)}"


def threshold_origin(result: EvaluateResult) -> str:
    """On which areas the best threshold was chosen, and what using it costs."""
    if result.tuned_on is Split.TEST:
        return tr(
            "It was chosen on the test areas: once you use it, their score is no longer honest. "
            "Set some areas to validation to choose it there."
        )
    return tr("It was chosen on the areas for {}.").format(tr(SPLIT_NAMES[result.tuned_on]))


def _class(name: str) -> str:
    return tr("all classes") if name == ALL else html.escape(name)


def _numbers(*values: float) -> list[str]:
    return [in_digits(value, 3) for value in values]


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th align="right">&nbsp;&nbsp;{name}</th>' for name in heads)
    body = "".join(
        f"<tr><td>{row[0]}</td>" + "".join(f'<td align="right">&nbsp;&nbsp;{cell}</td>' for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<table cellpadding="1"><tr><th align="left">{title}</th>{head}</tr>{body}</table><br>'
