"""Image, labels and areas for an engine request, frozen from QGIS layers on the main thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, NamedTuple, Optional, cast

from qgis.core import (
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsMapLayer,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ...protocol import (
    AREA_REASON,
    AREA_SECONDS,
    AREA_STATE,
    Areas,
    ClassValue,
    LabelledImage,
    Labels,
    Split,
    Touch,
)
from ..client.engine_client import Feedback
from ..layers.images import FrozenImage, frozen, is_rendered, planned, read_as_chosen, written
from ..layers.map_view import ImageSource, MapView
from ..layers.sources import image_of
from ..layers.vector_snapshot import VectorSnapshot
from .attributes import AREA_ATTRIBUTES, is_unchecked
from .project import AREAS, CLASS_FIELD, LABELS, NAME_FIELD, ROLE, SPLIT_FIELD

AREA_FIELDS = {"fid", "id", NAME_FIELD, SPLIT_FIELD, *AREA_ATTRIBUTES}
"""What an areas layer may have."""


@dataclass(frozen=True)
class LabelSource:
    """How a layer is used as labels.

    Attributes:
        layer: polygons, or a raster of class values or colours.
        class_field: attribute that names the class; empty if all is of class `class_value`.
        mapping: the class of each value of the attribute or raster; empty if values are class values.
    """

    layer: QgsMapLayer
    class_field: str = ""
    mapping: tuple[ClassValue, ...] = ()
    class_value: int = 1
    subtract: bool = False
    only_selected: bool = False

    def freeze(self) -> FrozenLabels:
        """The labels as they are now. Main thread only.

        Raises:
            OrthomaskError: the layer cannot be used.
        """
        options = Labels(
            path=self.layer.source() or self.layer.name(),
            mapping=self.mapping if self.class_field or isinstance(self.layer, QgsRasterLayer) else (),
            class_value=self.class_value,
            subtract=self.subtract,
        )
        if isinstance(self.layer, QgsRasterLayer):
            image = image_of(self.layer)
            return FrozenLabels(replace(options, path=image.path, crs=image.crs))
        columns = {CLASS_FIELD: self.class_field} if self.class_field else {}
        snapshot = VectorSnapshot.of(cast(QgsVectorLayer, self.layer), columns, only_selected=self.only_selected)
        return FrozenLabels(replace(options, class_field=CLASS_FIELD if self.class_field else ""), snapshot)


@dataclass(frozen=True)
class FrozenLabels:
    """Labels, perhaps with a file still to write."""

    labels: Labels
    snapshot: Optional[VectorSnapshot] = None

    def write(self, folder: Path, feedback: Feedback) -> Labels:
        """The labels for a request; any thread."""
        if self.snapshot is None:
            return self.labels
        path = self.snapshot.write(folder, feedback)
        return replace(self.labels, path=str(path), layer=self.snapshot.layer_name)


@dataclass(frozen=True)
class FrozenAreas:
    """Areas whose file is not written yet."""

    snapshot: VectorSnapshot

    @classmethod
    def of(cls, layer: QgsVectorLayer, split_field: str = SPLIT_FIELD, *, only_selected: bool = False) -> FrozenAreas:
        """Freeze a layer; without a field `split_field`, all areas are for training. Main thread only.

        Raises:
            OrthomaskError: the layer cannot be used.
        """
        wanted = {NAME_FIELD: NAME_FIELD, SPLIT_FIELD: split_field, AREA_STATE: AREA_STATE, AREA_REASON: AREA_REASON}
        columns = {name: field for name, field in wanted.items() if layer.fields().lookupField(field) >= 0}
        numbers = {AREA_SECONDS: AREA_SECONDS} if layer.fields().lookupField(AREA_SECONDS) >= 0 else {}
        return cls(VectorSnapshot.of(layer, columns, numbers=numbers, only_selected=only_selected))

    def write(self, folder: Path, feedback: Feedback) -> Areas:
        """The areas for a request; any thread."""
        path = self.snapshot.write(folder, feedback)
        return Areas(str(path), self.snapshot.layer_name)


@dataclass(frozen=True)
class GroundTruth:
    """An image with its labels, frozen, for masks, chips and trainings."""

    image: FrozenImage
    labels: tuple[FrozenLabels, ...]
    areas: Optional[FrozenAreas] = None
    touch: Touch = Touch.CENTRE

    @classmethod
    def of(
        cls,
        image: Optional[ImageSource],
        sources: Sequence[LabelSource],
        areas: Optional[QgsVectorLayer] = None,
        touch: Touch = Touch.CENTRE,
        rendering: Optional[Rendering] = None,
    ) -> GroundTruth:
        """Freeze the layers; later sources cover earlier ones. Main thread only.

        Args:
            rendering: how to render a non-file image; None refuses such images.

        Raises:
            OrthomaskError: a layer cannot be used.
        """
        labels = tuple(source.freeze() for source in sources)
        whole = planned_image(image, areas, rendering) if rendering else image_of(image)
        return cls(frozen(whole), labels, FrozenAreas.of(areas) if areas is not None else None, touch)

    def read_as_chosen(self, image: ImageSource, bands: Sequence[str]) -> GroundTruth:
        """The same, with the image read as chosen for its layer. Main thread only.

        Args:
            bands: names of those that are read.
        """
        return replace(self, image=read_as_chosen(self.image, image, bands))

    def write(self, folder: Path, feedback: Feedback) -> LabelledImage:
        """Write the files, for a request; any thread."""
        labels = tuple(frozen.write(folder, feedback) for frozen in self.labels)
        areas = self.areas.write(folder, feedback) if self.areas else None
        return LabelledImage(written(self.image, folder, feedback), labels, areas, self.touch)

    def request(self, build: Callable[[LabelledImage], object]) -> Callable[[Path, Feedback], object]:
        """The function that `SnapshotClient` calls: writes the files, then builds the request."""
        return lambda folder, feedback: build(self.write(folder, feedback))


class Rendering(NamedTuple):
    """How a non-file image is rendered: its resolution, and the margin around the areas."""

    gsd_m: float
    margin_px: int


def planned_image(source: Optional[ImageSource], areas: Optional[QgsVectorLayer], rendering: Rendering) -> FrozenImage:
    """The file behind a layer, or the picture of the areas to render. Main thread only.

    Raises:
        OrthomaskError: the layer cannot be used, or there are no areas or no resolution for a picture.
    """
    places = []
    if source is not None and is_rendered(source):
        places = [geometry for geometry, split in areas_on(source, areas) if split != Split.TODO.value]
    return planned(source, rendering.gsd_m, places, rendering.margin_px)


def areas_on(image: ImageSource, areas: Optional[QgsVectorLayer]) -> Iterator[tuple[QgsGeometry, str]]:
    """The areas that intersect the image, in its CRS, each with its split; none without an area layer.

    Unchecked squares are still to do.
    """
    if areas is None:
        return
    transform = QgsCoordinateTransform(areas.crs(), image.crs(), QgsProject.instance())
    field, extent = areas.fields().lookupField(SPLIT_FIELD), image.extent()
    everywhere = isinstance(image, MapView)
    for feature in areas.getFeatures():
        geometry = QgsGeometry(feature.geometry())
        try:
            geometry.transform(transform)
        except QgsCsException:
            continue
        if not geometry.isEmpty() and (everywhere or geometry.intersects(extent)):
            split = str(feature.attribute(field)) if field >= 0 else Split.TRAIN.value
            yield geometry, Split.TODO.value if is_unchecked(feature) else split


def is_labels_layer(layer: QgsMapLayer) -> bool:
    """Whether it is the label layer of a label project."""
    return bool(layer.customProperty(ROLE) == LABELS)


def is_areas_layer(layer: QgsMapLayer) -> bool:
    """Whether it is the areas layer of a label project, or has the attributes of one and no others."""
    if not isinstance(layer, QgsVectorLayer):
        return False
    names = set(layer.fields().names())
    return bool(layer.customProperty(ROLE) == AREAS) or {NAME_FIELD, SPLIT_FIELD} <= names <= AREA_FIELDS
