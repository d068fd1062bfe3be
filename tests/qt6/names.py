"""What Qt 6 or QGIS 4 no longer has, found by name, wherever mypy knows no type.

The rules are those of QGIS's migration script (qgis/QGIS, scripts/pyqt5_to_pyqt6/pyqt5_to_pyqt6.py, of QGIS 3.40 and of
qgis/QGIS#59992), QGIS's list of incompatible changes (doc/api_break.dox, to 3.99) and PyQt6's differences from PyQt5
(riverbankcomputing.com/static/Docs/PyQt6/pyqt5_differences.html).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

GONE = {
    # migration script: renamed functions and enums
    "exec_": "exec",
    "MidButton": "MiddleButton",
    "TextColorRole": "ForegroundRole",
    "BackgroundColorRole": "BackgroundRole",
    "HighQualityAntialiasing": "Antialiasing",
    # migration script: QDesktopWidget
    "desktop": "QScreen",
    # PyQt6: events have positions, no coordinates (pos() is left, but not of a wheel)
    "globalX": "globalPosition()",
    "globalY": "globalPosition()",
    "localPos": "position()",
    "screenPos": "globalPosition()",
    "windowPos": "scenePosition()",
    "delta": "angleDelta()",
    # Qt 6
    "setTabStopWidth": "setTabStopDistance()",
    "byteCount": "sizeInBytes()",
    # QGIS 3.22, with QRegExp
    "shortNameRegExp": "shortNameRegularExpression()",
}
"""Attributes, and what to use instead."""
GONE_CLASSES = {
    # migration script, PyQt6: removed from Qt
    "QRegExp", "QDesktopWidget", "QMatrix", "QStringRef", "QTextCodec", "QLinkedList", "QGLWidget", "qApp",
    # Qt WebKit, which Qt 6 lacks: qgis/QGIS, python/PyQt/PyQt/QtWebKit.py.in
    "QtWebKit", "QtWebKitWidgets", "QgsWebView", "QgsWebPage", "QgsWebFrame",
    # migration script: no compiled resources
    "resources_rc",
}  # fmt: skip
BINDINGS = {"PyQt4", "PyQt5", "PyQt6", "PySide2", "PySide6", "sip"}
"""Not to be imported: `qgis.PyQt` has the right one."""
UNSCOPED = {"DataType", "Filter", "Flag", "Class", "ColorRampItem", "LayerDetails", "SaveVectorOptions", "QGIS_VERSION"}
"""What is a class itself: everything else with a capital letter directly under a class of QGIS is an enum's value."""


def gone(root: Path) -> list[str]:
    """One line for each name in `plugin.py` and `ui/` that Qt 6 or QGIS 4 lacks."""
    lines = []
    for path in (root / "__init__.py", root / "plugin.py", *sorted((root / "ui").rglob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            where = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
            lines += [f"{where}: {problem}" for problem in _problems(node, above.get(node))]
    return lines


def _problems(node: ast.AST, parent: ast.AST | None) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from _imported([alias.name for alias in node.names])
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield from _imported([node.module or ""])
        yield from (f"{alias.name} is gone" for alias in node.names if alias.name in GONE_CLASSES)
    elif isinstance(node, ast.FunctionDef) and node.name in GONE:
        yield f"{node.name}() is now {GONE[node.name]}"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "QVariant":
        yield "QVariant() makes no NULL: use qgis.core.NULL"
    elif isinstance(node, ast.Subscript) and _signal_of_type(node):
        yield f"{ast.unparse(node)}: signals are no longer overloaded by Python's types"
    elif isinstance(node, ast.Attribute):
        yield from _attribute(node, parent)


def _imported(modules: list[str]) -> Iterator[str]:
    for module in modules:
        parts = module.split(".")
        if parts[0] in BINDINGS or parts[:3] == ["qgis", "PyQt", "Qt"]:
            yield f"{module}: import from qgis.PyQt and its modules"
        yield from (f"{part} is gone" for part in parts if part in GONE_CLASSES)


def _signal_of_type(node: ast.Subscript) -> bool:
    kinds = isinstance(node.slice, ast.Name) and node.slice.id in {"str", "int", "bool", "float"}
    return kinds and isinstance(node.value, ast.Attribute) and node.value.attr.endswith(("ed", "Changed"))


def _attribute(node: ast.Attribute, parent: ast.AST | None) -> Iterator[str]:
    name, owner = node.attr, node.value
    if name in GONE or name in GONE_CLASSES:
        yield f"{name} is gone: {GONE.get(name, 'see names.py')}"
    if name == "width" and isinstance(owner, ast.Call) and ast.unparse(owner.func).split(".")[-1] in _METRICS:
        yield "QFontMetrics.width() is now horizontalAdvance()"
    if isinstance(owner, ast.Name) and not isinstance(parent, ast.Attribute) and name[:1].isupper():
        if owner.id == "QMetaType":
            yield f"QMetaType.{name}: name it QMetaType.Type.{name}"
        elif owner.id == "QVariant":
            yield f"QVariant.{name}: QMetaType has the types"
        elif owner.id.startswith(("Qgs", "Qgis")) and name not in UNSCOPED:
            yield f"{owner.id}.{name}: name the enum, too"


_METRICS = {"fontMetrics", "QFontMetrics", "QFontMetricsF"}
