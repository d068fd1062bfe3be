"""A candidate on the map: the run under review again with it, and what differs as a layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, cast

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFillSymbol,
    QgsLayerTreeGroup,
    QgsProject,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor

from ....protocol import OVERLAP_PX, CompareRequest, CompareResult, Existing, LabelledImage, PredictRequest
from ...client.engine_client import EngineClient, Feedback, NoFeedback
from ...client.stages import Stage
from ...layers.images import frozen, places_of, planned, read_as_chosen
from ...layers.picture_client import FrozenRun, PictureClient
from ...layers.rendering import Picture
from ...layers.sources import picked_region
from ...models.own_models import bands_of, gsd_of
from ...runs.results import Run
from ...segment.repeating import require_file
from ...toolkit.present import present
from ...toolkit.settings import DEVICE
from ...toolkit.words import mark, tr
from .learning import Learning, rendered_layer, run_request

FOLDER, FILE, LAYER = "on-the-map", "differences.gpkg", "differences"
RUN_PERCENT = 90.0
"""Of the whole, what the run takes."""
KINDS = {
    mark("gained"): ("#0072b2", "solid"),
    mark("lost"): ("#d55e00", "dash"),
    mark("reshaped"): ("#f0e442", "dot"),
}
"""Colours that remain distinct with any kind of colour vision (Okabe and Ito 2008), and lines that do in grey."""
VERDICTS = {"right": (mark("right"), "solid"), "wrong": (mark("wrong"), "b_diagonal"), "": (mark("not known"), "no")}
"""By value of the attribute `verdict`: its name, and its fill; an empty one lies in no checked square."""
FILL_ALPHA, LINE_MM = 70, 0.7


@dataclass(frozen=True)
class MapComparison:
    """A run of the candidate, and the run to compare it with."""

    run: FrozenRun
    before: str
    truth: LabelledImage

    @property
    def path(self) -> str:
        """The file of the differences."""
        return str(Path(self.run.request.output_dir).parent / FILE)

    @classmethod
    def of(cls, learning: Learning, run: Run, model: str) -> MapComparison:
        """Plan the candidate's run over the same region, at the same threshold. Main thread only.

        Raises:
            OrthomaskError: the run's image is gone, or cannot be rendered.
        """
        request = run_request(run)
        folder = str(Path(learning.request.output_dir) / FOLDER)
        again = replace(
            request, model=model, output_dir=folder, threshold=float(run.record["threshold"]), device=DEVICE.get(),
            existing=Existing.RESUME,
        )  # fmt: skip
        return cls(_frozen(again), str(run.folder), learning.request.data)


def _frozen(request: PredictRequest) -> FrozenRun:
    """The run with its image: the file, or a picture to render again."""
    image = request.image
    if image.rendered is None:
        require_file(image)
        return FrozenRun(request, image)
    layer = rendered_layer(image)
    region = picked_region(request.region) if request.region else None
    picture = planned(layer, gsd_of(request.model), places_of(region, layer.crs()), OVERLAP_PX)
    picture = frozen(read_as_chosen(picture, layer, bands_of(request.model)))
    key = picture.key if isinstance(picture, Picture) else picture
    return FrozenRun(replace(request, image=key), picture)


class ComparisonClient:
    """Has the `call` of `EngineClient`, for a `MapComparison`, in any thread.

    A cancelled one goes on where it stopped.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def call(self, plan: MapComparison, feedback: Optional[Feedback] = None) -> CompareResult:
        """Run the candidate, then compare; raises what either raises."""
        watcher = feedback or NoFeedback()
        PictureClient(self._client).call(plan.run, Stage(watcher, 0, RUN_PERCENT))
        after = plan.run.request.output_dir
        request = CompareRequest(plan.before, after, plan.path, plan.truth, Existing.OVERWRITE)
        result: CompareResult = self._client.call(request, Stage(watcher, RUN_PERCENT, 100))
        return result


def remove_differences(project: QgsProject, path: str) -> None:
    """Remove the layer of differences in a file from the QGIS project: the file is about to be replaced."""
    project.removeMapLayers([layer.id() for layer in project.mapLayers().values() if layer.source() == _source(path)])


def add_differences(project: QgsProject, path: str, beside: Optional[QgsVectorLayer]) -> QgsVectorLayer:
    """Add the layer of differences on top of the group of a layer, or of the layer tree without one."""
    layer = QgsVectorLayer(_source(path), tr("Differences"), "ogr")
    style_differences(layer)
    root = present(project.layerTreeRoot())
    node = root.findLayer(beside.id()) if beside is not None else None
    group = cast(QgsLayerTreeGroup, node.parent()) if node is not None else root
    project.addMapLayer(layer, addToLegend=False)
    shown = present(group.insertLayer(0, layer))
    for expanded in (False, True):  # QGIS's legend takes notice of a change alone
        shown.setExpanded(expanded)
    return layer


def _source(path: str) -> str:
    return f"{path}|layername={LAYER}"


def style_differences(layer: QgsVectorLayer) -> None:
    """The kind as colour and line, whether it is right as fill: plain, hatched, or none where that is not known."""
    categories = []
    for kind, (color, line) in KINDS.items():
        for verdict, (name, fill) in VERDICTS.items():
            label = f"{tr(kind)}: {tr(name)}"
            categories.append(QgsRendererCategory(f"{kind} {verdict}".strip(), _symbol(color, line, fill), label))
    expression = 'trim(concat("kind", \' \', "verdict"))'
    layer.setRenderer(QgsCategorizedSymbolRenderer(expression, categories))


def _symbol(color: str, line: str, fill: str) -> QgsFillSymbol:
    shade = QColor(color)
    alpha = FILL_ALPHA if fill == "solid" else 255
    properties = {
        "color": f"{shade.red()},{shade.green()},{shade.blue()},{alpha}", "style": fill, "outline_color": color,
        "outline_style": line, "outline_width": str(LINE_MM), "outline_width_unit": "MM",
    }  # fmt: skip
    return present(QgsFillSymbol.createSimple(properties))
