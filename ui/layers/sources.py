"""What the engine needs to know about QGIS layers, frozen on the main thread. Nothing here changes a layer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsGeometry,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
    QgsWkbTypes,
)

from ...protocol import ErrorCode, Image, OrthomaskError, Region
from ..toolkit.present import present
from ..toolkit.words import tr
from .credentials import public_source, without_access
from .ground import measuring, share_of_globe
from .map_view import ImageSource

HUGE_SHARE = 0.1
FOREIGN_STARTS = ("pg:", "hdf4", "ecwp", "ogcapi:", "ngw:", "georaster:")
FOREIGN_ENDS = (".ecw", ".sid", ".heic", ".heif", ".avif", ".hdf")
"""What QGIS's GDAL may read, but the engine's cannot."""


@dataclass(frozen=True)
class PickedRegion:
    """A region as QGIS holds it: a valid multipolygon in the CRS it was drawn in."""

    geometry: QgsGeometry
    crs: QgsCoordinateReferenceSystem

    @property
    def area_m2(self) -> float:
        """Ellipsoidal area; planar if the CRS has no ellipsoid. Main thread only."""
        return self.measured_m2(QgsProject.instance().transformContext())

    def measured_m2(self, context: QgsCoordinateTransformContext) -> float:
        """The same, with the transformations of a context; any thread."""
        return float(measuring(self.crs, context).measureArea(self.geometry))

    def is_huge(self, context: QgsCoordinateTransformContext) -> bool:
        """Whether it is a large part of the globe: nobody's region, and beyond what QGIS measures."""
        return share_of_globe(self.crs, self.geometry.boundingBox(), context) > HUGE_SHARE

    def request(self) -> Region:
        """The region for the engine."""
        return Region(self.geometry.asWkt(), crs_name(self.crs))


def crs_name(crs: QgsCoordinateReferenceSystem) -> str:
    """`EPSG:n` if the CRS has such a code, else WKT; empty for no CRS.

    The engine does not know codes of other authorities, such as QGIS's own `USER:100000`.
    """
    if crs.authid().startswith("EPSG:"):
        return crs.authid()
    return crs.toWkt(QgsCoordinateReferenceSystem.WktVariant.WKT_PREFERRED)  # type: ignore[attr-defined] # its name before QGIS 3.36


def is_file(layer: object) -> bool:
    """Whether the engine can open a layer's source itself: any source that its own GDAL reads."""
    if not isinstance(layer, QgsRasterLayer) or layer.providerType() != "gdal":
        return False
    path, access = _dataset(layer)
    locked = "authcfg" in layer.source() and not access  # a certificate or token that only QGIS can use
    return not locked and not path.lower().startswith(FOREIGN_STARTS) and not path.lower().endswith(FOREIGN_ENDS)


def require_image(layer: Optional[ImageSource]) -> ImageSource:
    """The layer; raise if there is none or its source cannot be read.

    Raises:
        OrthomaskError: there is none, or it is broken.
    """
    if layer is None:
        sentence, remedy = tr("No image is chosen."), tr("Add an orthophoto to the project, for example a GeoTIFF.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)
    if not layer.isValid():
        sentence = tr("The source of the layer {} cannot be opened.").format(layer.name())
        remedy = tr("Repair the layer's data source.")
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy, public_source(layer.source()))
    return layer


def image_of(source: Optional[ImageSource]) -> Image:
    """The file behind a raster layer. The CRS is given only if the layer's differs from the file's.

    Raises:
        OrthomaskError: there is no layer, it is broken, or it is not a file.
    """
    layer = require_image(source)
    if not isinstance(layer, QgsRasterLayer) or not is_file(layer):
        sentence = tr("The layer {} is not a file that can be read here.").format(layer.name())
        remedy = tr("Save the part you need as a GeoTIFF (right-click the layer, Export ‣ Save As…) and choose that.")
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy)
    own_crs = layer.dataProvider().crs()
    path, access = _dataset(layer)
    return Image(path=path, crs="" if own_crs == layer.crs() else crs_name(layer.crs()), access=access)


def region_of(geometries: Iterable[QgsGeometry], crs: QgsCoordinateReferenceSystem) -> PickedRegion:
    """The union of all polygons in `geometries`; self-intersections are repaired.

    Raises:
        OrthomaskError: they enclose nothing, or have no CRS.
    """
    if not crs.isValid():
        sentence = tr("The region has no coordinate reference system.")
        remedy = tr("Set the CRS of its layer or of the project.")
        raise OrthomaskError(ErrorCode.REGION_CRS, sentence, remedy)
    union = QgsGeometry.unaryUnion([part for geometry in geometries for part in _polygons(geometry)])
    if union.isEmpty() or union.area() == 0:
        sentence, remedy = tr("The region encloses no area."), tr("Use a polygon that encloses an area.")
        raise OrthomaskError(ErrorCode.REGION_EMPTY, sentence, remedy)
    return PickedRegion(union, crs)


def extent_region(extent: QgsRectangle, crs: QgsCoordinateReferenceSystem) -> PickedRegion:
    """An extent as a region.

    Raises:
        OrthomaskError: the extent is empty or has no CRS.
    """
    return region_of([QgsGeometry.fromRect(extent)], crs)


def selected_region(layer: Optional[QgsVectorLayer]) -> PickedRegion:
    """The union of the selected polygons of a layer.

    Raises:
        OrthomaskError: nothing is selected, or it encloses nothing.
    """
    if layer is None or layer.selectedFeatureCount() == 0:
        sentence = tr("No polygon is selected.")
        remedy = tr("Make a polygon layer the active one, select polygons in it, and try again.")
        raise OrthomaskError(ErrorCode.REGION_EMPTY, sentence, remedy)
    return region_of((feature.geometry() for feature in layer.getSelectedFeatures()), layer.crs())


def picked_region(region: Region) -> PickedRegion:
    """A request's region as QGIS holds it, unchanged; any thread.

    Raises:
        OrthomaskError: it cannot be read.
    """
    geometry, crs = QgsGeometry.fromWkt(region.wkt), QgsCoordinateReferenceSystem()
    if geometry.isEmpty() or not crs.createFromUserInput(region.crs):
        sentence, remedy = tr("The region cannot be read."), tr("Draw it again.")
        raise OrthomaskError(ErrorCode.REGION_UNREADABLE, sentence, remedy, f"{region.crs}\n{region.wkt[:200]}")
    return PickedRegion(geometry, crs)


def straightened(geometry: QgsGeometry) -> QgsGeometry:
    """A non-empty geometry without curves, Z and M."""
    flat = present(present(geometry.constGet()).segmentize())
    flat.dropZValue()
    flat.dropMValue()
    return QgsGeometry(flat)


def _polygons(geometry: QgsGeometry) -> list[QgsGeometry]:
    """The valid polygons in `geometry`, without curves, Z and M."""
    if geometry.isEmpty():
        return []
    straight = straightened(geometry)
    parts = straight.makeValid().asGeometryCollection()
    return [part for part in parts if part.type() == QgsWkbTypes.GeometryType.PolygonGeometry]


def _dataset(layer: QgsRasterLayer) -> tuple[str, dict[str, str]]:
    """GDAL's name of the layer's dataset, as an absolute path for a file, and the options to open it."""
    name = re.sub(r" ?authcfg='?\w+'?", "", layer.source().split("|option:")[0])
    if os.path.exists(name):
        return os.path.abspath(name), {}
    expanded = layer.dataProvider().dataSourceUri(True) if layer.dataProvider() else name
    return without_access(name, expanded.split("|option:")[0])
