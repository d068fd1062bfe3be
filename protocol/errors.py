"""Errors that a user can act on, and the checks that raise them."""

from __future__ import annotations

import enum
from typing import Optional

from .words import tr


class ErrorCode(str, enum.Enum):
    """What went wrong, for programs; the sentence is for users."""

    BAD_REQUEST = "bad_request"
    CANCELLED = "cancelled"
    INTERNAL = "internal"
    ENGINE_MISSING = "engine_missing"
    ENGINE_DIED = "engine_died"
    ENGINE_SETUP = "engine_setup"
    ENGINE_PART = "engine_part"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_CHANGED = "image_changed"
    IMAGE_BANDS = "image_bands"
    IMAGE_SECOND = "image_second"
    IMAGE_TYPE = "image_type"
    IMAGE_CRS = "image_crs"
    IMAGE_EMPTY = "image_empty"
    IMAGE_GSD = "image_gsd"
    REGION_UNREADABLE = "region_unreadable"
    REGION_EMPTY = "region_empty"
    REGION_OUTSIDE = "region_outside"
    REGION_CRS = "region_crs"
    BUNDLE_UNREADABLE = "bundle_unreadable"
    BUNDLE_UNSAFE = "bundle_unsafe"
    BUNDLE_NEWER = "bundle_newer"
    LABELS_UNREADABLE = "labels_unreadable"
    LABELS_EMPTY = "labels_empty"
    LABELS_OUTSIDE = "labels_outside"
    LABELS_CRS = "labels_crs"
    LABELS_CLASSES = "labels_classes"
    LABELS_SIZE = "labels_size"
    AREAS_EMPTY = "areas_empty"
    CHIPS_EMPTY = "chips_empty"
    TRAINING_DATA = "training_data"
    TRAINING_DIVERGED = "training_diverged"
    OUTPUT_EXISTS = "output_exists"
    OUTPUT_UNWRITABLE = "output_unwritable"
    OUTPUT_IN_USE = "output_in_use"
    DISK_FULL = "disk_full"
    OUT_OF_MEMORY = "out_of_memory"
    PRECISION = "precision"
    SHIFT = "shift"
    NETWORK = "network"
    SERVER = "server"


class OrthomaskError(Exception):
    """An error that a user can act on.

    Args:
        code: the kind of error, for programs.
        sentence: one sentence that says what is wrong.
        remedy: one sentence that says what to do about it.
        details: anything more, for the log.
    """

    def __init__(self, code: ErrorCode, sentence: str, remedy: str, details: str = "") -> None:
        super().__init__(f"{sentence} {remedy}")
        self.code = code
        self.sentence = sentence
        self.remedy = remedy
        self.details = details

    def to_json(self) -> dict[str, str]:
        """The error as JSON-RPC's `error.data`."""
        return {"code": self.code.value, "sentence": self.sentence, "remedy": self.remedy, "details": self.details}

    @classmethod
    def from_json(cls, data: dict[str, str]) -> OrthomaskError:
        """The error that `to_json` wrote."""
        return cls(ErrorCode(data["code"]), data["sentence"], data["remedy"], data["details"])


class Cancelled(OrthomaskError):  # noqa: N818 (it is no error of the program)
    """Raised inside a capability when the user cancels it."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.CANCELLED, tr("Cancelled."), tr("You can run it again at any time."))


def require(condition: bool, sentence: str, remedy: str) -> None:
    """Raise a `BAD_REQUEST` unless the condition holds."""
    if not condition:
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)


def require_threshold(threshold: Optional[float]) -> None:
    """Raise unless it is None or a probability."""
    inside = threshold is None or 0 < threshold < 1
    require(inside, tr("The threshold {} is not a probability.").format(threshold), tr("Use a number between 0 and 1."))
