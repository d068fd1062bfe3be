"""Reading the blocks of a picture from services that may be slow, fail or lie.

What does not come is asked for again; what still does not is counted, and left transparent.
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
"""Retries in vain, one after the other, before what does not come is no longer asked for again."""
HOPELESS = 256
"""So many squares from the first one on without a picture: there is none to be expected."""
MOST_ABSENT = 0.5
POLL_SECONDS = 0.05
COLOR_BANDS = 4
PROBES = (32, 96, 160, 224)
"""Columns of a square that are looked at closely."""
VARIED, STRAIGHT = 24, 0.85
"""Values of a stretched picture span more than the first, and this part of them lies in line with its neighbours."""


class Read(NamedTuple):
    """A block, and how many of its squares did not come, or came without a picture."""

    bands: list[bytes]
    absent: int
    blank: int


class BlockReader:
    """Reads blocks one by one, in a context and a thread of its own.

    Args:
        total: squares that will be read.
        feedback: tells when to stop; a block that is under way stops too.
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
        """Squares of which nothing is known."""
        return self._absent + self._blank

    def read(self, block: Block) -> list[bytes]:
        """The bands of a block; one of four bytes a pixel where it is a picture.

        Raises:
            Cancelled: the feedback was cancelled.
            OrthomaskError: so much is missing that there is no point in going on.
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
        """The picture, transparent where it shows none, and how much that is of what is needed."""
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
        """End the block that is under way as soon as the person wants it; in a thread of its own."""
        while not self._ended.wait(POLL_SECONDS):
            if self._feedback.isCanceled():
                self._block_feedback.cancel()
                return


def _rows(width_px: int, x: int, y: int) -> list[slice]:
    """Where the rows of a square lie in a picture."""
    starts = (((y + row) * width_px + x) * COLOR_BANDS for row in range(CELL_PX))
    return [slice(start, start + CELL_PX * COLOR_BANDS) for start in starts]


def _is_blank(picture: bytearray, rows: list[slice]) -> bool:
    """Whether it is no photograph: of one colour, or a picture of a few pixels stretched to the size of a square.

    Services that have nothing to show send such things. Rows that repeat the one before are a plain colour or pixels
    drawn large; values that vary, but almost everywhere along straight lines, are pixels drawn large and smooth.
    """
    if sum(picture[row] == picture[before] for before, row in zip(rows, rows[1:])) >= CELL_PX // 2:
        return True
    greens = [[picture[row.start + COLOR_BANDS * x + 1] for row in rows] for x in PROBES]
    spread = max(map(max, greens)) - min(map(min, greens))
    straight = sum(abs(a - 2 * b + c) <= 1 for line in greens for a, b, c in zip(line, line[1:], line[2:]))
    return bool(spread > VARIED and straight > STRAIGHT * len(PROBES) * CELL_PX)
