"""Every text reaches a person through `tr`, and the catalogues hold every text, whole."""

import ast
import functools
import io
import os
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from orthomask.protocol import words

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for place in ("plugin.py", "worker.py", "protocol", "cli/web", "engine", "training", "ui")
    for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
)  # fmt: skip
KEYWORDS = {"tr": None, "tr_n": (1, 2), "mark": None}
LANGUAGES = ("de", "es", "fr", "zh_Hans")
UPDATE = "Run “make translations”."
SHOWN = {
    **dict.fromkeys(
        (
            "QLabel", "QPushButton", "QCheckBox", "QRadioButton", "QGroupBox", "QgsCollapsibleGroupBox", "QAction",
            "setText", "setToolTip", "setTitle", "setWindowTitle", "setStatusTip", "setWhatsThis", "setPlaceholderText",
            "setSpecialValueText", "setSuffix", "setPrefix", "setAccessibleName", "setAccessibleDescription",
            "setInformativeText", "addRow", "addTab", "addAction", "addButton", "setHeaderLabels", "setHelp",
            "pushInfo", "pushWarning", "pushMessage", "setProgressText", "reportError", "show_warning", "show_success",
        ),
        range(4),
    ),
    "addItem": (0,),
    "OrthomaskError": (1, 2),
    "require": (1, 2),
    "report": (1,),
}  # fmt: skip
"""Calls that show texts, and which of their arguments: not those with names and details for the log."""
SENTENCE = r"[A-Z“][^<>=]* [^<>=]*[a-z]{3}[.…?]"
ENGLISH = {
    "training/accuracy/report.py",
    "training/fit/imagenet.py",
    "training/chips/catalogues.py",
    "training/accuracy/evaluate.py",
    "ui/installer/diagnostics.py",
}
"""What is written for others than the person at the screen: reports, models and diagnostics are in English."""


@functools.cache
def texts() -> set[str | tuple[str, ...]]:
    """All that is to be translated."""
    found = (extract_from_file("python", path, keywords=KEYWORDS) for path in SOURCES)
    return {text for messages in found for _, text, _, _ in messages}


@pytest.fixture(params=LANGUAGES)
def catalogue(request: pytest.FixtureRequest) -> Catalog:
    with (words.CATALOGUES / request.param / "LC_MESSAGES" / "orthomask.po").open("rb") as file:
        return read_po(file, locale=request.param)


def test_every_text_is_in_every_catalogue(catalogue: Catalog) -> None:
    there = {message.id for message in catalogue if message.id}
    new, gone = texts() - there, there - texts()
    assert not new, UPDATE
    assert not gone, UPDATE
    assert not [message.id for message in catalogue if message.fuzzy and message.id]


def test_what_is_read_is_what_was_translated(catalogue: Catalog) -> None:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    path = words.CATALOGUES / str(catalogue.locale) / "LC_MESSAGES" / "orthomask.mo"
    assert path.read_bytes() == compiled.getvalue(), UPDATE


def test_a_translation_keeps_placeholders_tags_and_edges(catalogue: Catalog) -> None:
    wrong = [(original, text) for original, text in translated(catalogue) if form(original) != form(text)]
    assert not wrong


def translated(catalogue: Catalog) -> Iterator[tuple[str, str]]:
    for message in catalogue:
        if message.id and message.string:
            yield from zip(originals(message, catalogue), strings(message), strict=True)


def originals(message: Message, catalogue: Catalog) -> tuple[str, ...]:
    if isinstance(message.id, str):
        return (message.id,)
    one, many = message.id
    return (one, many) if catalogue.num_plurals == 2 else (many,) * catalogue.num_plurals


def strings(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string)


def form(text: str) -> tuple[object, ...]:
    """What a translation must keep: placeholders in whatever order, tags, spaces and newlines at the edges, dots."""
    fields = [field for field in string.Formatter().parse(text) if field[1] is not None]
    numbered = Counter((name or str(n), spec, conversion) for n, (_, name, spec, conversion) in enumerate(fields))
    edges = re.match(r"\s*", text)[0], re.search(r"\s*$", text)[0]
    return numbered, Counter(re.findall(r"<[^>]+>", text)), edges, text.count("\n"), text.rstrip().endswith("…")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_is_shown_without_translation(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in ENGLISH:
        tree = ast.parse(path.read_text())
        assert not list(bare_texts(tree))
        assert not hidden_texts(tree) - texts(), "Babel does not look into f-strings"
        assert not [node.lineno for node in imported_texts(tree)], "at import the language is not known: use mark"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('QLabel("Name of it")', 1), ('QLabel(tr("Name of it"))', 0), ('box.setText(f"{n} labels")', 1),
        ('words = "This is one." if good else tr("Another one.")', 1), ('box.setText("<b>" + tr("Fine") + "</b>")', 0),
        ('OrthomaskError(ErrorCode.X, tr("That is so."), "Change it.", "for the log")', 1),
    ],
)  # fmt: skip
def test_bare_texts_are_found(code: str, count: int) -> None:
    assert len({text for _, text in bare_texts(ast.parse(code))}) == count


def hidden_texts(tree: ast.Module) -> set[str]:
    """Literals that are given to `tr` or `mark`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) in {"tr", "mark"}]
    return {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant) and call.args[0].value}


def bare_texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Literals with words in them that are shown as they are, and whatever else is written like a sentence."""
    for node in outside_tr(tree, into_calls=True):
        if isinstance(node, ast.Constant) and re.fullmatch(SENTENCE, str(node.value)):
            yield node.lineno, node.value
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            wanted = SHOWN.get(called(call), ())
            for argument in (call.args[index] for index in wanted if index < len(call.args)):
                yield from ((node.lineno, words_in(node)) for node in outside_tr(argument) if words_in(node))


def outside_tr(node: ast.AST, *, into_calls: bool = False) -> Iterator[ast.AST]:
    """The node and what is in it, without docstrings, indices, what goes into `tr` and, unless wanted, other calls."""
    if isinstance(node, ast.Call) and (not into_calls or called(node) in KEYWORDS):
        return
    if not isinstance(node, (ast.Subscript, ast.Compare, ast.Expr)) or isinstance(getattr(node, "value", 0), ast.Call):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from outside_tr(child, into_calls=into_calls)


def words_in(node: ast.AST) -> str:
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    text = re.sub(r"<[^>]*>|<[^>]*$|^[^<]*>|&\w+;|Orthomask", "", text)
    return text if re.search(r"[^\W\d_]{3}", text) else ""


def imported_texts(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls of `tr` that run when the module is imported."""
    functions = (ast.FunctionDef, ast.Lambda)
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call) and called(node) in {"tr", "tr_n"}:
            yield node
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, functions)]


def called(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("de", "Abgebrochen."), ("de_AT.UTF-8", "Abgebrochen."), ("fr", "Annulé."), ("es_MX", "Cancelado."),
        ("zh-Hans", "已取消。"), ("zh_CN", "已取消。"), ("zh", "已取消。"), ("zh_TW", "Cancelled."),
    ],
)  # fmt: skip
def test_a_process_speaks_the_language_that_it_is_told(code: str, said: str) -> None:
    program = "from orthomask.protocol import Cancelled; print(Cancelled().sentence)"
    variables = {**os.environ, words.LANGUAGE_VARIABLE: code, "PYTHONIOENCODING": "utf-8"}
    told = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, check=True)
    assert told.stdout.decode().strip() == said


def test_plural_forms_follow_the_number() -> None:
    assert words.tr_n("one", "many", 1) == "one"
    assert words.tr_n("one", "many", 2) == "many"
    assert words.tr("") == ""
