"""A model's card as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...protocol import ModelSummary
from ..toolkit.words import briefly, in_digits, mark, tr
from .network import network_html
from .own_models import Origin, origin_of

SCORES = ("iou", "f1", "precision", "recall")
HASH_DIGITS = 12


LIMITS = {
    "buildings": mark(
        "Misses large white roofs, and houses under trees. Takes pale gravel and concrete for roofs. Merges terraced "
        "houses. A draft to correct, not a map to publish."
    ),
    "farmland": mark(
        "Merges fields of the same crop without a visible line between them. Takes some verges, lawns and parks for "
        "fields. Fields are about 3 m too small on every side."
    ),
}
"""Where the embedded models fail (docs/models), by name."""


def card_html(model: ModelSummary) -> str:
    """Title and classes; accuracy, limits and terms, which decide on its use; then the technical facts."""
    swatches = ", ".join(f'<span style="color:{c.color}">■</span> {html.escape(c.name)}' for c in model.classes)
    embedded = origin_of(model.path) is Origin.EMBEDDED
    limits = LIMITS.get(model.name, "") if embedded else ""
    terms = [
        (tr("Licence"), html.escape(model.licence) or tr("not stated")),
        (tr("Attribution"), html.escape(model.attribution) or tr("not stated")),
    ]
    facts = [
        (tr("Resolution"), tr("{} m per pixel").format(briefly(model.gsd_m))),
        (tr("Bands"), html.escape(", ".join(model.bands))),
        (tr("Threshold"), briefly(model.threshold)),
        (tr("Hash"), f"SHA-256 {model.sha256[:HASH_DIGITS]}…"),
        (tr("File"), tr("came with Orthomask") if embedded else html.escape(model.path)),
    ]
    parts = [f"<h3>{html.escape(model.title)}</h3>", _table([(tr("Finds"), swatches)])]
    parts += _accuracy(model.card.get("accuracy") or {})
    parts += [
        _heading(tr("Limits")),
        "<p>" + (tr(limits) if limits else tr("Unknown beyond what was measured.")) + "</p>",
    ]
    parts += [_heading(tr("Terms")), _table(terms), _heading(tr("Technical facts")), _table(facts)]
    training = model.card.get("training") or {}
    if training:
        parts += [_heading(tr("Training")), _table(_facts(training))]
    if model.networks:
        parts += [_heading(tr("Network")), network_html(model.networks)]
    return "".join(parts)


def _accuracy(accuracy: Mapping[str, Any]) -> list[str]:
    """A table of scores by data set, each with its places."""
    if not accuracy:
        return [_heading(tr("Accuracy")), "<p>" + tr("Not measured yet.") + "</p>"]
    heads = ("IoU", "F1", tr("precision"), tr("recall"))
    head = "".join(f'<td align="right">{name}</td>' for name in heads)
    rows = []
    for name, scores in accuracy.items():
        rows.append(_score_row(name, scores))
        rows += [_score_row(f"– {place}", found) for place, found in (scores.get("by_place") or {}).items()]
    return [_heading(tr("Accuracy")), f'<table cellpadding="2"><tr>{head}</tr>{"".join(rows)}</table>']


def _heading(text: str) -> str:
    return f"<h4>{text}</h4>"


def _score_row(name: str, scores: Mapping[str, Any]) -> str:
    numbers = "".join(f'<td align="right">{_number(scores.get(key))}</td>' for key in SCORES)
    return f'<tr><td colspan="{len(SCORES)}">{html.escape(name)}</td></tr><tr>{numbers}</tr>'  # the dock is narrow


def _number(value: Any) -> str:
    return in_digits(value, 3) if isinstance(value, (int, float)) else "–"


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(html.escape(name.replace("_", " ").capitalize()), _words(value)) for name, value in facts.items()]


def _words(value: Any) -> str:
    """Any JSON value in one line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{html.escape(str(name))}: {_words(entry)}" for name, entry in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_words(entry) for entry in value)
    return briefly(value) if isinstance(value, float) else html.escape(str(value))


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td><b>{name}</b>&nbsp;</td><td>{value}</td></tr>" for name, value in rows)
    return f'<table cellpadding="2">{cells}</table>'
