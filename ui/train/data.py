"""Labelled data for training and evaluation, frozen as QGIS shows it, to write for the engine later."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Union

from qgis.core import QgsFeatureRequest, QgsVectorLayer

from ...protocol import ChipSet, ClassInfo, ErrorCode, LabelledData, OrthomaskError, TrainRequest, from_json
from ..client.engine_client import Feedback
from ..label.sources import GroundTruth
from ..layers.rendering import Picture
from ..toolkit.words import tr

DATA_DIR = "data"
"""In a run folder: copies of labels and areas as they were when the training began."""
REQUEST = "request.json"


@dataclass(frozen=True)
class FrozenLayers:
    """An image, and copies to make of its labels and areas.

    Attributes:
        name: the image's, for tables and folders.
        classes: of the labels' values; empty to use the values directly.
    """

    name: str
    truth: GroundTruth
    classes: tuple[ClassInfo, ...] = ()

    @property
    def picture(self) -> Optional[Picture]:
        """What must be rendered; None if the image is a file."""
        return self.truth.image if isinstance(self.truth.image, Picture) else None

    def write(self, folder: Path, feedback: Feedback, *, rendered: bool = True) -> LabelledData:
        """Write the copies into `folder`; any thread.

        Args:
            rendered: if false, a picture is not rendered but left empty, for what needs no pixels.

        Raises:
            Cancelled: the feedback was cancelled.
            OrthomaskError: there is no space, or the folder cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            sentence, remedy = tr("The folder {} cannot be created."), tr("Choose a folder that you can write to.")
            raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence.format(folder), remedy, str(error)) from error
        truth, picture = self.truth, self.picture
        if picture is not None and not rendered:
            truth = replace(truth, image=picture.empty(folder))
        return LabelledData(projects=(replace(truth.write(folder, feedback), place=self.name),))


@dataclass(frozen=True)
class FrozenChips:
    """A folder of exported chips."""

    path: str
    classes: tuple[ClassInfo, ...] = ()
    picture: Optional[Picture] = None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return Path(self.path).name

    def write(self, folder: Path, feedback: Feedback, *, rendered: bool = True) -> LabelledData:
        """The engine's input; there is nothing to write."""
        return LabelledData(chips=(ChipSet(self.path),))


Frozen = Union[FrozenLayers, FrozenChips]


def recorded_data(folder: Path) -> Optional[LabelledData]:
    """The data of the training begun in a folder; None if none was."""
    request = recorded(folder)
    return None if request is None else request.data


def recorded(folder: Path) -> Optional[TrainRequest]:
    """The training begun in a folder; None if none was."""
    try:
        return from_json(TrainRequest, json.loads((folder / REQUEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, OrthomaskError):
        return None


def count_labels(labels: QgsVectorLayer) -> int:
    """The number of labels, including unsaved ones; some providers must count them."""
    count = int(labels.featureCount())
    if count >= 0:
        return count
    request = QgsFeatureRequest().setNoAttributes()
    request.setFlags(QgsFeatureRequest.Flag.NoGeometry)
    return sum(1 for _ in labels.getFeatures(request))
