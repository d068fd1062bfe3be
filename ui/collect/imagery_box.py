"""Which imagery to collect, at which zoom levels, and its licence, confirmed once."""

from __future__ import annotations

import enum
from typing import Optional

from qgis.core import QgsMapLayerProxyModel, QgsProject, QgsRasterLayer
from qgis.gui import QgsFilterLineEdit, QgsMapLayerComboBox, QgsPasswordLineEdit
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QComboBox, QGroupBox, QLabel, QLineEdit, QWidget

from ...protocol import ErrorCode, Imagery, OrthomaskError
from ..toolkit.field_chooser import show_whole
from ..toolkit.words import briefly, mark, tr
from .addresses import Address, address_of, levels_in, typed
from .estimate import gsd_of
from .rights import confirm, confirmed, rights_of
from .rows import FoldingForm

KEY, KEY_PLACE, SHORT = "key", "{key}", 40
TILES_EXAMPLE = "https://…/{z}/{x}/{y}.png"


class ImagesFrom(enum.Enum):
    """Where imagery comes from; the value is what the chooser says."""

    LAYER = mark("a layer")
    ADDRESS = mark("an address (URL)")
    NOTHING = mark("none: labels only")


class ImageryBox(QGroupBox):
    """Chooses imagery, zoom levels and licence."""

    changed = pyqtSignal()

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(tr("Imagery"), parent)
        self._latitude = 0.0
        self.source = QComboBox()
        for source in ImagesFrom:
            self.source.addItem(tr(source.value), source)
        self.layer = QgsMapLayerComboBox()
        self.layer.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.layer.setToolTip(tr("XYZ tiles, WMS, WMTS, or a file such as a COG"))
        self.address = QgsFilterLineEdit()
        self.address.setPlaceholderText(TILES_EXAMPLE)
        self.address.setToolTip(tr("XYZ tiles with {z}, {x} and {y}, a WMS or WMTS, or the address of a COG"))
        self.secret = QgsPasswordLineEdit()
        self.secret.setToolTip(tr("Takes the place of {} in the address; it is not saved").format(KEY_PLACE))
        self.zooms = QLineEdit("18")
        self.zooms.setToolTip(tr("One level or several, as in 17, 18: one image for each level and place"))
        self.gsd_words, self.rights_words = QLabel(), QLabel()
        for words in (self.gsd_words, self.rights_words):
            words.setWordWrap(True)
        self.rights_words.setTextFormat(Qt.TextFormat.PlainText)
        self.rights_words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.licence, self.attribution = QLineEdit(), QLineEdit()
        self.licence.setToolTip(tr("Such as CC BY 4.0; it is written into the label project"))
        self.attribution.setToolTip(tr("Who must be named where the images or a model made from them are shown"))
        self.agreed = QCheckBox(tr("This licence allows me to download and use the images"))
        self.agreed_words = QLabel()
        self.agreed_words.setWordWrap(True)
        for chooser in (self.source, self.layer):
            show_whole(chooser)
        self._lay_out()
        self._connect()
        self._take_source()

    @property
    def chosen(self) -> ImagesFrom:
        """Where the imagery comes from."""
        return ImagesFrom(self.source.currentData())

    @property
    def raster(self) -> Optional[QgsRasterLayer]:
        """The chosen layer, if imagery comes from one."""
        layer = self.layer.currentLayer()
        return layer if isinstance(layer, QgsRasterLayer) and self.chosen is ImagesFrom.LAYER else None

    @property
    def key(self) -> str:
        """What a licence is confirmed for: the source of the layer, or the address."""
        if self.chosen is ImagesFrom.LAYER:
            return str(self.raster.source()) if self.raster is not None else ""
        return str(self.address.text()).strip() if self.chosen is ImagesFrom.ADDRESS else ""

    def show_latitude(self, latitude: float) -> None:
        """Say how large pixels are at this latitude, in degrees."""
        self._latitude = latitude
        self._show_gsd()

    def imagery(self) -> Optional[Imagery]:
        """What to fetch; None for labels only. Main thread only.

        Raises:
            OrthomaskError: there is nothing to fetch it from, or its service forbids it.
        """
        address = self._address()
        if address is None:
            return None
        licence, attribution = self.licence.text().strip(), self.attribution.text().strip()
        return Imagery(
            address.url, licence, levels_in(self.zooms.text()), attribution=attribution, access=address.access
        )

    def remember_licence(self, project: QgsProject) -> None:
        """Keep the confirmed licence in the QGIS project, so that it is not asked for again."""
        confirm(project, self.key, self.licence.text().strip(), self.attribution.text().strip())
        self._show_confirmed()

    def problem(self) -> str:
        """What is still missing, with the remedy; empty if nothing is."""
        try:
            imagery = self.imagery()
        except OrthomaskError as error:
            return f"{error.sentence} {error.remedy}"
        agreed = imagery is None or self.agreed.isChecked()
        return "" if agreed else tr("Confirm that the licence of the images allows this.")

    def _address(self) -> Optional[Address]:
        if self.chosen is ImagesFrom.NOTHING:
            return None
        if self.chosen is ImagesFrom.ADDRESS:
            address = typed(self.key)
            secret = {KEY: self.secret.text()} if KEY_PLACE in self.key and self.secret.text() else {}
            return Address(address.url, {**address.access, **secret})
        if self.raster is None:
            sentence, remedy = (
                tr("No layer of imagery is chosen."),
                tr("Add one to the QGIS project, or enter an address."),
            )
            raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy)
        return address_of(self.raster)

    def _lay_out(self) -> None:
        self._form = form = FoldingForm(self)
        form.add(tr("From"), self.source)
        form.add(tr("Layer"), self.layer)
        form.add(tr("Address"), self.address)
        form.add(tr("Key"), self.secret)
        form.add(tr("Zoom levels"), self.zooms)
        form.add("", self.gsd_words)
        form.add("", self.rights_words)
        form.add(tr("Licence"), self.licence)
        form.add(tr("Attribution"), self.attribution)
        form.add("", self.agreed)
        form.add("", self.agreed_words)

    def _connect(self) -> None:
        self.source.currentIndexChanged.connect(self._take_source)
        self.layer.layerChanged.connect(self._take_source)
        self.address.textChanged.connect(self._take_source)
        self.zooms.textChanged.connect(self._show_gsd)
        for signal in (
            self.secret.textChanged, self.licence.textChanged, self.attribution.textChanged, self.agreed.toggled,
        ):  # fmt: skip
            signal.connect(self._note)

    def _note(self, *_: object) -> None:
        self.changed.emit()

    def _take_source(self, *_: object) -> None:
        """Show the rights of the chosen source, and the licence if it was confirmed before."""
        known, told = confirmed(QgsProject.instance(), self.key), rights_of(self.raster)
        for field, text in (
            (self.licence, known.name if known else told[0] if told else ""),
            (self.attribution, known.attribution if known else told[-1] if len(told) > 1 else ""),
        ):
            field.setText(text)
            field.setCursorPosition(0)
        self.agreed.setChecked(known is not None)
        shown = {self.licence.text(), self.attribution.text()}
        self.rights_words.setText("\n".join(text for text in told if text not in shown or len(text) > SHORT))
        self._show_confirmed()
        self._show_gsd()

    def _show_confirmed(self) -> None:
        known = confirmed(QgsProject.instance(), self.key)
        words = tr("Confirmed on {} in this QGIS project.")
        self.agreed_words.setText(words.format(known.confirmed_on) if known else "")
        self._show_fitting()

    def _show_gsd(self, *_: object) -> None:
        """Say how large the pixels of each level are."""
        try:
            levels = levels_in(self.zooms.text())
            sizes = (tr("{} m at {}").format(briefly(gsd_of(level, self._latitude), 2), level) for level in levels)
            self.gsd_words.setText(tr("Pixels here: {}").format(", ".join(sizes)) if levels else "")
        except OrthomaskError:
            self.gsd_words.setText("")
        self.changed.emit()

    def _show_fitting(self) -> None:
        """Show only the fields that the choice needs."""
        source, wanted = self.chosen, self.chosen is not ImagesFrom.NOTHING
        rows = (
            (self.layer, source is ImagesFrom.LAYER), (self.address, source is ImagesFrom.ADDRESS),
            (self.secret, source is ImagesFrom.ADDRESS and KEY_PLACE in self.key),
            (self.rights_words, bool(self.rights_words.text())), (self.zooms, wanted), (self.gsd_words, wanted),
            (self.licence, wanted), (self.attribution, wanted), (self.agreed, wanted),
            (self.agreed_words, bool(self.agreed_words.text())),
        )  # fmt: skip
        self._form.show_all_but([widget for widget, shown in rows if not shown])
