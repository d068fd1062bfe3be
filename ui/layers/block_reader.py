"""Reads the blocks of a picture from services that may be slow, fail or lie.

Missing blocks are requested again; what is still missing is counted and left transparent.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import NamedTuple, Optional

from qgis.core import QgsRasterBlockFeedback

from ...protocol import Cancelled, ErrorCode, OrthomaskError
from ..client.engine_client import Feedback
from ..toolkit.words import in_digits, tr
from .picture_grid import Block, Grid
from .pixels import CELL_PX, INSET, Pixels

RETRIES, PAUSE_SECONDS = 2, 0.5
PATIENCE = 8
"""Consecutive blocks whose retries fail before retries stop."""
HOPELESS = 256
"""Reading ends if this many squares from the first on are all missing."""
MOST_ABSENT = 0.5
POLL_SECONDS = 0.05
COLOR_BANDS = 4
PROBES = (32, 96, 160, 224)
"""Columns of a square that are examined."""
VARIED, STRAIGHT = 24, 0.85
"""A stretched picture's values span more than the first; more than this share lie in line with their neighbours."""


class Read(NamedTuple):
    """A block, and how many of its squares are absent or blank."""

    bands: list[bytes]
    absent: int
    blank: int


class BlockReader:
    """Reads blocks one by one, as a context manager with a watcher thread.

    Args:
        total: squares to read.
        feedback: says when to stop, even within a block.
    """

    def __init__(self, pixels: Pixels, grid: Grid, total: int, feedback: Feedback) -> None:
        self._pixels, self._grid, self._total, self._feedback = pixels, grid, total, feedback
        self._block_feedback = QgsRasterBlockFeedback()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._in_vain = self._absent = self._blank = 0
        self.done = 0

    def __enter__(self) -> BlockReader:
        self._watcher.start()
        return self

    def __exit__(self, kind: Optional[type], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self._ended.set()
        self._watcher.join()

    @property
    def missing(self) -> int:
        """Squares without data."""
        return self._absent + self._blank

    def read(self, block: Block) -> list[bytes]:
        """The bands of a block; for pictures, one with four bytes a pixel.

        Raises:
            Cancelled: the feedback was cancelled.
            OrthomaskError: too much is missing to continue.
        """
        found = self._read(block)
        for retry in range(RETRIES if self._in_vain < PATIENCE else 0):
            if not found.absent:
                break
            self._wait(PAUSE_SECONDS * 2**retry)
            found = self._read(block)
        self._in_vain = self._in_vain + 1 if found.absent else 0
        self._absent, self._blank = self._absent + found.absent, self._blank + found.blank
        self.done += len(block.cells)
        self._require_enough()
        return found.bands

    def _read(self, block: Block) -> Read:
        box = self._grid.box(*block[:4])
        inset_x, inset_y = (size * INSET for size in self._grid.step)
        box.set(box.xMinimum() + inset_x, box.yMinimum() + inset_y, box.xMaximum() - inset_x, box.yMaximum() - inset_y)
        width, height = block.columns * CELL_PX, block.rows * CELL_PX
        bands = self._pixels.read(box, width, height, self._block_feedback)
        if self._feedback.isCanceled():
            raise Cancelled
        if self._pixels.color:
            return self._without_holes(block, bytearray(bands[0] or width * height * COLOR_BANDS))
        came = any(band != self._pixels.nothing(width, height) for band in bands)
        return Read(bands, 0 if came else len(block.cells), 0)

    def _without_holes(self, block: Block, picture: bytearray) -> Read:
        """The picture, transparent where blank, and how many needed squares are absent or blank."""
        absent = blank = 0
        for row in range(block.rows):
            for column in range(block.columns):
                needed = (block.column + column, block.row + row) in block.cells
                rows = _rows(block.columns * CELL_PX, column * CELL_PX, row * CELL_PX)
                if not any(any(picture[part][COLOR_BANDS - 1 :: COLOR_BANDS]) for part in rows):
                    absent += needed
                elif self._pixels.photographic and _is_blank(picture, rows):
                    blank += needed
                    for part in rows:
                        picture[part] = bytes(CELL_PX * COLOR_BANDS)
        return Read([bytes(picture)], absent, blank)

    def _require_enough(self) -> None:
        hopeless = self.missing == self.done >= min(HOPELESS, self._total)
        if not hopeless and self._absent <= MOST_ABSENT * self._total:
            return
        sentence = tr("The service {} did not deliver {} of {} tiles.").format(
            self._pixels.name, in_digits(self.missing), in_digits(self.done)
        )
        remedy = tr("Check that it can be reached and covers this place at that resolution, and try again later.")
        raise OrthomaskError(ErrorCode.IMAGE_EMPTY, sentence, remedy, self._pixels.source)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._feedback.isCanceled():
                raise Cancelled
            time.sleep(POLL_SECONDS)

    def _watch(self) -> None:
        """Stop the current block as soon as the user cancels; in its own thread."""
        while not self._ended.wait(POLL_SECONDS):
            if self._feedback.isCanceled():
                self._block_feedback.cancel()
                return


def _rows(width_px: int, x: int, y: int) -> list[slice]:
    """The slices of a picture for a square's rows."""
    starts = (((y + row) * width_px + x) * COLOR_BANDS for row in range(CELL_PX))
    return [slice(start, start + CELL_PX * COLOR_BANDS) for start in starts]


def _is_blank(picture: bytearray, rows: list[slice]) -> bool:
    """Whether a square is blank: of one colour, or a few pixels stretched to its size.

    Services without data send such squares. Rows that repeat the one before are a plain colour or pixels
    enlarged; values that vary, but almost everywhere along straight lines, are pixels enlarged smoothly.
    """
    if sum(picture[row] == picture[before] for before, row in zip(rows, rows[1:])) >= CELL_PX // 2:
        return True
    greens = [[picture[row.start + COLOR_BANDS * x + 1] for row in rows] for x in PROBES]
    spread = max(map(max, greens)) - min(map(min, greens))
    straight = sum(abs(a - 2 * b + c) <= 1 for line in greens for a, b, c in zip(line, line[1:], line[2:]))
    return bool(spread > VARIED and straight > STRAIGHT * len(PROBES) * CELL_PX)
