"""The preview of a run in progress: what it has found so far, as one layer that goes when the run ends."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsLayerTreeLayer, QgsMultiBandColorRenderer, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal
from qgis.PyQt.QtXml import QDomDocument

from ..client.engine_client import Feedback
from ..client.tasks import Client
from ..layers.map_view import PREVIEW
from ..layers.picture_client import WORK_DIR
from ..toolkit.present import present
from ..toolkit.words import tr

PICTURE = "preview.tif"
"""In the run's hidden folder, as in `engine/runs/preview.py`: red, green, blue, alpha."""
PERIOD_SECONDS = 1.0
"""The map is drawn again at most this often."""


class LivePreview(QObject):
    """Shows the preview of one run at a time. Main thread only.

    The layer shows a copy, under a new name each time: QGIS keeps the file of a layer open, and its old content.
    """

    _arrived = pyqtSignal(str)
    """The path of a new copy; emitted in the thread of the run's task."""

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._copies: Optional[Path] = None
        self._layer_id = self._path = ""
        self._arrived.connect(self._show)

    def begin(self, client: Client, folder: Path) -> Client:
        """Show what the run into `folder` finds from now on; returns the client that must run it."""
        self.end()
        self._copies = Path(tempfile.mkdtemp(prefix="orthomask-preview-"))
        project = QgsProject.instance()
        project.writeProject.connect(self._leave_out)
        project.cleared.connect(self.end)
        return _Watched(client, folder / WORK_DIR / PICTURE, self._copies, self._arrived.emit)

    def end(self) -> None:
        """Remove the layer and its files."""
        if self._copies is None:
            return
        project = QgsProject.instance()
        project.writeProject.disconnect(self._leave_out)
        project.cleared.disconnect(self.end)
        self._remove_layer()
        shutil.rmtree(self._copies, ignore_errors=True)  # what is just being drawn may still be open
        self._copies, self._path = None, ""

    def _show(self, path: str) -> None:
        if self._copies is None or Path(path).parent != self._copies:
            return  # of a run that has ended
        layer = QgsProject.instance().mapLayer(self._layer_id)
        if self._layer_id and layer is None:
            self.end()  # the user has removed it, and does not want it
            return
        with _unnoticed(QgsProject.instance()):
            if isinstance(layer, QgsRasterLayer):
                layer.setDataSource(path, layer.name(), "gdal")
            else:
                layer = self._add_layer(path)
            layer.setRenderer(_renderer(layer))
            layer.triggerRepaint()
        if self._path:
            with suppress(OSError):
                Path(self._path).unlink()
        self._path = path

    def _add_layer(self, path: str) -> QgsRasterLayer:
        """Add the layer on top of the others; the current layer stays the current one."""
        layer = QgsRasterLayer(path, tr("Preview of this run"), "gdal")
        layer.setCustomProperty(PREVIEW, True)
        layer.setCustomProperty("skipMemoryLayersCheck", 1)  # QGIS does not ask whether to lose it
        self._layer_id = layer.id()
        QgsProject.instance().addMapLayer(layer, addToLegend=False)
        node = QgsLayerTreeLayer(layer)
        node.setExpanded(False)
        QgsProject.instance().layerTreeRoot().insertChildNode(0, node)
        return layer

    def _remove_layer(self) -> None:
        with _unnoticed(QgsProject.instance()):
            if self._layer_id in QgsProject.instance().mapLayers():
                QgsProject.instance().removeMapLayer(self._layer_id)
        self._layer_id = ""

    def _leave_out(self, document: QDomDocument) -> None:
        """Keep the layer out of a project that is being saved: QGIS has written the layer tree, but no layer yet."""
        if QgsProject.instance().mapLayer(self._layer_id) is None:
            return
        for name in ("layer-tree-layer", "item"):
            nodes = document.elementsByTagName(name)
            for element in [nodes.at(index).toElement() for index in range(nodes.count())]:
                if self._layer_id in (element.attribute("id"), element.text()):
                    element.parentNode().removeChild(element)
        self._remove_layer()
        QTimer.singleShot(0, self._show_again)

    def _show_again(self) -> None:
        if self._path and self._copies is not None:
            path, self._path = self._path, ""
            self._show(path)


class _Watched:
    """A client that copies the preview whenever the run reports progress and it has changed. In the task's thread."""

    def __init__(self, client: Client, picture: Path, copies: Path, arrived: Callable[[str], None]) -> None:
        self._client, self._picture, self._copies, self._arrived = client, picture, copies, arrived
        self._due = 0.0
        self._seen = self._number = 0

    def call(self, request: Any, feedback: Any) -> Any:
        """Answer the request; raises what the client raises."""
        return self._client.call(request, _Following(feedback, self._look))

    def _look(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + PERIOD_SECONDS
        with suppress(OSError):  # there is none yet, or its folder has gone
            stamp = self._picture.stat().st_mtime_ns
            if stamp != self._seen:
                copy = self._copies / f"preview-{self._number}.tif"
                shutil.copyfile(self._picture, copy)
                self._seen, self._number = stamp, self._number + 1
                self._arrived(str(copy))


class _Following:
    """Feedback that also calls `look` at each progress."""

    def __init__(self, feedback: Feedback, look: Callable[[], None]) -> None:
        self._feedback, self._look = feedback, look

    def setProgress(self, percent: float) -> None:
        """Show that `percent` (0 to 100) is done."""
        self._feedback.setProgress(percent)

    def setProgressText(self, text: str) -> None:
        """Show what is being done."""
        self._feedback.setProgressText(text)
        self._look()

    def isCanceled(self) -> bool:
        """Whether the user cancelled the call."""
        return self._feedback.isCanceled()


@contextmanager
def _unnoticed(project: QgsProject) -> Iterator[None]:
    """Change the project without marking it as changed: nothing of it is saved."""
    dirty = project.isDirty()
    try:
        yield
    finally:
        project.setDirty(dirty)


def _renderer(layer: QgsRasterLayer) -> QgsMultiBandColorRenderer:
    """The bands as they are, whatever contrast the user's settings give a new layer."""
    renderer = QgsMultiBandColorRenderer(present(layer.dataProvider()), 1, 2, 3)
    renderer.setAlphaBand(4)
    return renderer
