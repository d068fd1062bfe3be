"""The panel *Models*: the models, their accuracy, and actions for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtWidgets import (
    QFileDialog,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from ...protocol import (
    Cancelled,
    CopyModelRequest,
    EnsembleRequest,
    ErrorCode,
    Existing,
    ExportModelRequest,
    ExportModelResult,
    ModelItemRequest,
    ModelItemResult,
    ModelsRequest,
    ModelsResult,
    ModelSummary,
    OnnxFacts,
    OnnxRequest,
    OrthomaskError,
)
from ..client.engine_client import EngineClient
from ..client.tasks import EngineTask
from ..toolkit.messages import show_error, show_success, show_warning
from ..toolkit.words import tr
from . import own_models
from .actions import ModelActions
from .card import card_html
from .import_dialog import ImportDialog
from .model_list import ModelList
from .own_models import Origin, origin_of


class ModelsPanel(QWidget):
    """Lists models, shows a model's card, and manages own models.

    Args:
        iface: QGIS.
        client: the engine.
    """

    segment_wanted = pyqtSignal(str)
    """Use the model in this file in *Segment*."""
    fine_tune_wanted = pyqtSignal(str)
    """Fine-tune the model in this file."""
    evaluate_wanted = pyqtSignal(str, str)
    """Evaluate the model with this file and title."""
    models_changed = pyqtSignal()
    """The models have changed: ask the engine for them again."""
    onnx_wanted = pyqtSignal()
    """The engine lacks ONNX support."""
    engine_failed = pyqtSignal(object)
    """The `OrthomaskError` that says why the engine cannot work."""

    def __init__(self, iface: QgisInterface, client: EngineClient, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._iface, self._client = iface, client
        self._tasks: list[EngineTask] = []
        self._models: Sequence[ModelSummary] = ()
        self._files: list[ModelSummary] = []
        self.list = ModelList()
        self.buttons = ModelActions()
        self.card = QTextBrowser()
        self.card.setOpenExternalLinks(True)
        self.card.setAccessibleName(tr("Model card"))
        self.status = QLabel()
        self.status.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.list, self.buttons, self.status):
            layout.addWidget(widget)
        layout.addWidget(self.card, 1)
        self._connect()

    def show_models(self, models: Sequence[ModelSummary]) -> None:
        """List the embedded and own models that the engine has found, and the added files."""
        self._models = models
        self._list()
        listed = {model.path for model in self._files}
        for path in own_models.remembered_files():
            if path not in listed:
                self._look_at(path, self._add_remembered)

    def release(self) -> None:
        """Stop what runs."""
        for task in self._tasks:
            task.abandon()

    def _connect(self) -> None:
        self.list.chosen.connect(self._show_selected)
        buttons = self.buttons
        buttons.use.clicked.connect(lambda: self.segment_wanted.emit(self._one.path))
        buttons.fine_tune.clicked.connect(lambda: self.fine_tune_wanted.emit(self._one.path))
        buttons.evaluate.clicked.connect(lambda: self.evaluate_wanted.emit(self._one.path, self._one.title))
        buttons.rename.clicked.connect(self._rename)
        buttons.duplicate.clicked.connect(self._duplicate)
        buttons.delete.clicked.connect(self._delete)
        buttons.reveal.clicked.connect(self._reveal)
        buttons.add.clicked.connect(self._add)
        buttons.join.clicked.connect(self._join)
        buttons.save_card.clicked.connect(self._save_card)
        buttons.import_onnx.clicked.connect(self._import)
        buttons.export.clicked.connect(self._export)

    @property
    def _one(self) -> ModelSummary:
        return self.list.selected()[0]

    def _show_selected(self) -> None:
        selected = self.list.selected()
        self.buttons.suit(selected)
        self.card.setHtml("<hr>".join(card_html(model) for model in selected))

    def _rename(self) -> None:
        model = self._one
        title = self._ask_for_title(tr("Rename model"), model.title)
        if title:
            self._copy(model, title, lambda: own_models.discard(Path(model.path)))

    def _duplicate(self) -> None:
        self._copy(self._one, tr("{} (copy)").format(self._one.title))

    def _copy(self, model: ModelSummary, title: str, then: Callable[[], None] = lambda: None) -> None:
        def add(copy: ModelSummary) -> None:
            then()
            self._take_up(copy)

        request = CopyModelRequest(model.path, str(own_models.free_path(title)), title)
        self._ask(tr("Copying {}…").format(model.title), request, add)

    def _delete(self) -> None:
        model = self._one
        if origin_of(model.path) is Origin.FILE:
            self._files = [file for file in self._files if file.path != model.path]
            self._remember()
            self._list()
            return
        question = tr("Delete the model “{}”? Its file goes to the trash.").format(model.title)
        if QMessageBox.question(self, tr("Delete model"), question) == QMessageBox.StandardButton.Yes:
            self._try(lambda: own_models.discard(Path(model.path)))
            self.models_changed.emit()

    def _reveal(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(self._one.path).parent)))

    def _add(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, tr("Model file"), "", tr("Models (*.safetensors)"))
        if path:
            self._look_at(path, self._add_chosen)

    def _look_at(self, path: str, show: Callable[[ModelsResult], None]) -> None:
        self._ask(tr("Reading {}…").format(Path(path).name), ModelsRequest(path), show)

    def _add_remembered(self, found: ModelsResult) -> None:
        known = {model.path for model in (*self._models, *self._files)}
        self._files += [model for model in found.models if model.path not in known]
        self._list()

    def _add_chosen(self, found: ModelsResult) -> None:
        self._add_remembered(found)
        self._remember()
        self.list.select([model.path for model in found.models])

    def _remember(self) -> None:
        own_models.remember_files([model.path for model in self._files])

    def _list(self) -> None:
        self.list.show_models([*self._models, *self._files])

    def _join(self) -> None:
        models = self.list.selected()
        title = self._ask_for_title(tr("Join models"), tr("{} and others").format(models[0].title))
        if title:
            path = str(own_models.free_path(title))
            request = EnsembleRequest(tuple(model.path for model in models), path, title)
            self._ask(tr("Joining {} models…").format(len(models)), request, self._take_up)

    def _import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, tr("ONNX file"), "", tr("ONNX models (*.onnx)"))
        if path:
            words = tr("Reading {}…").format(Path(path).name)
            self._ask(words, OnnxRequest(path), lambda facts: self._import_as(path, facts))

    def _import_as(self, path: str, facts: OnnxFacts) -> None:
        dialog = ImportDialog(path, facts, self)
        if dialog.exec():
            request = dialog.request(str(own_models.free_path(dialog.title.text())))
            self._ask(tr("Importing {}…").format(Path(path).name), request, self._take_up)

    def _export(self) -> None:
        model = self._one
        name = f"{Path(model.path).stem}.onnx"
        path, _ = QFileDialog.getSaveFileName(self, tr("Export model"), name, tr("ONNX models (*.onnx)"))
        if path:
            path = path if path.endswith(".onnx") else f"{path}.onnx"
            request = ExportModelRequest(model.path, path, existing=Existing.OVERWRITE)  # the file dialog has asked
            self._ask(tr("Exporting {}…").format(model.title), request, self._report_export)

    def _report_export(self, made: ExportModelResult) -> None:
        show_success(self._iface.messageBar(), tr("Exported to {}").format(made.path))

    def _save_card(self) -> None:
        model = self._one
        usual = str(Path(model.path).with_suffix(".json").name)
        path, _ = QFileDialog.getSaveFileName(self, tr("Save card"), usual, tr("STAC item (*.json)"))
        if path:
            path = path if path.lower().endswith((".json", ".geojson")) else f"{path}.json"
            request = ModelItemRequest(model.path, path, existing=Existing.OVERWRITE)
            self._ask(tr("Saving the card of {}…").format(model.title), request, self._tell_saved)

    def _tell_saved(self, saved: ModelItemResult) -> None:
        for warning in saved.warnings:
            show_warning(self._iface.messageBar(), warning)
        show_success(self._iface.messageBar(), tr("The card was saved in “{}”.").format(saved.path))

    def _ask_for_title(self, question: str, proposal: str) -> str:
        title, accepted = QInputDialog.getText(self, question, tr("Name"), QLineEdit.EchoMode.Normal, proposal)
        return title.strip() if accepted else ""

    def _take_up(self, model: ModelSummary) -> None:
        """Select a new model, and announce it to all panels."""
        self._models = [*self._models, model]
        self._list()
        self.list.select([model.path])
        self.models_changed.emit()

    def _ask(self, words: str, request: object, show: Callable[[Any], None]) -> None:
        """Send a request to the engine, and show the result."""
        if not self._try(own_models.make_folder):
            return
        task = EngineTask(f"Orthomask: {words}", self._client, request)
        task.answered.connect(lambda answer: self._end(task, lambda: show(answer)))
        task.failed.connect(lambda error: self._end(task, lambda: self._fail(error)))
        self._tasks.append(task)
        self.buttons.setEnabled(False)
        self.status.setText(words)
        self.status.show()
        QgsApplication.taskManager().addTask(task)

    def _end(self, task: EngineTask, show: Callable[[], None]) -> None:
        self._tasks.remove(task)
        self.buttons.setEnabled(True)
        self.status.hide()
        self._try(show)

    def _try(self, act: Callable[[], None]) -> bool:
        """Whether `act` went well; if not, its error is shown."""
        try:
            act()
        except OrthomaskError as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: OrthomaskError) -> None:
        if isinstance(error, Cancelled):
            return
        if error.code is ErrorCode.ENGINE_PART:
            self.onnx_wanted.emit()
            return
        show_error(self._iface.messageBar(), error)
        if error.code is ErrorCode.ENGINE_MISSING:
            self.engine_failed.emit(error)
