"""Progress of a set-up: read from pip's output, reported in megabytes."""

from __future__ import annotations

import re
from typing import Protocol

_STEP = re.compile(r"Progress (\d+) of (\d+)$")
_BEGIN = re.compile(r"\s*(?:Downloading|Collecting) (\S+)")
_WHEEL = re.compile(r"([^-]+)-([^-]+)-.*\.whl")
_LOCAL = re.compile(r"Processing (\S+)")


class Watcher(Protocol):
    """Watches a set-up: the task in QGIS, or a test."""

    def isCanceled(self) -> bool:
        """Whether the user cancelled."""

    def step(self, fraction: float, message: str) -> None:
        """Progress (0 to 1), and what is being done."""

    def log(self, line: str) -> None:
        """A line of the log."""


class Downloads:
    """Counts what pip fetches, from its output with `--progress-bar raw`.

    Args:
        expected_mb: approximate download.
        packages: number of packages, for those installed from a folder.
        there_mb: fetched by an earlier try.
    """

    def __init__(self, expected_mb: float, packages: int, there_mb: float = 0.0) -> None:
        self.installing = False
        self._expected_mb, self._packages = expected_mb, packages
        self._finished_bytes, self._present_bytes, self._found = there_mb * 1e6, 0, 0
        self._name = ""

    @property
    def done_mb(self) -> float:
        """Megabytes fetched so far."""
        return (self._finished_bytes + self._present_bytes) / 1e6

    @property
    def fraction(self) -> float:
        """Fraction done, 0 to 1; local packages count by their number."""
        by_bytes = self.done_mb / max(self.done_mb, self._expected_mb, 1e-6)
        return max(by_bytes, min(1.0, self._found / max(self._packages, 1)))

    @property
    def name(self) -> str:
        """The current file or package."""
        return self._name

    def read(self, line: str) -> bool:
        """Read a line; True if it only reports progress and need not be logged."""
        step = _STEP.match(line)
        if step:
            self._present_bytes = int(step[1])
            if step[1] == step[2]:
                self._finished_bytes, self._present_bytes = self._finished_bytes + int(step[2]), 0
            return True
        local = _LOCAL.match(line)
        self._found += local is not None
        named = local or _BEGIN.match(line)
        if named:
            self._name = _WHEEL.sub(r"\1 \2", re.split(r"[/\\]", named[1])[-1])
        self.installing = self.installing or line.startswith("Installing collected packages")
        return False
