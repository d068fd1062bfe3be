"""The folder of a run: finished strips kept aside, results that appear only when complete, provenance.

Until everything is done, a run writes only to the hidden folder `.orthomask` inside its output folder; the results are
then moved to their final names one by one, `run.json` last. A strip counts once it has been renamed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...protocol import (
    UNCERTAINTY_FILE,
    ErrorCode,
    Existing,
    OrthomaskError,
    PredictRequest,
    PredictResult,
    from_json,
    to_json,
)
from ...protocol.words import tr
from .. import outputs
from ..compute.devices import precision_missing
from ..images.grid import Lattice, Selection, Window
from ..images.raster import Source
from ..models.bundle import Bundle
from ..outputs import LOCK, refuse_in_use, write_atomically, write_shared, writing
from ..progress import Progress
from .cogs import Band, Frame, class_band, encoded, move, vrt, write_cog
from .provenance import Processor, image_changed, provenance, raster_record, run_id, settings
from .pyramids import write_overviews

NODATA = 255
"""Outside the region or without data, in both rasters."""
SCALE = 254
"""A probability p is stored as round(p * SCALE)."""
WORK = ".orthomask"
"""Hidden folder of unfinished work, inside a run's folder."""
RESULTS = ("classes.tif", "probabilities.tif", "polygons.gpkg", "run.json")


@dataclass(frozen=True)
class Strip:
    """Finished rows: the first one's lattice row, and uint8 probabilities `(K, rows, width)` of the extent.

    Attributes:
        beyond: which pixels are outside the region `(rows, width)`; None if all results end with it.
    """

    index: int
    top: int
    probabilities: np.ndarray
    beyond: np.ndarray | None = None

    def classes(self, threshold: float) -> np.ndarray:
        """Class values `(rows, width)`, which end with the region."""
        values = classify(self.probabilities, threshold)
        if self.beyond is not None:
            values[self.beyond] = NODATA
        return values


class Part(NamedTuple):
    """Finished pixels on disk: the suffix of their files' names, and their position on the lattice."""

    name: str
    window: Window


class Paths(NamedTuple):
    """The results of a run, wherever they are at the moment."""

    classes: Path
    probabilities: Path
    polygons: Path
    run: Path


class Counted(NamedTuple):
    """Number and total area of the polygons of a run."""

    polygons: int
    area_m2: float


def classify(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Class values `(H, W)` of uint8 probabilities `(K, H, W)`: the likeliest class that reaches the threshold.

    0 is background; `NODATA` is kept.
    """
    best = probabilities[0] if len(probabilities) == 1 else probabilities.max(axis=0)
    value = np.uint8(1) if len(probabilities) == 1 else (probabilities.argmax(axis=0) + 1).astype(np.uint8)
    classes = np.where(best >= threshold * SCALE, value, np.uint8(0))
    classes[probabilities[0] == NODATA] = NODATA
    return classes


def claimed(output_dir: str) -> AbstractContextManager[None]:
    """Reserve a run's folder for this process. Its strips outlive the claim, however that ends.

    Raises:
        OrthomaskError: another process has it, or it cannot be written.
    """
    return outputs.claimed(Path(output_dir) / WORK, Path(output_dir))


def open_folder(request: PredictRequest, bundle: Bundle, stamp: str) -> tuple[RunFolder, PredictResult | None]:
    """The `claimed` folder for a run, and its result if exactly this run has already finished there.

    Args:
        stamp: of the image now.

    Raises:
        OrthomaskError: the folder holds other results.
    """
    folder = RunFolder(Path(request.output_dir), request, bundle, run_id(request, bundle))
    finished = folder.finished_result(stamp) if request.existing is Existing.RESUME else None
    if finished:
        folder.tidy()
        return folder, finished
    if request.existing is Existing.OVERWRITE:
        refuse_in_use(folder.final.polygons)
        if not folder.is_begun():
            folder.discard()
    else:
        folder.refuse_others()
    return folder, None


class RunFolder:
    """Where one run keeps its strips and, in the end, its results."""

    def __init__(self, path: Path, request: PredictRequest, bundle: Bundle, identity: str) -> None:
        self.request, self.run_id = request, identity
        self.threshold = request.threshold or bundle.card.threshold
        self.work = path / WORK
        self.final = Paths(*(path / name for name in RESULTS))
        self._staged = Paths(*(self.work / name for name in RESULTS))
        self.classes, self._model = bundle.card.classes, bundle.sha256
        self._state = self.work / "state.json"

    def begun_precision(self, possible: Collection[str], device: str) -> str:
        """The precision that the unfinished run in this folder began with and keeps; empty for a new run.

        Args:
            possible: the available precisions. If the run's is not among them, one to overwrite starts again.
            device: the device's name.

        Raises:
            OrthomaskError: the run began in another precision.
        """
        begun = str(self._read_state().get("precision", ""))
        if not begun or begun in possible:
            return begun
        if self.request.existing is not Existing.OVERWRITE:
            raise precision_missing(begun, device)
        self.discard()
        return ""

    def is_begun(self) -> bool:
        """Whether the unfinished run in this folder is this one."""
        return bool(self._read_state().get("run_id") == self.run_id)

    def begin(self, provenance: dict[str, Any], grid: str) -> None:
        """Record what the run needs to resume after a crash, and what lists of runs show until it has ended.

        Args:
            grid: how the image is resampled; empty if it is not.

        Raises:
            OrthomaskError: it began earlier, and the image or its resampling has changed since.
        """
        if self.is_begun():
            self.refuse_changed(provenance["source"]["stamp"])
            self._refuse_grid(grid)
        write_atomically(self._state, json.dumps({**provenance, "grid": grid}, ensure_ascii=False).encode())

    def _refuse_grid(self, grid: str) -> None:
        """Raise if strips of an older version are on another grid; a run to overwrite starts again."""
        if self._read_state().get("grid", "") == grid:
            return
        if self.request.existing is not Existing.OVERWRITE:
            raise OrthomaskError(
                ErrorCode.OUTPUT_EXISTS,
                tr("An older version of Orthomask began this run, and resampled the image in another way."),
                tr("Start again: choose another folder, or overwrite it."),
            )
        self.discard()

    def refuse_others(self) -> None:
        """Raise if the folder holds results, or an unfinished run with other settings."""
        existing = [path.name for path in self.final if path.exists()]
        begun = self._read_state().get("run_id", "" if existing else self.run_id)
        if begun == self.run_id and not self.final.run.exists():
            return  # empty, or this very run, perhaps killed while its results were moved
        if not existing and self._begun_on_another_image():
            raise image_changed(self.request.image)
        what = ", ".join(existing) or tr("an unfinished run with other settings")
        raise OrthomaskError(
            ErrorCode.OUTPUT_EXISTS,
            tr("The folder “{}” already contains {}.").format(self.work.parent, what),
            tr("Choose another folder, or overwrite it."),
        )

    def _begun_on_another_image(self) -> bool:
        """Whether the unfinished run differs from this one only in the state of the image."""
        state = self._read_state()
        try:
            begun = settings(from_json(PredictRequest, state["request"]), state["model"]["sha256"])
        except (OrthomaskError, KeyError, TypeError):
            return False
        return begun == settings(self.request, self._model)

    def refuse_changed(self, stamp: str) -> None:
        """Raise if the image has changed since the run began, and discard the strips, which are then useless.

        Args:
            stamp: of the image now.

        Raises:
            OrthomaskError: it has changed.
        """
        if self._read_state().get("source", {}).get("stamp", stamp) != stamp:
            self.discard()
            raise image_changed(self.request.image)

    def finished_result(self, stamp: str) -> PredictResult | None:
        """The result in the folder, if it is this run's, of the current image."""
        try:
            record = json.loads(self.final.run.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        same = record.get("run_id") == self.run_id and record.get("source", {}).get("stamp", stamp) == stamp
        return from_json(PredictResult, record["result"]) if same else None

    def discard(self) -> None:
        """Remove unfinished work: strips before their run's record, lest another run take them.

        Raises:
            OrthomaskError: another program has one of the files open.
        """
        with writing(self.work):
            for path in self.work.iterdir() if self.work.exists() else ():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in (LOCK, self._state.name):
                    path.unlink()
            self._state.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove the strips of a finished run, as far as possible."""
        with suppress(OrthomaskError):
            self.discard()

    def finished_strips(self) -> int:
        """How many strips, counted from the first, are on disk."""
        count = 0
        while self._strip(count, "classes").exists():
            count += 1
        return count

    def write(self, strip: Strip) -> None:
        """Store a strip; it counts once its classes exist."""
        height = strip.probabilities.shape[1]
        classes = strip.classes(self.threshold)
        write_atomically(self._strip(strip.index, "probabilities"), encoded(strip.probabilities))
        if (classes != NODATA).any():
            write_atomically(self.work / "data", b"")
        write_atomically(self._strip(strip.index, "rows"), f"{strip.top} {height}".encode())
        write_atomically(self._strip(strip.index, "classes"), encoded(classes[None]))

    def has_data(self) -> bool:
        """Whether any pixel of any strip was predicted."""
        return (self.work / "data").exists()

    def strips(self, selection: Selection) -> list[Part]:
        """The finished strips of a run."""
        extent, parts = selection.extent, []
        for index in range(self.finished_strips()):
            top, height = map(int, self._strip(index, "rows").read_text().split())
            parts.append(Part(f"{index:06d}", Window(extent.x, top, extent.width, height)))
        return [part for part in parts if part.window.height]

    def block(self, window: Window) -> Part:
        """A block of a run, finished or not. Its name differs from any other run's, in case a worker is late."""
        return Part("-".join(map(str, (self.run_id, *window))), window)

    def is_finished(self, block: Part) -> bool:
        """Whether a block is on disk, or known to hold no data."""
        return self._done(block).exists()

    def write_block(self, block: Part, probabilities: np.ndarray, classes: np.ndarray) -> None:
        """Store a block, `(K, H, W)` and `(H, W)`; it counts once its marker exists. Two workers may both write it."""
        filled = bool((probabilities != NODATA).any())
        if filled:  # in tiles: a COG is built from squares, and reads each of them once
            write_shared(self.part(block.name, "probabilities"), encoded(probabilities, tiled=True))
            write_shared(self.part(block.name, "classes"), encoded(classes[None], tiled=True))
        if (classes != NODATA).any():
            write_shared(self.work / "data", b"")
        write_shared(self._done(block), b"data" if filled else b"")

    def filled(self, blocks: Sequence[Part]) -> list[Part]:
        """Those of the finished blocks that hold data."""
        return [block for block in blocks if self._done(block).read_bytes()]

    def write_rasters(self, lattice: Lattice, selection: Selection, parts: Sequence[Part], progress: Progress) -> Paths:
        """Join the parts into two Cloud Optimized GeoTIFFs, in parallel, still in the hidden folder."""
        extent = selection.extent
        scaled = f"<Offset>0</Offset><Scale>{1 / SCALE!r}</Scale>"
        probabilities = [f"<Description>{escape(info.name)}</Description>{scaled}" for info in self.classes]
        transform = lattice.transform @ lattice.transform.translation(extent.x, extent.y)
        frame = Frame(extent.width, extent.height, lattice.crs, transform)
        record = json.dumps(raster_record(self.request, self.run_id, self.classes, selection))
        placed = [part._replace(window=_moved(part.window, extent)) for part in parts]
        with ThreadPoolExecutor(1) as beside:
            classes = [class_band(self.classes)]
            other = beside.submit(self._write_cog, "classes", classes, "mode", frame, placed, record, progress.quiet())
            self._write_cog("probabilities", probabilities, "average", frame, placed, record, progress)
        other.result()
        return self._staged

    def _write_cog(
        self, kind: str, about: list[str], resampling: str, frame: Frame, parts: Sequence[Part], record: str,
        progress: Progress,
    ) -> None:  # fmt: skip
        mosaic = self.work / f"{kind}.vrt"
        bands = [Band("uint8", NODATA, band, resampling) for band in about]
        write_atomically(mosaic, self._mosaic(kind, bands, frame, parts, record, [""] * len(bands)))
        overviews = write_overviews(mosaic, frame, bands, progress.part(0, 0.5))
        write_atomically(mosaic, self._mosaic(kind, bands, frame, parts, record, overviews))
        write_cog(mosaic, self.work / f"{kind}.tif", resampling, progress.part(0.5, 1))

    def _mosaic(
        self, kind: str, bands: Sequence[Band], frame: Frame, parts: Sequence[Part], record: str,
        overviews: Sequence[str],
    ) -> bytes:  # fmt: skip
        """A VRT of all parts, with each band's description and overviews."""
        sources = [
            f"<SimpleSource><SourceFilename relativeToVRT='1'>{self.part(name, kind).name}</SourceFilename>"
            f"<SourceBand>%d</SourceBand><SrcRect xOff='0' yOff='0' xSize='{at.width}' ySize='{at.height}'/>"
            f"<DstRect xOff='{at.x}' yOff='{at.y}' xSize='{at.width}' ySize='{at.height}'/></SimpleSource>"
            for name, at in parts
        ]
        drawn = [
            (band, smaller + "".join(source % number for source in sources))
            for number, (band, smaller) in enumerate(zip(bands, overviews), 1)
        ]
        return vrt(frame, drawn, record).encode()

    def provenance(self, bundle: Bundle, source: Source, processor: Processor) -> dict[str, Any]:
        """Everything needed to trace and reproduce the results."""
        about = provenance(self.request, bundle, source, processor)
        return {"run_id": self.run_id, "threshold": self.threshold, **about}

    def commit(
        self, provenance: dict[str, Any], counted: Counted, device: str, seconds: float, warnings: tuple[str, ...]
    ) -> PredictResult:
        """Move the results to their final names, the record of the run last, and drop the strips."""
        result = PredictResult(
            self.run_id, str(self.final.classes), str(self.final.probabilities), str(self.final.polygons),
            counted.polygons, counted.area_m2, device, round(seconds, 2), warnings,
        )  # fmt: skip
        record = json.dumps({**provenance, "result": to_json(result)}, indent=1, ensure_ascii=False)
        write_atomically(self._staged.run, record.encode())
        refuse_in_use(self.final.polygons)
        with writing(self.work.parent):
            self.final.run.unlink(missing_ok=True)
            (self.work.parent / UNCERTAINTY_FILE).unlink(missing_ok=True)  # of the run that was here
            for staged, final in zip(self._staged, self.final):
                move(staged, final)
        self.tidy()
        return result

    def _strip(self, index: int, kind: str) -> Path:
        name = f"{index:06d}"
        return self.work / f"rows-{name}.txt" if kind == "rows" else self.part(name, kind)

    def part(self, name: str, kind: str) -> Path:
        """The file with the `probabilities` or the `classes` of a part."""
        return self.work / f"{kind}-{name}.tif"

    def _done(self, block: Part) -> Path:
        return self.work / f"done-{block.name}.txt"

    def _read_state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
            return state
        except (OSError, ValueError):
            return {}


def _moved(window: Window, origin: Window) -> Window:
    return window._replace(x=window.x - origin.x, y=window.y - origin.y)
