"""Every widget of `ui/` that needs no more of QGIS than `standin.py` has, built, shown and used under PyQt6."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import standin
from PyQt6.QtCore import QEvent, QPoint, QPointF, Qt, qInstallMessageHandler
from PyQt6.QtGui import QEnterEvent, QPainter, QPixmap, QWheelEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QSlider, QWidget

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "user-guide.md"
LEAST = 30
"""Widgets; fewer would mean that their modules were skipped."""


def shown(root: Path, plugins: Path) -> list[str]:
    """Names of the widgets that were shown; ends the program if one cannot be, or raises in one of its handlers."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    sys.path.insert(0, str(plugins))
    problems: list[str] = []
    sys.excepthook = lambda *error: _note(problems, *error)
    with tempfile.TemporaryDirectory() as folder:
        standin.install(Path(folder))
        qInstallMessageHandler(lambda *said: None if said[2].startswith("This plugin does not") else print(said[2]))
        app = QApplication([])
        names = [cls.__name__ for module in _modules(root) for cls in _widgets(module) if _show(cls, problems)]
        app.processEvents()
    if problems or len(names) < LEAST:
        sys.exit("\n".join([*problems, f"Shown under Qt 6: {', '.join(names)}"]))
    return names


def _note(problems: list[str], kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Note and print an error of a slot or a handler, at once: what is left of a painting may crash Qt."""
    if kind is not standin.NeedsQgis:
        problems.append("".join(traceback.format_exception(kind, error, trace)))
        print(problems[-1], flush=True)


def _modules(root: Path) -> Iterator[ModuleType]:
    """The modules of `ui/` that use nothing of QGIS when they are imported."""
    for path in sorted((root / "ui").rglob("*.py")):
        with suppress(standin.NeedsQgis):
            yield importlib.import_module(".".join(("orthomask", *path.relative_to(root).with_suffix("").parts)))


def _widgets(module: ModuleType) -> list[type[QWidget]]:
    classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass)]
    return [cls for cls in classes if issubclass(cls, QWidget) and cls.__module__ == module.__name__]


def _show(cls: type[QWidget], problems: list[str]) -> bool:
    """Whether it could be shown, without QGIS."""
    try:
        window = QWidget()
        widget = OWNED[cls.__name__](window) if cls.__name__ in OWNED else cls(**_arguments(cls))
        FILL.get(cls.__name__, lambda _: None)(widget)
        widget.show()
        _use(widget)
        picture = widget.grab().toImage()
        colors = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
        assert widget.isVisible()
        assert len(colors) > 1 or cls.__name__ in EMPTY, "it shows nothing"
        widget.close()
    except standin.NeedsQgis:
        return False
    except Exception:  # noqa: BLE001 (all are reported)
        problems.append(f"{cls.__name__}: {traceback.format_exc()}")
    return True


def _use(widget: QWidget) -> None:
    """Move mouse, wheel and focus over it and its children: their handlers take Qt 6's events."""
    QTest.qWaitForWindowExposed(widget)
    for child in (widget, *widget.findChildren(QWidget)):
        if child.isVisible():
            middle = child.rect().center()
            QTest.mouseMove(child, middle)
            at = QPointF(middle)
            QApplication.sendEvent(child, QEnterEvent(at, at, QPointF(child.mapToGlobal(middle))))
            QApplication.sendEvent(child, _wheel(child, middle))
            QApplication.sendEvent(child, QEvent(QEvent.Type.PaletteChange))
            QTest.keyClick(child, Qt.Key.Key_Tab)


def _wheel(child: QWidget, at: QPoint) -> QWheelEvent:
    buttons, keys, phase = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
    place = QPointF(child.mapToGlobal(at))
    return QWheelEvent(QPointF(at), place, QPoint(0, 0), QPoint(0, 120), buttons, keys, phase, False)


def _arguments(cls: type[QWidget]) -> dict[str, Any]:
    """What its constructor requires."""
    required = [p.name for p in inspect.signature(cls.__init__).parameters.values() if p.default is p.empty]
    wanted = [name for name in required if name not in {"self", "args", "kwargs"}]
    if NEEDS_QGIS & set(wanted):
        raise standin.NeedsQgis(cls.__name__)
    return {name: ARGUMENTS[name] for name in wanted}


def _models() -> list[Any]:
    protocol = importlib.import_module("orthomask.protocol")
    facts = ("buildings", "Buildings", "/models/buildings.safetensors", "ab" * 32, 0.3, ("red", "green", "blue"))
    classes = (protocol.ClassInfo(1, "building", "#d95f02"),)
    return [protocol.ModelSummary(*facts, classes, 0.5, "CC-BY-4.0", "Somebody")]


def _epochs() -> list[Any]:
    run = importlib.import_module("orthomask.ui.train.run")
    return [run.Epoch(n, 1 / n, 0.5 + n / 20, 0.6, 0.7, 0.8, 30.0, 0.1) for n in range(1, 6)]


def _rounds() -> list[Any]:
    protocol = importlib.import_module("orthomask.protocol")
    rounds = importlib.import_module("orthomask.ui.review.learn.rounds")
    return [rounds.Round(n, 6.0 * n, protocol.Marks(0.5 + n / 10, 0.6, 0.7, 0.6 + n / 20)) for n in range(3)]


def _offer() -> Any:
    names = ("builds", "planning", "pythons")
    builds, planning, pythons = (importlib.import_module(f"orthomask.ui.installer.{name}") for name in names)
    found = builds.builds("linux")
    return planning.Offer(found, found[-1], "No driver was found.", (pythons.Python("/opt/python", (3, 12, 1)),), None)


def _importing(parent: QWidget) -> QWidget:
    protocol = importlib.import_module("orthomask.protocol")
    dialog = importlib.import_module("orthomask.ui.models.import_dialog")
    facts = protocol.OnnxFacts("Roads", 3, 512, (protocol.OnnxHead(1, ("road",)), protocol.OnnxHead(2)))
    widget: QWidget = dialog.ImportDialog("/models/roads.onnx", facts, parent)
    return widget


def _makeshift(parent: QWidget) -> QWidget:
    chooser = importlib.import_module("orthomask.ui.runs.folder_chooser")
    parent.resize(300, 80)
    words: QWidget = chooser.FolderWords(chooser.FolderChooser("A tip", parent), parent)
    parent.show()
    return words


def _histogram(parent: QWidget) -> QWidget:
    histogram = importlib.import_module("orthomask.ui.review.remake.histogram")
    slider = QSlider(Qt.Orientation.Horizontal, parent)
    slider.setRange(5, 95)
    parent.resize(300, 80)
    widget: QWidget = histogram.Histogram(slider, parent)
    widget.resize(300, 48)
    widget.show_counts(histogram.Counts(tuple(range(101)), 3))
    parent.show()
    return widget


def _history(_parent: QWidget) -> QWidget:
    module = importlib.import_module("orthomask.ui.runs.history_dialog")
    dialog: QWidget = module.HistoryDialog(None, list, lambda: "")
    return dialog


def _device() -> Any:
    protocol = importlib.import_module("orthomask.protocol")
    return protocol.InfoResult("0.7.0", "cuda", "A GPU", "It is the fastest.", "bf16", {})


def _lights() -> list[Any]:
    protocol = importlib.import_module("orthomask.protocol")
    return [protocol.Light(level.value, level, f"It is {level.value}.") for level in protocol.Level]


def _striped() -> QPixmap:
    picture = QPixmap(30, 20)
    picture.fill(Qt.GlobalColor.white)
    with QPainter(picture) as painter:
        painter.fillRect(0, 0, 15, 20, Qt.GlobalColor.red)
    return picture


ARGUMENTS: dict[str, Any] = {
    "classes": (), "folder": Path("run"), "folders": list, "heads": ("Value", "Class"), "nothing": "none",
    "running": lambda: None, "tip": "A tip", "title": "A picture",
}  # fmt: skip
"""Values of the arguments that constructors require, by their names."""
NEEDS_QGIS = {"canvas", "client", "crs", "dock", "iface", "preflight", "viewport"}
"""Arguments that only QGIS can give."""
FILL: dict[str, Callable[[Any], object]] = {
    "AdvancedBox": lambda box: box.setCollapsed(False),
    "OptionsBox": lambda box: box.setCollapsed(False),
    "GuideBrowser": lambda browser: browser.show_page(GUIDE, "install"),
    "HelpWindow": lambda window: window.browser.show_page(GUIDE, "install"),
    "Curves": lambda curves: curves.show_epochs(_epochs(), 10),
    "RoundsPlot": lambda plot: plot.show_rounds(_rounds()),
    "TrainingView": lambda view: view.show_epochs(_epochs(), 10),
    "TrainingBar": lambda bar: (bar.show_running(), bar.report(0.4, "Epoch 4")),
    "FinishedBox": lambda box: box.show_words("It is trained."),
    "RunBar": lambda bar: (bar.start(), bar.report(0.4, "Strip 4")),
    "LightsView": lambda view: view.show_lights(_lights()),
    "ModelBox": lambda box: box.show_models(_models()),
    "ModelList": lambda models: models.show_models(_models()),
    "NamedTabs": lambda tabs: tabs.add(QWidget(), "Train", "train"),
    "PictureWindow": lambda window: window.show_pixels(_striped()),
    "StartBox": lambda box: box.show_models(_models()),
    "StoreBox": lambda box: box.show_environments(""),
    "PlanBox": lambda box: box.show_offer(_offer()),
    "DeviceBadge": lambda badge: badge.show_device(_device()),
}
"""Puts something into a widget."""
OWNED: dict[str, Callable[[QWidget], QWidget]] = {
    "FolderWords": _makeshift, "Histogram": _histogram, "HistoryDialog": _history, "ImportDialog": _importing,
}  # fmt: skip
"""Widgets that are nothing without their neighbours."""
EMPTY = {"Picture", "FieldChooser", "Plot", "_NarrowBar"}
"""Widgets that show nothing before they have something."""
