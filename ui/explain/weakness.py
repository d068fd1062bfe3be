"""Where a run is unsure, as layers on top of the project."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProject, QgsRasterLayer

from ...protocol import UNCERTAINTY_FILE
from ..runs.results import RECORD, Run, layer_name
from ..runs.uncertainty import style_uncertainty
from ..toolkit.present import present
from ..toolkit.words import mark, tr

TITLES = (mark("Uncertainty"), mark("Disagreement"))
"""What the bands are called."""


def raster_of(run: Run) -> Path:
    """The raster of where a run is unsure."""
    return run.folder / UNCERTAINTY_FILE


def is_made(run: Run, bands: int) -> bool:
    """Whether that raster was made since the run, with so many bands or more."""
    path, record = raster_of(run), run.folder / RECORD
    newer = path.exists() and path.stat().st_mtime >= record.stat().st_mtime
    return newer and QgsRasterLayer(str(path), "").bandCount() >= bands


def remove(run: Run) -> None:
    """Take the raster's layers out of the project, so that it can be replaced."""
    QgsProject.instance().removeMapLayers([layer.id() for layer in _layers(run)])


def show(run: Run) -> None:
    """Add the raster once, a layer for each band, the first one seen."""
    if _layers(run):
        remove(run)
    path, root = str(raster_of(run)), present(QgsProject.instance().layerTreeRoot())
    for band in reversed(range(1, QgsRasterLayer(path, "").bandCount() + 1)):
        layer = QgsRasterLayer(path, layer_name(tr(TITLES[band - 1]), run))
        style_uncertainty(layer, band)
        QgsProject.instance().addMapLayer(layer, addToLegend=False)
        node = present(root.insertLayer(0, layer))
        node.setItemVisibilityChecked(band == 1)


def _layers(run: Run) -> list[QgsRasterLayer]:
    path = raster_of(run)
    layers = QgsProject.instance().mapLayers().values()
    return [layer for layer in layers if isinstance(layer, QgsRasterLayer) and Path(layer.source()) == path]
