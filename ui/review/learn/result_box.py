"""A candidate and how it compares with its base; what to do with it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Callable, Optional

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ....protocol import CompareResult, Gain, LearnResult, Marks
from ...toolkit.icons import icon
from ...toolkit.run_bar import RunBar
from ...toolkit.words import in_digits, tr, tr_n
from .map_comparison import KINDS


class ResultBox(QWidget):
    """Hidden until something was learnt."""

    use_wanted = pyqtSignal()
    discard_wanted = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.title = QLabel()
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.table = QLabel()
        self.table.setWordWrap(True)
        self.table.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = QPushButton(tr("Use it"))
        self.use.setToolTip(tr("Make it the project's model: the next version. You can always go back."))
        self.use.clicked.connect(self.use_wanted)
        self.discard = QPushButton(tr("Discard"))
        self.discard.setToolTip(tr("Go on without it; its files are kept"))
        self.discard.clicked.connect(self.discard_wanted)
        self.comparison = RunBar()
        self.comparison.run_button.setIcon(icon("polygon"))
        self.show_comparison("")
        buttons = QHBoxLayout()
        buttons.addWidget(self.use, 1)
        buttons.addWidget(self.discard)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.verdict)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        layout.addWidget(self.comparison)
        self.hide()

    def show_result(self, result: LearnResult, project: str) -> None:
        """Show the comparison of the candidate that learnt from this project."""
        self.title.setText(tr("Result for {}").format(project))
        self.verdict.setText(f"<b>{html.escape(result.verdict)}</b>")
        self.table.setText(_table(result))
        self.show_comparison("")
        self.show()

    def show_comparison(self, status: str) -> None:
        """Show that nothing is being compared on the map, and how the last comparison ended."""
        tip = tr("Run the new model over the same region; what it gains, loses and reshapes becomes a layer")
        self.comparison.set_ready(True, tr("Compare on the map"), tip)
        self.comparison.stop(status)


def comparison_words(result: CompareResult) -> str:
    """The differences between two runs in a sentence."""
    told = ", ".join(f"{in_digits(result.counts.get(kind, 0))} {tr(kind)}" for kind in KINDS)
    count = sum(result.counts.values())
    words = tr_n("{} object: {}.", "{} objects: {}.", count).format(in_digits(count), told)
    if not result.right + result.wrong:
        return words
    return tr("{} In the checked squares, {} are right and {} are wrong.").format(
        words, in_digits(result.right), in_digits(result.wrong)
    )


def _table(result: LearnResult) -> str:
    """The scores before and after, here and at home; narrow enough for a dock."""
    here, home = result.here, result.home
    squares = tr_n("Here, {} square", "Here, {} squares", here.areas).format(in_digits(here.areas))
    heads = [squares]
    if home is not None:
        heads.append(tr_n("At home, {} chip", "At home, {} chips", home.areas).format(in_digits(home.areas)))
    rows = (
        ("IoU", lambda marks: marks.iou),
        ("F1", lambda marks: marks.object_f1),
        (tr("precision"), lambda marks: marks.object_precision),
        (tr("recall"), lambda marks: marks.object_recall),
    )
    head = "".join(f'<th align="right">&nbsp;{name}</th>' for name in heads)
    body = "".join(_row(name, value, [gain for gain in (here, home) if gain is not None]) for name, value in rows)
    words = tr("IoU here: {} (95%: {} to {}). F1, precision and recall count objects.").format(
        _signed(here.after.iou - here.before.iou), _signed(here.low), _signed(here.high)
    )
    if home is None:
        words += " " + tr("What it forgot is not known: this model has no chips of its own training.")
    notes = "".join(f"<p>⚠ {html.escape(warning)}</p>" for warning in result.warnings)
    return f'<table cellpadding="1"><tr><th></th>{head}</tr>{body}</table><p>{words}</p>{notes}'


def _row(name: str, value: Callable[[Marks], float], gains: Sequence[Gain]) -> str:
    pairs = [(in_digits(value(gain.before), 2), in_digits(value(gain.after), 2)) for gain in gains]
    cells = "".join(f'<td align="right">&nbsp;{before}→<b>{after}</b></td>' for before, after in pairs)
    return f"<tr><td>{name}</td>{cells}</tr>"


def _signed(number: float) -> str:
    return f"{'+' if number > 0 else ''}{in_digits(number, 2)}"
