"""What a person says of changes: written into their layer's file at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

from qgis.core import QgsFeature, QgsFeatureRequest, QgsGeometry, QgsVectorLayer

from ...protocol import Change, ErrorCode, OrthomaskError, Review
from ..layers.vector_snapshot import text_of
from ..toolkit.words import tr

KIND, REASON, REVIEW, REVIEWED_AT, DATE = "kind", "reason", "review", "reviewed_at", "date_after"


@dataclass(frozen=True)
class Found:
    """A change, by its ID in the layer.

    Attributes:
        geometry: in the layer's CRS.
        date: of the later survey; empty if unknown.
    """

    number: int
    kind: Change
    reason: str
    review: Review
    date: str
    geometry: QgsGeometry


class Answers:
    """The changes of a layer that can be reviewed, and what was said of each.

    Args:
        layer: of changes.
        kind: only those of this kind; None for all but the unchanged.
    """

    def __init__(self, layer: QgsVectorLayer, kind: Optional[Change] = None) -> None:
        self._layer = layer
        self.reviews: dict[int, Review] = {}
        """By ID, in the order of the layer."""
        only = f"\"{KIND}\" = '{kind.value}'" if kind else f"\"{KIND}\" <> '{Change.UNCHANGED.value}'"
        request = QgsFeatureRequest().setFilterExpression(only).setFlags(QgsFeatureRequest.Flag.NoGeometry)
        for feature in layer.getFeatures(request.setSubsetOfAttributes([KIND, REVIEW], layer.fields())):
            self.reviews[feature.id()] = _review(feature)

    @property
    def counts(self) -> Counter[Review]:
        """How many changes have which answer."""
        return Counter(self.reviews.values())

    def found(self, number: int) -> Optional[Found]:
        """A change; None if it is gone."""
        feature = next(self._layer.getFeatures(QgsFeatureRequest(number)), None)
        if feature is None:
            return None
        return Found(
            number, Change(feature[KIND]), text_of(feature[REASON]), _review(feature), text_of(feature[DATE]),
            QgsGeometry(feature.geometry()),
        )  # fmt: skip

    def say(self, number: int, review: Review) -> None:
        """Save an answer; `Review.NONE` takes it back.

        Raises:
            OrthomaskError: it cannot be saved.
        """
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if review is not Review.NONE else ""
        fields, provider = self._layer.fields(), self._layer.dataProvider()
        values = {fields.lookupField(REVIEW): review.value, fields.lookupField(REVIEWED_AT): now}
        if provider.transaction() is not None or not provider.changeAttributeValues({number: values}):
            details = "\n".join(provider.errors())
            provider.clearErrors()
            sentence = tr("The file of {} cannot be written.").format(self._layer.name())
            remedy = tr("Close it in other programs, save or discard edits of the layer, then try again.")
            raise OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy, details)
        self.reviews[number] = review
        self._layer.dataChanged.emit()

    def step(self, number: Optional[int], by: int) -> Optional[int]:
        """The ID before or after one; without one, the first without an answer."""
        numbers = list(self.reviews)
        if number not in self.reviews:
            return next((each for each in numbers if self.reviews[each] is Review.NONE), next(iter(numbers), None))
        return numbers[(numbers.index(number) + by) % len(numbers)]

    def next_open(self, number: int) -> Optional[int]:
        """The next one without an answer, from the beginning again after the last; None if all have one."""
        numbers = list(self.reviews)
        place = numbers.index(number) + 1
        later = [*numbers[place:], *numbers[:place]]
        return next((each for each in later if self.reviews[each] is Review.NONE), None)


def _review(feature: QgsFeature) -> Review:
    said = text_of(feature[REVIEW])
    return Review(said) if said in [each.value for each in Review] else Review.NONE
