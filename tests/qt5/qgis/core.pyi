# What qgis-stubs leaves out or gets wrong, as far as `ui/` needs it. It describes a newer QGIS than the oldest that we
# support, calls every pointer optional, and lacks exceptions, constants and the older names of enums.
#
# A class here is QGIS's own with better types; what returns it elsewhere in qgis-stubs still returns the poorer one.
from typing import Any

from qgis import _core

class QgsCsException(Exception): ...
class QgsProcessingException(Exception): ...

class Qgis(_core.Qgis):
    QGIS_VERSION: str
    QGIS_VERSION_INT: int

class QgsWkbTypes(_core.QgsWkbTypes):
    class GeometryType(_core.Qgis.GeometryType):
        LineGeometry: _core.Qgis.GeometryType
        PolygonGeometry: _core.Qgis.GeometryType
        UnknownGeometry: _core.Qgis.GeometryType

class QgsProcessing(_core.QgsProcessing):
    class SourceType(_core.Qgis.ProcessingSourceType):
        TypeRaster: _core.Qgis.ProcessingSourceType
        TypeVectorPolygon: _core.Qgis.ProcessingSourceType

class QgsMapLayerProxyModel(_core.QgsMapLayerProxyModel):
    class Filter(_core.Qgis.LayerFilter):
        PolygonLayer: QgsMapLayerProxyModel.Filter
        RasterLayer: QgsMapLayerProxyModel.Filter
        VectorTileLayer: QgsMapLayerProxyModel.Filter
        def __or__(self, other: _core.Qgis.LayerFilter) -> _core.Qgis.LayerFilters: ...

class QgsTask(_core.QgsTask):
    class Flag(_core.QgsTask.Flag):
        CanCancel: QgsTask.Flag
        def __or__(self, other: _core.QgsTask.Flag) -> _core.QgsTask.Flags: ...

# QGIS makes these before it loads a plugin, and keeps them as long as it runs.
class QgsApplication(_core.QgsApplication):
    @staticmethod
    def authManager() -> QgsAuthManager: ...
    @staticmethod
    def instance() -> QgsApplication: ...
    @staticmethod
    def processingRegistry() -> QgsProcessingRegistry: ...
    @staticmethod
    def taskManager() -> QgsTaskManager: ...

class QgsNetworkAccessManager(_core.QgsNetworkAccessManager):
    @staticmethod
    def instance(parent: Any = ...) -> QgsNetworkAccessManager: ...

class QgsProject(_core.QgsProject):
    @staticmethod
    def instance() -> QgsProject: ...
    def layerTreeRoot(self) -> QgsLayerTree: ...

class QgsProviderRegistry(_core.QgsProviderRegistry):
    @staticmethod
    def instance(pluginPath: str = ...) -> QgsProviderRegistry: ...

# Null only of a layer that is not valid.
class QgsRasterLayer(_core.QgsRasterLayer):
    def dataProvider(self) -> QgsRasterDataProvider: ...

class QgsVectorLayer(_core.QgsVectorLayer):
    def dataProvider(self) -> QgsVectorDataProvider: ...
    def renderer(self) -> Any: ...  # of the kind that was set

class QgsProcessingAlgorithm(_core.QgsProcessingAlgorithm):
    def parameterAsRasterLayer(
        self, parameters: dict[str, Any], name: str, context: QgsProcessingContext
    ) -> QgsRasterLayer | None: ...
    def parameterAsVectorLayer(
        self, parameters: dict[str, Any], name: str, context: QgsProcessingContext
    ) -> QgsVectorLayer | None: ...

from qgis._core import *
