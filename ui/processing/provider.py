"""The Processing provider `orthomask`."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from ..client.engine_client import EngineClient
from ..toolkit.icons import icon, icon_path
from .changes import ChangesAlgorithm
from .check import CheckAlgorithm
from .collect import CollectAlgorithm
from .compareruns import CompareRunsAlgorithm
from .evaluate import EvaluateAlgorithm
from .explain import ExplainAlgorithm
from .exportchips import ExportChipsAlgorithm
from .exportmask import ExportMaskAlgorithm
from .exportmodel import ExportModelAlgorithm
from .exportrun import ExportRunAlgorithm
from .importmodel import ImportModelAlgorithm
from .inspectlabels import InspectLabelsAlgorithm
from .learn import LearnAlgorithm
from .modelitem import ModelItemAlgorithm
from .page import PageAlgorithm
from .polygonize import PolygonizeAlgorithm
from .sampleareas import SampleAreasAlgorithm
from .segment import SegmentAlgorithm
from .suggest import SuggestAlgorithm
from .train import TrainAlgorithm
from .uncertainty import UncertaintyAlgorithm

ALGORITHMS = (
    SegmentAlgorithm,
    PolygonizeAlgorithm,
    CheckAlgorithm,
    TrainAlgorithm,
    LearnAlgorithm,
    EvaluateAlgorithm,
    CompareRunsAlgorithm,
    ChangesAlgorithm,
    ExplainAlgorithm,
    ExportMaskAlgorithm,
    ExportChipsAlgorithm,
    ExportModelAlgorithm,
    ImportModelAlgorithm,
    SampleAreasAlgorithm,
    CollectAlgorithm,
    SuggestAlgorithm,
    UncertaintyAlgorithm,
    InspectLabelsAlgorithm,
    PageAlgorithm,
    ExportRunAlgorithm,
    ModelItemAlgorithm,
)


class OrthomaskProvider(QgsProcessingProvider):
    """Offers the algorithms, all of which share one engine.

    Args:
        client: the engine.
    """

    def __init__(self, client: EngineClient) -> None:
        super().__init__()
        self._client = client

    def id(self) -> str:
        """The prefix in `orthomask:segment`."""
        return "orthomask"

    def name(self) -> str:
        return "Orthomask"

    def icon(self) -> QIcon:
        return icon("orthomask")

    def svgIconPath(self) -> str:
        return icon_path("orthomask")

    def loadAlgorithms(self) -> None:
        """Register the algorithms; QGIS calls this."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm(self._client))

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        """Polygons are always a GeoPackage, which also holds the provenance."""
        return ["gpkg"]

    def defaultVectorFileExtension(self, hasGeometry: bool = True) -> str:
        return "gpkg"
