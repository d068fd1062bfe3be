"""Where the pixels of non-file layers come from: their providers, or QGIS's own drawing of the map.

Both are planned and copied on the main thread, and read in a task's thread. So layers, project and
canvas are only read, and only the task waits for the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Protocol

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsMapLayer,
    QgsMapRendererCustomPainterJob,
    QgsMapSettings,
    QgsProject,
    QgsRasterBlock,
    QgsRasterBlockFeedback,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorTileLayer,
)
from qgis.PyQt.QtCore import QSize, Qt, QThread
from qgis.PyQt.QtGui import QColor, QImage, QPainter

from .credentials import public_source
from .ground import metres_per_unit

CELL_PX = 256
"""Side of a square: a tile of most services."""
SHARPER = 1.1
"""A picture may be this many times coarser than wanted before the next finer level is read."""
LOWEST = -3.4028234663852886e38
"""QGIS's virtual rasters mark holes with the lowest float32, without declaring it."""
WEB_MERCATOR, WORLD = "EPSG:3857", 20037508.342789244
"""Metres from the origin of Web Mercator to its western and northern edge."""
LEVELS = 12
"""Assumed overviews of a grid, each half as fine as the one before."""
INSET = 1e-3
"""In pixels: blocks are requested this much smaller, so that rounding does not fetch neighbouring tiles."""

NO_THREAD: Any = None
"""The thread of an object that any thread may take over; PyQt5-stubs lacks it."""

Step = tuple[float, float]
"""Width and height of a pixel in CRS units."""


class Pixels(Protocol):
    """A source of pixels.

    Attributes:
        source: its source, for records, without passwords.
        extent: its limits.
        corner: the point that the pixels of pictures are aligned to.
        photographic: a square of one colour is a hole.
        color: it gives one RGBA picture, not separate bands.
        data_type, bands, nodata: of its bands.
    """

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def crs(self) -> QgsCoordinateReferenceSystem: ...
    @property
    def extent(self) -> QgsRectangle: ...
    @property
    def corner(self) -> tuple[float, float]: ...
    @property
    def photographic(self) -> bool: ...
    @property
    def color(self) -> bool: ...
    @property
    def data_type(self) -> Qgis.DataType: ...
    @property
    def bands(self) -> int: ...
    @property
    def nodata(self) -> float: ...

    def step(self, place: QgsRectangle, gsd_m: float) -> Optional[Step]:
        """The pixel size of the level for a resolution: not coarser, if possible; None for any."""

    def requests(self, cells: int, blocks: int) -> int:
        """The number of server requests for so many squares and blocks."""

    def reading(self) -> Any:
        """A context for `read`, in the thread that reads."""

    def read(self, box: QgsRectangle, width_px: int, height_px: int, feedback: QgsRasterBlockFeedback) -> list[bytes]:
        """Each band of a part, row by row; one with four bytes a pixel if `color`; empty if none came."""

    def nothing(self, width_px: int, height_px: int) -> bytes:
        """A band that holds only nodata."""

    def frozen(self) -> Any:
        """The same with copies, for another thread. Main thread only."""


@dataclass(frozen=True)
class ProviderPixels:
    """The pixels of a raster layer from its provider, without the layer's style."""

    name: str
    source: str
    crs: QgsCoordinateReferenceSystem
    extent: QgsRectangle
    steps: tuple[Step, ...]
    tiled: bool
    provider: Any = field(repr=False)
    photographic: bool = True

    @classmethod
    def of(cls, layer: QgsRasterLayer) -> ProviderPixels:
        """The pixels of a layer. Main thread only."""
        provider = layer.dataProvider()
        levels = tuple((size, size) for size in provider.nativeResolutions())
        tiled, across, down = bool(levels), layer.rasterUnitsPerPixelX(), layer.rasterUnitsPerPixelY()
        if provider.xSize() and not levels:
            levels = tuple((across * 2**level, down * 2**level) for level in range(LEVELS))
        source = f"{layer.providerType()}: {public_source(layer.source())}"
        return cls(layer.name(), source, layer.crs(), layer.extent(), levels, tiled, provider)

    @property
    def corner(self) -> tuple[float, float]:
        """Web Mercator tiles begin in the corner of the world, wherever the layer does."""
        if self.tiled and self.crs.authid() == WEB_MERCATOR:
            return -WORLD, WORLD
        return self.extent.xMinimum(), self.extent.yMaximum()

    @property
    def color(self) -> bool:
        return self.data_type in (Qgis.DataType.ARGB32, Qgis.DataType.ARGB32_Premultiplied)

    @property
    def data_type(self) -> Qgis.DataType:
        """The bands' type; the widest if they differ."""
        kinds: list[Qgis.DataType] = [self.provider.dataType(band) for band in range(1, self.bands + 1)]
        return max(kinds, key=int)

    @property
    def bands(self) -> int:
        return int(self.provider.bandCount())

    @property
    def nodata(self) -> float:
        """The provider's nodata value, or else one that rarely occurs."""
        if self.provider.sourceHasNoDataValue(1):
            return float(self.provider.sourceNoDataValue(1))
        whole = self.data_type not in (Qgis.DataType.Float32, Qgis.DataType.Float64)
        return 0.0 if whole else LOWEST

    def step(self, place: QgsRectangle, gsd_m: float) -> Optional[Step]:
        return _level(self.steps, gsd_m / metres_per_unit(self.crs, place))

    def requests(self, cells: int, blocks: int) -> int:
        return cells if self.tiled else blocks * (1 if self.color else self.bands)

    @contextmanager
    def reading(self) -> Iterator[None]:
        yield

    def read(self, box: QgsRectangle, width_px: int, height_px: int, feedback: QgsRasterBlockFeedback) -> list[bytes]:
        if self.color:
            return [_bytes(self.provider.block(1, box, width_px, height_px, feedback).image())]
        return [self._band(band, box, width_px, height_px, feedback) for band in range(1, self.bands + 1)]

    def _band(self, band: int, box: QgsRectangle, width_px: int, height_px: int, feedback: Any) -> bytes:
        block = self.provider.block(band, box, width_px, height_px, feedback)
        if not block.isValid():
            return self.nothing(width_px, height_px)
        block.convert(self.data_type)
        return bytes(block.data())

    def nothing(self, width_px: int, height_px: int) -> bytes:
        block = QgsRasterBlock(self.data_type, width_px, height_px)
        block.setNoDataValue(self.nodata)
        block.setIsNoData()
        return block.data().data()

    def frozen(self) -> ProviderPixels:
        return replace(self, provider=self.provider.clone())


@dataclass(frozen=True)
class MapPixels:
    """What the map shows: styled layers, one over the other, as QGIS draws them at the picture's scale.

    Attributes:
        settings: the map's, with the picture's CRS.
        layers: topmost first.
    """

    name: str
    settings: QgsMapSettings = field(repr=False)
    layers: tuple[QgsMapLayer, ...]
    photographic: bool = False
    color: bool = True
    data_type: Qgis.DataType = Qgis.DataType.ARGB32_Premultiplied
    bands: int = 1
    nodata: float = 0.0

    @classmethod
    def of(
        cls, name: str, layers: Sequence[QgsMapLayer], crs: QgsCoordinateReferenceSystem, like: QgsMapSettings
    ) -> MapPixels:
        """Layers to draw in a CRS. Main thread only.

        Args:
            like: the settings of a map that shows such layers, for its screen resolution and so on.
        """
        settings = QgsMapSettings(like)
        settings.setDestinationCrs(crs)
        settings.setRotation(0)
        settings.setBackgroundColor(QColor(0, 0, 0, 0))
        settings.setDevicePixelRatio(1)
        for flag in (QgsMapSettings.Flag.DrawSelection, QgsMapSettings.Flag.DrawEditingInfo):
            settings.setFlag(flag, False)
        return cls(name, settings, tuple(layers))

    @property
    def crs(self) -> QgsCoordinateReferenceSystem:
        return self.settings.destinationCrs()

    @property
    def source(self) -> str:
        return "; ".join(f"{layer.name()} ({public_source(layer.source())})" for layer in self.layers)

    @property
    def extent(self) -> QgsRectangle:
        return QgsRectangle()

    @property
    def corner(self) -> tuple[float, float]:
        return 0.0, 0.0

    def step(self, place: QgsRectangle, gsd_m: float) -> Optional[Step]:
        """The finest of the layers' levels: at a coarser one, some layer would be drawn from coarse tiles."""
        found = [step for layer in self._tiled for step in [self._step_of(layer, place, gsd_m)] if step]
        return min(found, default=None)

    def coarsest(self, place: QgsRectangle) -> Optional[tuple[str, float]]:
        """Name and pixel size, in metres on the ground, of the coarsest raster at a place; None if there is none."""
        rasters = [layer for layer in self.layers if isinstance(layer, QgsRasterLayer)]
        sizes = [(layer.name(), self._gsd_of(layer, place)) for layer in rasters]
        return max(((name, size) for name, size in sizes if size), key=lambda pair: pair[1], default=None)

    def requests(self, cells: int, blocks: int) -> int:
        drawn = [layer for layer in self.layers if layer.providerType() not in ("gdal", "ogr", "memory")]
        tiled = sum(layer in self._tiled or isinstance(layer, QgsVectorTileLayer) for layer in drawn)
        return tiled * cells + (len(drawn) - tiled) * blocks

    @contextmanager
    def reading(self) -> Iterator[None]:
        for layer in self.layers:
            layer.moveToThread(QThread.currentThread())
        try:
            yield
        finally:
            for layer in self.layers:
                layer.moveToThread(NO_THREAD)

    def read(self, box: QgsRectangle, width_px: int, height_px: int, feedback: QgsRasterBlockFeedback) -> list[bytes]:
        self.settings.setExtent(box)
        self.settings.setOutputSize(QSize(width_px, height_px))
        picture = QImage(width_px, height_px, QImage.Format.Format_ARGB32_Premultiplied)
        picture.fill(0)
        painter = QPainter(picture)
        # In this thread: a job that needs another one would deadlock when such tasks hold them all.
        job = QgsMapRendererCustomPainterJob(self.settings, painter)
        job.prepare()  # cancelling reads the job's parts, which do not change after this
        direct = Qt.ConnectionType.DirectConnection
        feedback.canceled.connect(job.cancelWithoutBlocking, direct)  # type: ignore[call-arg] # PyQt5-stubs lacks it
        if feedback.isCanceled():
            job.cancelWithoutBlocking()
        job.renderPrepared()
        feedback.canceled.disconnect(job.cancelWithoutBlocking)
        painter.end()
        return [_bytes(picture)]

    def nothing(self, width_px: int, height_px: int) -> bytes:
        return b""

    def frozen(self) -> MapPixels:
        copies = tuple(copy for copy in (layer.clone() for layer in self.layers) if copy is not None)
        for copy in copies:
            copy.moveToThread(NO_THREAD)  # the reading thread takes them over
        settings = QgsMapSettings(self.settings)
        settings.setLayers(list(copies))
        return replace(self, settings=settings, layers=copies)

    @property
    def _tiled(self) -> list[QgsRasterLayer]:
        rasters = (layer for layer in self.layers if isinstance(layer, QgsRasterLayer))
        return [layer for layer in rasters if layer.dataProvider().nativeResolutions()]

    def _gsd_of(self, layer: QgsRasterLayer, place: QgsRectangle) -> float:
        """The finest pixel size of a layer at a place, in metres on the ground; 0 if it has none, or is elsewhere."""
        try:
            there = _there(self.crs, layer, place)
        except QgsCsException:
            return 0.0
        own = math.sqrt(layer.rasterUnitsPerPixelX() * layer.rasterUnitsPerPixelY())
        finest = min(layer.dataProvider().nativeResolutions(), default=own if layer.dataProvider().xSize() else 0.0)
        return finest * metres_per_unit(layer.crs(), there) if layer.extent().intersects(there) else 0.0

    def _step_of(self, layer: QgsRasterLayer, place: QgsRectangle, gsd_m: float) -> Optional[Step]:
        """The suitable level of a tiled layer, in units of the picture's CRS."""
        there = _there(self.crs, layer, place)
        unit_m = metres_per_unit(layer.crs(), there)
        level = _level([(size, size) for size in layer.dataProvider().nativeResolutions()], gsd_m / unit_m)
        if level is None or layer.crs() == self.crs:
            return level
        size = level[0] * unit_m / metres_per_unit(self.crs, place)
        return size, size


def _there(crs: QgsCoordinateReferenceSystem, layer: QgsRasterLayer, place: QgsRectangle) -> QgsRectangle:
    """A place in the CRS of a layer."""
    return QgsCoordinateTransform(crs, layer.crs(), QgsProject.instance()).transformBoundingBox(place)


def _level(steps: Sequence[Step], wanted: float) -> Optional[Step]:
    """The coarsest step that is not coarser than wanted; the finest if all are; None if there are none."""
    fine_enough = [step for step in steps if (step[0] * step[1]) ** 0.5 <= wanted * SHARPER]
    return max(fine_enough) if fine_enough else min(steps, default=None)


def _bytes(picture: QImage) -> bytes:
    """The pixels of a picture as RGBA, row by row; with four bytes each, rows need no padding."""
    if picture.isNull():
        return b""
    data = picture.convertToFormat(QImage.Format.Format_RGBA8888)
    return bytes(data.constBits().asstring(data.sizeInBytes()))
