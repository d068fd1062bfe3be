"""Two stages under one progress bar: the engine's input is written, then the engine works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...protocol import to_json
from ..toolkit.words import in_digits, tr
from .engine_client import Feedback


class Stage:
    """Part of a feedback's progress, from `first` to `last` percent.

    Attributes:
        reached: percent of the total.
    """

    def __init__(self, feedback: Feedback, first: float, last: float) -> None:
        self._feedback, self._first, self._last = feedback, first, last
        self.reached = first

    def setProgress(self, percent: float) -> None:
        """Show this stage's progress."""
        self.reached = self._first + (self._last - self._first) * percent / 100
        self._feedback.setProgress(self.reached)

    def setProgressText(self, text: str) -> None:
        """Show what is being done."""
        self._feedback.setProgressText(text)

    def isCanceled(self) -> bool:
        """Whether the user cancelled."""
        return bool(self._feedback.isCanceled())


def told(request: object, result: Any) -> Any:
    """The result, with a warning for each picture in the request that has missing parts."""
    warnings = picture_warnings(request)
    return (
        replace(result, warnings=(*warnings, *result.warnings)) if warnings and hasattr(result, "warnings") else result
    )


def picture_warnings(request: object) -> tuple[str, ...]:
    """A sentence for each picture in the request that has missing parts."""
    words = tr("{} of {} tiles of {} are missing or empty: their pixels are unknown.")
    return tuple(
        words.format(in_digits(rendered["missing"]), in_digits(rendered["tiles"]), rendered["name"])
        for rendered in _rendered(to_json(request))
        if rendered["missing"]
    )


def _rendered(value: object) -> Iterator[dict[str, Any]]:
    """The records of pictures anywhere in a request."""
    if isinstance(value, dict):
        if isinstance(value.get("rendered"), dict):
            yield value["rendered"]
        for item in value.values():
            yield from _rendered(item)
    elif isinstance(value, list):
        for item in value:
            yield from _rendered(item)
