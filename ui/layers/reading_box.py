"""Choosing how an image is read: a band for each of the model's, a stretch to 8 bits, no data, a second image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

from qgis.core import QgsMapLayerProxyModel, QgsProject, QgsProviderRegistry, QgsRasterLayer
from qgis.gui import QgsFilterLineEdit, QgsMapLayerComboBox, QgsRasterBandComboBox
from qgis.PyQt.QtCore import QLocale, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QFormLayout, QLabel, QSizePolicy, QWidget

from ...protocol import Image
from ...protocol.words import SECOND, band_in_words
from ..toolkit.words import briefly, tr
from .images import is_drawn
from .map_view import ImageSource
from .reading import Reading, file_layer, reading_news, reading_of, remember, shown_bands, shown_stretch
from .sources import image_of, is_file

COLOURS = 3
NONE, SHOWN, CHOSEN = range(3)
"""Lines of the stretch: the last one, with its values, is there once it has been chosen."""


class ReadingBox(QWidget):
    """Shows, changes and remembers how the chosen image is read; automatic where nothing is chosen."""

    changed = pyqtSignal()
    """An image is read differently."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self._layer_id = ""
        self._names: tuple[str, ...] = ()
        self._taken: tuple[int, ...] = ()
        self.bands: list[QgsRasterBandComboBox] = []
        self._labels: list[QLabel] = []
        self.stretch = QComboBox()
        self.stretch.setToolTip(tr("For images of more than 8 bits and models of 8: how their values become 0 to 255"))
        self.stretch.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.stretch.activated.connect(self._take_stretch)
        self.nodata = QgsFilterLineEdit()
        self.nodata.cleared.connect(self._take_nodata)
        self.nodata.editingFinished.connect(self._take_nodata)
        self.second = QgsMapLayerComboBox()
        self.second.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.second.setAllowEmptyLayer(True, tr("none"))
        self.second.setToolTip(
            tr("For models that read two images: another raster of the same place, of any bands and resolution")
        )
        others = set(QgsProviderRegistry.instance().providerList()) - {"gdal"}
        self.second.setExcludedProviders(sorted(others))
        self.second.activated.connect(self._take_second)
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self._form.addRow(tr("Stretch"), self.stretch)
        self._form.addRow(tr("No data value"), self.nodata)
        self._form.addRow(tr("Second image"), self.second)
        reading_news.changed.connect(self._follow)
        self.set_image(None)

    @property
    def _layer(self) -> Optional[QgsRasterLayer]:
        """The layer, while it is in the project: another box may still be asked about one that was removed."""
        layer = QgsProject.instance().mapLayer(self._layer_id)
        return layer if isinstance(layer, QgsRasterLayer) else None

    @property
    def names(self) -> tuple[str, ...]:
        """The bands that are read: those of a model, or else three, by their numbers, and all of a second image."""
        most = self._layer.bandCount() if self._layer is not None else COLOURS
        second = self._second_layer if not self._names else None
        others = [f"{SECOND}{number}" for number in range(1, second.bandCount() + 1)] if second is not None else []
        return self._names or (*map(str, range(1, min(COLOURS, most) + 1)), *others)

    @property
    def _second(self) -> Optional[Image]:
        """The second image that was chosen."""
        return reading_of(self._layer).second

    @property
    def _second_layer(self) -> Optional[QgsRasterLayer]:
        second = self._second
        return file_layer(second.path) if second else None

    @property
    def _wants_second(self) -> bool:
        """Whether a second image is of use: the model reads one, or there is no model."""
        return not self._names or any(name.startswith(SECOND) for name in self._names)

    def set_image(self, image: Optional[ImageSource]) -> None:
        """Show how this image is read; what QGIS draws in colours leaves no choice."""
        known = isinstance(image, QgsRasterLayer) and image.isValid() and not is_drawn(image)
        layer = image if isinstance(image, QgsRasterLayer) and known else None
        name = layer.id() if layer is not None else ""
        if name != self._layer_id:
            self._layer_id, self._taken = name, ()
        self.setEnabled(layer is not None)
        self._show()

    def set_bands(self, names: Sequence[str]) -> None:
        """Offer a band for each of a model's, by their names; three if there is no model."""
        if tuple(names) != self._names:
            self._names, self._taken = tuple(names), ()
            self._show()

    def show_taken(self, numbers: Sequence[int]) -> None:
        """Show which bands the engine takes."""
        if tuple(numbers) != self._taken and len(numbers) == len(self.names):
            self._taken = tuple(numbers)
            self._show()

    def focus_on(self, stretch: bool) -> QWidget:
        """Put the focus on the stretch, or else on the first band, or a second image still to choose; returns it."""
        missing = bool(self._names) and self._wants_second and self._second is None
        widget = self.stretch if stretch else self.second if missing else self.bands[0]
        widget.setFocus(Qt.FocusReason.OtherFocusReason)
        return widget

    def _follow(self) -> None:
        """Another panel may have changed the same layer."""
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        names = self.names
        while len(self.bands) > len(names):
            self._form.removeRow(self.bands.pop())
            self._labels.pop()
        while len(self.bands) < len(names):
            self._add_band()
        reading = self._reading
        for index, box in enumerate(self.bands):
            self._show_band(index, box, reading)
        self._show_stretch(reading)
        self._show_nodata(reading)
        self._show_second()

    def _show_second(self) -> None:
        """Show the second image, by its path if no layer shows it."""
        image, layer = self._second, self._second_layer
        self.second.blockSignals(True)
        self.second.setExceptedLayerList([self._layer] if self._layer is not None else [])
        self.second.setAdditionalItems([image.path] if image is not None and layer is None else [])
        self.second.setLayer(layer)
        if image is not None and layer is None:
            self.second.setCurrentIndex(self.second.findText(image.path))
        self.second.blockSignals(False)
        self._form.labelForField(self.second).setVisible(self._wants_second)
        self.second.setVisible(self._wants_second)

    def _show_nodata(self, reading: Reading) -> None:
        provider = self._layer.dataProvider() if self._layer is not None else None
        own = provider.sourceNoDataValue(1) if provider is not None and provider.sourceHasNoDataValue(1) else None
        chosen = reading.nodata if own is None else None
        self.nodata.setEnabled(own is None)
        self.nodata.setText("" if chosen is None else briefly(chosen))
        self.nodata.setPlaceholderText(tr("none") if own is None else tr("{}, as the image says").format(briefly(own)))
        self.nodata.setToolTip(
            tr("Pixels with this value in all bands are left out")
            if own is None
            else tr("The image marks its missing data itself")
        )

    def _add_band(self) -> None:
        box = QgsRasterBandComboBox()
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        box.activated.connect(lambda: self._take_bands(box))
        label = QLabel()
        label.setBuddy(box)
        self._form.insertRow(len(self.bands), label, box)
        self.bands.append(box)
        self._labels.append(label)
        self.setTabOrder(self.stretch, box)
        self.setTabOrder(box, self.stretch)  # from top to bottom
        self.setTabOrder(self.stretch, self.nodata)

    def _show_band(self, index: int, box: QgsRasterBandComboBox, reading: Reading) -> None:
        wanted = self.names[index]
        layer = self._second_layer if wanted.startswith(SECOND) else self._layer
        words = tr("Band for {}") if self._names else tr("Band {}")
        box.setAccessibleName(words.format(band_in_words(wanted)))
        words = tr("Second: {}") if wanted.startswith(SECOND) else words  # short: the dock is narrow
        self._labels[index].setText(words.format(band_in_words(wanted.removeprefix(SECOND))))
        chosen = reading.bands[index].removeprefix(SECOND) if reading.bands else ""
        taken = tr("{} (automatic)").format(self._own(self._taken[index])) if self._taken else tr("automatic")
        box.blockSignals(True)
        box.setLayer(layer)
        box.setEnabled(layer is not None)
        box.setShowNotSetOption(True, chosen if chosen and not chosen.isdigit() else taken)
        box.setBand(int(chosen) if chosen.isdigit() else -1)
        box.blockSignals(False)

    def _own(self, number: int) -> int:
        """The number of a band in its own image, by that in both."""
        first = self._layer.bandCount() if self._layer is not None else number
        return number - first if number > first else number

    def _show_stretch(self, reading: Reading) -> None:
        self.stretch.clear()
        self.stretch.addItem(tr("none"))
        self.stretch.addItem(tr("as the layer is shown now"))
        if reading.stretch:
            pairs = list(zip(reading.stretch[::2], reading.stretch[1::2]))
            words = ", ".join(f"{briefly(low, 4)} – {briefly(high, 4)}" for low, high in pairs)
            self.stretch.addItem(words)
            self.stretch.setItemData(CHOSEN, words, Qt.ItemDataRole.ToolTipRole)
            self.stretch.setCurrentIndex(CHOSEN)

    def _chosen(self) -> tuple[str, ...]:
        """A band for each of the model's: the chosen ones, and what the engine or QGIS takes for the others."""
        names = self.names
        second = [name for name in names if name.startswith(SECOND)]
        likely = list(map(self._own, self._taken)) or [
            *_likely(self._layer, len(names) - len(second)), *_likely(self._second_layer, len(second))
        ]  # fmt: skip
        return tuple(
            f"{SECOND if name in second else ''}{box.currentBand() if box.currentBand() > 0 else number}"
            for name, box, number in zip(names, self.bands, likely)
        )

    def _take_bands(self, box: QgsRasterBandComboBox) -> None:
        """All bands are chosen, or none: the engine would not know where to put a single one."""
        bands = self._chosen() if box.currentBand() > 0 else ()
        self._remember(bands, bool(bands) and bool(self._reading.stretch))

    def _take_stretch(self, index: int) -> None:
        if index == SHOWN:
            self._remember(self._chosen(), stretch=True)
        elif index == NONE:
            self._remember(self._reading.bands, stretch=False)

    def _take_nodata(self) -> None:
        """Take the number; what is none is taken back."""
        text = self.nodata.text().strip()
        value, fine = QLocale().toDouble(text)
        if self._layer is not None and (not text or (fine and math.isfinite(value))):
            remember(self._layer, replace(self._reading, nodata=value if text else None, second=self._second))
        self._show()

    @property
    def _reading(self) -> Reading:
        return reading_of(self._layer).fitting(self.names)

    def _take_second(self) -> None:
        """Choose the second image; bands and stretch were those of another one."""
        chosen, before = self.second.currentLayer(), self._second
        same = before is not None and self.second.currentText() == before.path
        if self._layer is not None and not same and (chosen is None or is_file(chosen)):
            self._taken = ()
            second = image_of(chosen) if isinstance(chosen, QgsRasterLayer) else None
            remember(self._layer, Reading(nodata=self._reading.nodata, second=second))
        self._show()

    def _remember(self, bands: tuple[str, ...], stretch: bool) -> None:
        if self._layer is not None and len(bands) in (0, len(self.names)):
            limits = self._limits(bands) if stretch else ()
            remember(self._layer, Reading(bands, limits, self._reading.nodata, self._second))
        self._show()

    def _limits(self, bands: Sequence[str]) -> tuple[float, ...]:
        """Low and high value of each band as its layer shows it."""
        own = [int(band) for band in bands if not band.startswith(SECOND)]
        others = [int(band.removeprefix(SECOND)) for band in bands if band.startswith(SECOND)]
        second = shown_stretch(self._second_layer, others) if self._second_layer is not None else ()
        return (*(shown_stretch(self._layer, own) if self._layer is not None else ()), *second)


def _likely(layer: Optional[QgsRasterLayer], count: int) -> tuple[int, ...]:
    """So many bands of a layer, in the order in which it shows them."""
    return shown_bands(layer, count) if layer is not None and count else ()
