"""The page “Orthomask” of QGIS's options: results folder, the engine's device, confirmation of many requests."""

from __future__ import annotations

from typing import Optional

from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QDialogButtonBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QStyle,
    QVBoxLayout,
    QWidget,
)

from ..protocol import OVERPASS, OrthomaskError
from .client import store
from .client.environment import configured_python
from .dock import OrthomaskDock
from .runs.folders import beside_project
from .setup.dialog import LAMP_PX, State, state_of
from .toolkit.accessible import name_widgets
from .toolkit.folders import choose_folders
from .toolkit.help import Section, help_button
from .toolkit.icons import icon
from .toolkit.settings import ASK_FROM, CONTACT, DEVICE, FOLDER, OVERPASS_SERVER
from .toolkit.words import in_digits, tr, tr_n

MOST_REQUESTS = 1_000_000
GAP_PX = 6
CONTACT_EXAMPLE = "me@example.org"


class SettingsFactory(QgsOptionsWidgetFactory):
    """Makes the page when the options are opened.

    Args:
        dock: knows the engine's state, and sets it up.
    """

    def __init__(self, dock: OrthomaskDock) -> None:
        super().__init__("Orthomask", icon("orthomask"))
        self._dock = dock

    def createWidget(self, parent: Optional[QWidget] = None) -> SettingsPage:
        """The page, in the current state."""
        return SettingsPage(self._dock, parent)


class SettingsPage(QgsOptionsPageWidget):
    """Changes nothing until the user presses OK or Apply; then at once."""

    def __init__(self, dock: OrthomaskDock, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setObjectName("OrthomaskOptions")
        self.results, self.engine, self.services = ResultsBox(), EngineBox(dock), ServicesBox()
        self.defaults = QDialogButtonBox(QDialogButtonBox.StandardButton.RestoreDefaults)
        self.defaults.clicked.connect(self.restore_defaults)
        self.engine.setup_button.clicked.connect(lambda: self._set_up(dock))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box in (self.results, self.engine, self.services):
            layout.addWidget(box)
        layout.addStretch()
        foot = QHBoxLayout()
        foot.addWidget(help_button(lambda: Section.SETTINGS))
        foot.addWidget(self.defaults, 1)
        layout.addLayout(foot)
        name_widgets(self)
        self._show(FOLDER.get(), DEVICE.get(), ASK_FROM.get())
        self.services.show_servers(OVERPASS_SERVER.get(), CONTACT.get())

    def apply(self) -> None:
        """Save the choices."""
        FOLDER.set(self.results.folder())
        DEVICE.set(self.engine.device.currentData())
        ASK_FROM.set(self.services.ask_from.value())
        OVERPASS_SERVER.set(self.services.overpass.text().strip())
        CONTACT.set(self.services.contact.text().strip())

    def restore_defaults(self) -> None:
        """Choose Orthomask's defaults."""
        self._show(FOLDER.default, DEVICE.default, ASK_FROM.default)
        self.services.show_servers(OVERPASS_SERVER.default, CONTACT.default)

    def _show(self, folder: str, device: str, ask_from: int) -> None:
        self.results.show_folder(folder)
        self.engine.device.setCurrentIndex(max(0, self.engine.device.findData(device)))
        self.services.ask_from.setValue(ask_from)

    def _set_up(self, dock: OrthomaskDock) -> None:
        """Press OK in the options, because they are modal; then open Set up.

        Their `accept` alone saves nothing in QGIS 3.44.
        """
        for box in self.window().findChildren(QDialogButtonBox):
            ok = box.button(QDialogButtonBox.StandardButton.Ok)
            if ok is not None:
                ok.click()
        if not self.isVisible():  # else another page rejects its input
            dock.set_up()


class ResultsBox(QGroupBox):
    """Next to the project, or always in one folder."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Results"), parent)
        self.beside = QRadioButton(tr("Next to the project"))
        self.chosen = QRadioButton(tr("In this folder"))
        self.chooser = QgsFileWidget()
        choose_folders(self.chooser, tr("Each run creates a new folder in this one"))
        self.chooser.lineEdit().setAccessibleName(tr("Folder"))
        self.chosen.toggled.connect(self.chooser.setEnabled)
        words = tr(
            "A folder “Orthomask” next to the project file, or in your documents while the project is not saved; now "
            "{}."
        )
        row, below, layout = QHBoxLayout(), QHBoxLayout(), QVBoxLayout(self)
        row.addWidget(self.chosen)
        row.addWidget(self.chooser, 1)
        below.addSpacing(self.beside.style().pixelMetric(QStyle.PixelMetric.PM_ExclusiveIndicatorWidth) + GAP_PX)
        below.addWidget(_words(words.format(beside_project())), 1)
        layout.addWidget(self.beside)
        layout.addLayout(below)
        layout.addLayout(row)
        layout.addWidget(_words(tr("Each run creates its own folder there. “Save in” in a panel takes precedence.")))

    def show_folder(self, folder: str) -> None:
        """Choose this folder; next to the project if it is empty."""
        self.chosen.setChecked(bool(folder))
        self.beside.setChecked(not folder)
        self.chooser.setEnabled(bool(folder))
        self.chooser.setFilePath(folder)

    def folder(self) -> str:
        """The chosen folder; empty for next to the project."""
        return str(self.chooser.filePath()).strip() if self.chosen.isChecked() else ""


class EngineBox(QGroupBox):
    """The engine's state, and the device it runs on."""

    def __init__(self, dock: OrthomaskDock, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Engine"), parent)
        self.device = QComboBox()
        self.device.setAccessibleName(tr("Device"))
        self.device.addItem(tr("Best available"), "auto")
        self.device.addItem(tr("CPU only"), "cpu")
        self.setup_button = QPushButton(tr("Set up…"))
        self.setup_button.setToolTip(tr("Closes this window and keeps what you chose in it"))
        self._lay_out(dock.engine_problem)

    def _lay_out(self, problem: Optional[OrthomaskError]) -> None:
        state, python, made = state_of(problem), configured_python(), store.environments()
        lamp, form, row, layout = QLabel(), QFormLayout(), QHBoxLayout(), QVBoxLayout(self)
        lamp.setPixmap(icon(state.lamp).pixmap(LAMP_PX, LAMP_PX))
        row.addWidget(lamp)
        row.addWidget(_words(problem.sentence if problem else state.sentence.format(python)), 1)
        row.addWidget(self.setup_button)
        layout.addLayout(row)
        layout.addLayout(form)
        if python and state is not State.OWN:  # its sentence names it
            form.addRow(tr("Python"), _words(python))
        if made:
            form.addRow(tr("Disk usage"), QLabel(_size(made)))
        form.addRow(tr("Runs on"), self.device)
        words = tr(
            "The best is a GPU if there is one. This applies from the next run that does not specify a device itself."
        )
        layout.addWidget(_words(words))


class ServicesBox(QGroupBox):
    """When to ask before many requests to a map service, and what OpenStreetMap is collected from."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Map services"), parent)
        self.ask_from = QSpinBox()
        self.ask_from.setAccessibleName(tr("Ask before more than"))
        self.ask_from.setRange(0, MOST_REQUESTS)
        self.ask_from.setSingleStep(500)
        self.ask_from.setGroupSeparatorShown(True)
        self.ask_from.setSuffix(tr(" requests"))
        row, layout = QHBoxLayout(), QVBoxLayout(self)
        row.addWidget(QLabel(tr("Ask before more than")))
        row.addWidget(self.ask_from)
        row.addStretch()
        layout.addLayout(row)
        words = tr(
            "{} requests cover about 2.5 km² at 0.15 m per pixel. The provider of a service may limit or forbid many "
            "more."
        )
        layout.addWidget(_words(words.format(in_digits(ASK_FROM.default))))
        self.overpass, self.contact = QLineEdit(), QLineEdit()
        self.overpass.setPlaceholderText(OVERPASS)
        self.overpass.setToolTip(tr("The address of the server that OpenStreetMap's objects come from."))
        self.contact.setPlaceholderText(CONTACT_EXAMPLE)
        form = QFormLayout()
        form.addRow(tr("Overpass server"), self.overpass)
        form.addRow(tr("Contact"), self.contact)
        layout.addLayout(form)
        layout.addWidget(_words(tr("An e-mail or web address of yours, which servers of map data are told.")))

    def show_servers(self, overpass: str, contact: str) -> None:
        """Show the server and the contact; empty for the defaults."""
        self.overpass.setText(overpass)
        self.contact.setText(contact)


def _words(text: str) -> QLabel:
    """A sentence as a label."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _size(made: tuple[store.Environment, ...]) -> str:
    total_gb = sum(environment.record.disk_mb for environment in made) / 1000
    if len(made) == 1:
        return tr("{} GB").format(in_digits(total_gb, 1))
    words = tr_n("{} GB in {} environment", "{} GB in {} environments", len(made))
    return words.format(in_digits(total_gb, 1), len(made))
