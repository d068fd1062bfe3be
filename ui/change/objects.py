"""What a date's objects are taken from: a run, or a polygon layer; frozen on the main thread."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Optional

from qgis.core import QgsMapLayer, QgsProject, QgsRasterLayer, QgsVectorLayer, QgsWkbTypes

from ...protocol import ErrorCode, Image, OrthomaskError, Survey
from ..client.engine_client import Feedback
from ..label.project import LABELS, ROLE
from ..layers.credentials import public_source
from ..layers.images import places_of
from ..layers.sources import crs_name, image_of, is_file, region_of
from ..layers.vector_snapshot import VectorSnapshot
from ..review.choice_box import reviewable, run_folder
from ..runs import generations
from ..runs.results import Run
from ..toolkit.words import tr
from .layers import is_change_layer

CLASS, ID = "class", "id"
"""Attributes of the copy of a layer."""
DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)(?:[-_.]?(0[1-9]|1[0-2])(?:[-_.]?(0[1-9]|[12]\d|3[01]))?)?(?!\d)")
"""A year, a month or a day in a name."""


@dataclass(frozen=True)
class Objects:
    """What can be chosen for a date.

    Attributes:
        run: its folder is what the engine reads.
        layer: a polygon layer; of a run, its polygons, if they are in the QGIS project.
    """

    run: Optional[Run] = None
    layer: Optional[QgsVectorLayer] = None

    @property
    def key(self) -> str:
        """Tells it from others."""
        return str(self.run.folder) if self.run is not None else str(self.layer.id() if self.layer is not None else "")

    @property
    def title(self) -> str:
        """Its name in lists."""
        if self.run is not None:
            return self.run.title
        return str(self.layer.name()) if self.layer is not None else ""

    @property
    def date(self) -> str:
        """When it was there: the run's image date, or a date in the name of image or layer; empty if unknown."""
        recorded = str(self.run.record["image_date"]) if self.run is not None else ""
        return recorded or date_in(self.run.image if self.run is not None else self.title)

    @property
    def is_plain(self) -> bool:
        """Whether it is a layer about which nothing is recorded."""
        return self.run is None and self.layer is not None


@dataclass(frozen=True)
class Choice:
    """Objects of a date, and what is known of them.

    Attributes:
        image: what they were taken from.
        complete: a layer that covers the ground where they are complete; None for the hull of all.
    """

    objects: Objects
    date: str = ""
    class_field: str = ""
    image: Optional[QgsMapLayer] = None
    complete: Optional[QgsVectorLayer] = None

    def freeze(self) -> FrozenSurvey:
        """The objects as they are now. Main thread only.

        Raises:
            OrthomaskError: the layer cannot be used, or has edits that are not saved.
        """
        run, layer = self.objects.run, self.objects.layer
        image = self.image if isinstance(self.image, QgsRasterLayer) and is_file(self.image) else None
        if run is not None:
            _require_saved(layer)
            own = image is None or is_image_of(image, run)
            survey = Survey(_polygons(run), date=self.date, image=None if own else image_of(image))
            return FrozenSurvey(survey)
        if layer is None:
            sentence, remedy = tr("A date has no objects."), tr("Choose the folder of a run, or a polygon layer.")
            raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)
        return self._freeze_layer(layer, image_of(image) if image is not None else None)

    def _freeze_layer(self, layer: QgsVectorLayer, image: Optional[Image]) -> FrozenSurvey:
        _require_crs(layer)
        identity = id_field(layer)
        texts = {**({CLASS: self.class_field} if self.class_field else {}), **({ID: identity} if identity else {})}
        snapshot = VectorSnapshot.of(layer, texts)
        survey = Survey(
            layer.source() or layer.name(), date=self.date, class_field=CLASS if self.class_field else "",
            crs=crs_name(layer.crs()), image=image, region=self._region(layer),
            name=layer.name() if layer.providerType() == "memory" else public_source(layer.source()),
        )  # fmt: skip
        return FrozenSurvey(survey, snapshot)

    def _region(self, layer: QgsVectorLayer) -> str:
        """Where the layer is complete, as WKT in its CRS; empty for the hull."""
        if self.complete is None:
            return ""
        whole = region_of((feature.geometry() for feature in self.complete.getFeatures()), self.complete.crs())
        return str(region_of(places_of(whole, layer.crs()), layer.crs()).geometry.asWkt())


@dataclass(frozen=True)
class FrozenSurvey:
    """The objects of a date, perhaps with a copy still to write."""

    survey: Survey
    snapshot: Optional[VectorSnapshot] = None

    def write(self, folder: Path, feedback: Feedback) -> Survey:
        """What the engine reads; any thread."""
        if self.snapshot is None:
            return self.survey
        path = self.snapshot.write(folder, feedback)
        return replace(self.survey, path=str(path), layer=self.snapshot.layer_name)


def choosable(project: QgsProject, removed: Collection[str] = ()) -> list[Objects]:
    """The runs, then the polygon layers, that are in the QGIS project.

    Args:
        removed: IDs of layers that are about to be removed.
    """
    runs = [each for each in reviewable(project) if each.polygons.id() not in removed]
    layers = [layer for name, layer in project.mapLayers().items() if name not in removed and is_choosable(layer)]
    named = sorted(layers, key=lambda layer: str(layer.name()).lower())
    return [*(Objects(each.run, each.polygons) for each in runs), *(Objects(layer=layer) for layer in named)]


def is_choosable(layer: QgsMapLayer) -> bool:
    """Whether it is a polygon layer, and not one of Orthomask's that belongs elsewhere."""
    if not isinstance(layer, QgsVectorLayer) or not layer.isValid() or run_folder(layer) is not None:
        return False
    if layer.customProperty(ROLE) not in (None, LABELS) or is_change_layer(layer):
        return False
    return layer.geometryType() == QgsWkbTypes.GeometryType.PolygonGeometry


def is_image_of(layer: QgsMapLayer, run: Run) -> bool:
    """Whether a run was made from what the layer shows."""
    path = str(run.record["source"]["path"])
    return isinstance(layer, QgsRasterLayer) and is_file(layer) and Path(image_of(layer).path) == Path(path)


def date_in(name: str) -> str:
    """The last date in a name, as ISO 8601 (`2024`, `2024-05` or `2024-05-31`); empty if there is none."""
    found = ["-".join(filter(None, match.groups())) for match in DAY.finditer(name)]
    return next((each for each in reversed(found) if is_date(each)), "")


def is_date(text: str) -> bool:
    """Whether it is a year, a month or a day in ISO 8601."""
    if not re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", text):
        return False
    try:
        date.fromisoformat(f"{text}-01-01"[:10] if len(text) == 4 else f"{text}-01"[:10])
    except ValueError:
        return False
    return True


def id_field(layer: QgsVectorLayer) -> str:
    """The attribute that numbers the features of a layer; empty if none does."""
    if layer.fields().lookupField(ID) >= 0:
        return ID
    keys = layer.primaryKeyAttributes()
    return str(layer.fields().at(keys[0]).name()) if len(keys) == 1 else ""


def _polygons(run: Run) -> str:
    """The folder of a run, or the file with its polygons at another threshold, if these are the newest."""
    newest = generations.newest(run.folder)
    return str(run.folder if newest.name == generations.POLYGONS else newest)


def _require_crs(layer: QgsVectorLayer) -> None:
    if layer.crs().isValid():
        return
    sentence = tr("The layer {} has no coordinate reference system.").format(layer.name())
    raise OrthomaskError(ErrorCode.LABELS_CRS, sentence, tr("Set the layer's CRS, then run again."))


def _require_saved(layer: Optional[QgsVectorLayer]) -> None:
    """Raise if a run's polygons have edits that the engine cannot see."""
    if layer is None or not layer.isModified():
        return
    sentence = tr("The layer {} has edits that are not saved.").format(layer.name())
    raise OrthomaskError(ErrorCode.OUTPUT_IN_USE, sentence, tr("Save or discard them, then run again."))
