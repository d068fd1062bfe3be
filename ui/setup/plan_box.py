"""What will be set up: which Python, which build, how much to fetch, and where to."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Optional

from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ...protocol import OrthomaskError
from ..client import store
from ..client.network import of_qgis
from ..installer import builds, planning
from ..installer.plan import Plan
from ..installer.planning import Offer
from ..toolkit.words import in_digits, megabytes_in_words, tr

LIST_PX = 110


class PlanBox(QGroupBox):
    """Shows a plan that the user can change. `plan` is None while there is none; `problem` says why."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("What will be set up"), parent)
        self.plan: Optional[Plan] = None
        self.problem: Optional[OrthomaskError] = None
        self._offer: Optional[Offer] = None
        self._folder = ""
        self.device, self.python = QComboBox(), QComboBox()
        for chooser in (self.device, self.python):
            chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            chooser.currentIndexChanged.connect(self._refresh)
        self.why, self.source, self.space, self.place = (_label() for _ in range(4))
        self.source_button = QPushButton(tr("Folder…"))
        self.source_button.clicked.connect(self._change_source)
        self.packages = QPlainTextEdit()
        self.packages.setReadOnly(True)
        self.packages_box = QgsCollapsibleGroupBox(tr("Packages"))
        self.packages.setFixedHeight(LIST_PX)
        self._lay_out()

    def show_offer(self, offer: Offer) -> None:
        """Offer what was found, with the best chosen."""
        self._offer = offer
        for chooser in (self.device, self.python):
            chooser.blockSignals(True)
            chooser.clear()
        for build in offer.builds:
            self.device.addItem(build.title, build)
        self.device.setCurrentIndex(offer.builds.index(offer.build))
        for python in offer.usable:
            self.python.addItem(python.title, python)
        self.python.addItem(tr("download Python {} with uv").format(builds.table()["pythons"][0]), None)
        fits = tr("compatible")
        self.python.setToolTip("\n".join(f"{python.title}: {python.problem or fits}" for python in offer.pythons))
        for chooser in (self.device, self.python):
            chooser.blockSignals(False)
        self._refresh()

    def use_folder(self, folder: str) -> None:
        """Install from this folder; if empty, from the internet."""
        self._folder = folder
        if self._offer is not None:
            self.show_offer(self._offer)

    def _lay_out(self) -> None:
        self.device.setToolTip(tr("The build of PyTorch, by the device it runs on"))
        self.device.setAccessibleName(tr("Device"))
        source = QHBoxLayout()
        source.addWidget(self.source, 1)
        source.addWidget(self.source_button)
        device = QVBoxLayout()
        device.addWidget(self.device)
        device.addWidget(self.why)
        self.packages_box.setCollapsed(True)
        QVBoxLayout(self.packages_box).addWidget(self.packages)
        form = QFormLayout()
        form.addRow(tr("Device"), device)
        form.addRow(tr("Python"), self.python)
        form.addRow(tr("From"), source)
        form.addRow(tr("Size"), self.space)
        form.addRow(tr("Location"), self.place)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.packages_box)

    def _refresh(self, *_: object) -> None:
        """Make the plan for the choices, and show it."""
        if self._offer is None:
            return
        try:
            self.plan, self.problem = self._chosen(self._offer), None
        except OrthomaskError as error:
            self.plan, self.problem = None, error
        if self._folder and self.plan is not None:
            self._choose(self._offer, self.plan)
        self.device.setEnabled(not self._folder)
        self.python.setEnabled(not self._folder)
        self.source.setText(self._folder or tr("the internet, with pip's settings on this computer"))
        self.source_button.setText(tr("Internet") if self._folder else tr("Folder…"))
        self.source_button.setToolTip(tr("Packages downloaded elsewhere with “orthomask wheelhouse”"))
        best = self._offer.build
        chosen_otherwise = tr("{} Recommended here: {}.").format(self._offer.why, best.title)
        self.why.setText(self._offer.why if self.device.currentData() == best else chosen_otherwise)
        if self.plan is not None:
            self._show(self.plan)
        self.changed.emit()

    def _chosen(self, offer: Offer) -> Plan:
        if self._folder:
            return planning.from_folder(offer, Path(self._folder))
        return planning.from_internet(offer, self.device.currentData(), self.python.currentData(), of_qgis())

    def _choose(self, offer: Offer, plan: Plan) -> None:
        """Show the device and Python of a folder's packages."""
        places = (offer.builds.index(plan.build), offer.usable.index(plan.python))
        for chooser, place in zip((self.device, self.python), places):
            chooser.blockSignals(True)
            chooser.setCurrentIndex(place)
            chooser.blockSignals(False)

    def _show(self, plan: Plan) -> None:
        free_gb, needed_gb = store.free_mb(plan.base) / 1000, plan.needed_mb / 1000
        download = tr("about {} to download").format(megabytes_in_words(plan.download_mb))
        fetched = tr("nothing to download") if plan.wheels else download
        disk = tr("{} on disk").format(megabytes_in_words(plan.build.disk_mb))
        room = tr("{} GB must be free during setup, {} GB are").format(in_digits(needed_gb, 1), in_digits(free_gb, 1))
        colour = "" if free_gb >= needed_gb else " style='color:#e0483c'"
        count = tr("{} packages").format(plan.package_count)
        self.space.setText(f"{count}, {fetched}, {disk};<br><span{colour}>{room}</span>")
        self.place.setText(html.escape(str(plan.base)))
        minor = plan.python.minor if plan.python else ""
        names = builds.package_names(plan.requirements, minor)
        self.packages.setPlainText(", ".join(names))

    def _change_source(self) -> None:
        if self._folder:
            self.use_folder("")
            return
        folder = QFileDialog.getExistingDirectory(self, tr("Folder made with “orthomask wheelhouse”"))
        if folder:
            self.use_folder(folder)


def _label() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    return label
