"""What to ask for an ONNX file that becomes a model."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from qgis.PyQt.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from ...protocol import ImportModelRequest, OnnxFacts, OnnxHead, is_named
from ..toolkit.accessible import name_widgets
from ..toolkit.help import Section, show_help
from ..toolkit.words import tr

WIDTH_PX = 460
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's bands, of pixels divided by 255."""


class ImportDialog(QDialog):
    """Asks for what the file does not say; what it says is filled in.

    Args:
        path: of the ONNX file.
        facts: what the engine found in it.
    """

    def __init__(self, path: str, facts: OnnxFacts, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Import model"))
        self._path, self._facts = path, facts
        self.title = QLineEdit(facts.title)
        self.output = QComboBox()
        for number, head in enumerate(facts.heads, start=1):
            self.output.addItem(_words(number, head), head)
        self.classes, self.bands = QLineEdit(), QLineEdit(", ".join(facts.band_names))
        self.gsd = QDoubleSpinBox()
        self.gsd.setDecimals(3)
        self.gsd.setRange(0, 10_000)
        self.gsd.setSpecialValueText(tr("not known"))
        self.gsd.setSuffix(tr("{} m per pixel").format(""))
        self.gsd.setValue(facts.gsd_m or 0)
        self.scaling = QComboBox()
        self.scaling.addItem(tr("0 to 1"), ((), ()))
        self.scaling.addItem(tr("As for ImageNet"), IMAGENET)
        self.licence = QLineEdit()
        self.licence.setPlaceholderText(tr("not stated"))
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        buttons = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(buttons.Ok | buttons.Cancel | buttons.Help)
        self.ok = self.buttons.button(buttons.Ok)
        self.ok.setText(tr("Import"))
        self._lay_out()
        self._connect()
        self._show_head()
        name_widgets(self)

    def request(self, output_path: str) -> ImportModelRequest:
        """The request, as filled in.

        Args:
            output_path: of the bundle.
        """
        mean, std = self.scaling.currentData()
        return ImportModelRequest(
            self._path,
            output_path,
            title=self.title.text().strip(),
            gsd_m=self.gsd.value(),
            classes=() if self._listed(self.classes) == self._head.names else self._listed(self.classes),
            bands=() if self._listed(self.bands) == self._facts.band_names else self._listed(self.bands),
            mean=mean,
            std=std,
            head=self.output.currentIndex() + 1,
            licence=self.licence.text().strip(),
        )

    @property
    def _head(self) -> OnnxHead:
        head: OnnxHead = self.output.currentData()
        return head

    def _lay_out(self) -> None:
        size, several = self._facts.side_px, len(self._facts.heads) > 1
        words = tr("“{}” reads {} bands of {} × {} px.")
        about = QLabel(words.format(Path(self._path).name, self._facts.bands, size, size))
        about.setWordWrap(True)
        form = QFormLayout()
        form.addRow(tr("Name"), self.title)
        if several:
            form.addRow(tr("Output"), self.output)
        form.addRow(tr("Classes"), self.classes)
        form.addRow(tr("Resolution"), self.gsd)
        form.addRow(tr("Bands"), self.bands)
        if not self._facts.is_normalised and self._facts.bands == len(IMAGENET[0]):
            form.addRow(tr("Pixel values"), self.scaling)
        form.addRow(tr("Licence"), self.licence)
        layout = QVBoxLayout(self)
        for part in (about, form, self.problem, self.buttons):
            layout.addLayout(part) if isinstance(part, QFormLayout) else layout.addWidget(part)
        self.setMinimumWidth(WIDTH_PX)
        self.classes.setToolTip(
            tr("Names separated by commas: one for each channel, or for all but the first if that is the background")
        )
        self.bands.setToolTip(tr("Names or numbers of the bands, separated by commas, in the model's order"))
        self.gsd.setToolTip(tr("The ground sampling distance of the images that the model was trained on"))
        self.scaling.setToolTip(tr("How the model expects 8-bit pixels; its author knows"))

    def _connect(self) -> None:
        self.output.currentIndexChanged.connect(self._show_head)
        for line in (self.title, self.classes, self.bands):
            line.textChanged.connect(self._allow)
        self.gsd.valueChanged.connect(self._allow)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.buttons.helpRequested.connect(lambda: show_help(Section.MODELS, self))

    def _show_head(self) -> None:
        self.classes.setText(", ".join(self._head.names))
        self._allow()

    def _allow(self) -> None:
        """Enable Import once all is known; until then say what is missing."""
        channels, bands = self._head.channels, self._facts.bands
        wanted = tr("Name its class.") if channels == 1 else tr("Name its {} channels, or all but the background.")
        missing = (
            (bool(self.title.text().strip()), tr("Give it a name.")),
            (is_named(channels, self._listed(self.classes)), wanted.format(channels)),
            (self.gsd.value() > 0, tr("Give its resolution; the file does not say it.")),
            (len(self._listed(self.bands)) == bands, tr("Name its {} bands.").format(bands)),
        )
        problem = next((words for holds, words in missing if not holds), "")
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))
        self.ok.setEnabled(not problem)

    @staticmethod
    def _listed(line: QLineEdit) -> tuple[str, ...]:
        return tuple(part.strip() for part in line.text().split(",") if part.strip())


def _words(number: int, head: OnnxHead) -> str:
    return f"{number}: {', '.join(head.names)}" if head.names else str(number)
