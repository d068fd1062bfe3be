"""Evaluate a model against labels: pixel and object scores, areas, and maps of its errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from ...engine.compute import devices
from ...engine.models import bundle as bundles
from ...engine.models.bundle import Bundle
from ...engine.outputs import building, refuse_in_use, write_atomically
from ...engine.progress import Progress
from ...engine.shapes.vector_files import choose_layer, fields_of
from ...protocol import (
    SPECK_PX,
    Diagnosis,
    ErrorCode,
    EvaluateRequest,
    EvaluateResult,
    Existing,
    LabelledData,
    OrthomaskError,
    Split,
    to_json,
)
from ...protocol.words import tr
from ..chips.manifest import load_manifest
from ..chips.pictures import Tile, read_chips, read_pictures
from ..data.material import rooted
from . import scores
from .area_estimate import SAMPLE, estimate, map_areas
from .calibration import Histogram
from .comparison import PIECE_PX, Ground, open_ground, open_tile
from .diagnosis import Sample, diagnose
from .error_layers import ObjectLayer, open_errors
from .fitting import fit_chips, fit_data, notes, translated
from .objects import object_scores
from .report import render
from .tally import Tally

RECORD, REPORT, OBJECTS = "evaluation.json", "report.html", "objects.gpkg"
FEW_AREAS = 10
"""With fewer areas than this, the interval of the area estimate is unreliable."""
NO_SHARE = 1e-3
"""Of a map: less than this is none."""


def run(request: EvaluateRequest, progress: Progress) -> EvaluateResult:
    """Predict the labelled areas, compare, and write `report.html`, `evaluation.json` and error layers.

    The predictions are those of a run: the same windows, blended. The folder appears once it is complete.

    Raises:
        OrthomaskError: the model does not suit the images, nothing is labelled for the requested split, or the output
            exists or cannot be written.
    """
    started = time.monotonic()
    bundle, final = bundles.load(request.model), Path(request.output_dir)
    request = replace(request, data=fit_data(rooted(request.data), bundle.card.classes))
    with building(final, keep=_is_foreign) as folder:
        _refuse(final, request.existing)
        evaluation = _Evaluation(request, bundle, folder, progress)
        evaluation.compare(progress.part(0.05, 0.4 if request.diagnosis else 0.95))
        if request.diagnosis:
            evaluation.diagnose(progress.part(0.4, 0.95))
        result = replace(evaluation.result(), seconds=round(time.monotonic() - started, 2))
        evaluation.write(result)
        refuse_in_use(final / OBJECTS)
    progress.show(1, tr("Done"))
    return result


class _Evaluation:
    """An evaluation in progress, in a temporary folder."""

    def __init__(self, request: EvaluateRequest, bundle: Bundle, folder: Path, progress: Progress) -> None:
        self._request, self._bundle, self._folder = request, bundle, folder
        self._device = devices.suited(bundle, request.device)
        self._mapped_m2 = None
        if request.map_path:
            self._mapped_m2 = map_areas(Path(request.map_path), bundle.card.classes, progress.part(0, 0.04))
        progress.report(0.04, tr("Preparing the model"))
        self._predictor = devices.prepare(bundle, self._device)
        self._threshold = request.threshold or bundle.card.threshold
        self._tally = Tally(bundle.card.classes, Path(request.map_path) if request.map_path else None)
        self._tuning = Histogram.empty()
        self._objects = ObjectLayer(folder / OBJECTS, bundle.card.classes)
        self._rasters: list[str] = []
        self._warnings: list[str] = []
        self._sample = Sample()
        self._diagnosis: Diagnosis | None = None

    def compare(self, progress: Progress) -> None:
        """Predict and count everything that is labelled; with a test also the validation areas, for the threshold."""
        images = self._request.data.projects
        share = len(images) / (len(images) + bool(self._request.data.pictures or self._request.data.chips))
        for index, image in enumerate(images):
            part = progress.part(share * index / len(images), share * (index + 1) / len(images))
            for labels in image.labels:
                self._warnings += notes(labels.mapping, self._bundle.card.classes)
            with open_ground(image, self._request) as ground:
                tuning = ground.of(Split.VALIDATION) if self._tunes else replace(ground, areas=())
                counted = len(ground.areas) / max(1, len(ground.areas) + len(tuning.areas))
                if ground.areas:
                    self._sample.offer(partial(open_ground, image, self._request))
                self._add(ground, part.part(0, counted))
                self._tune(tuning, part.part(counted, 1))
        for number, (tile, bands) in enumerate(self._tiles(), start=1):
            done = share + (1 - share) * number / (number + 20)  # their number is unknown
            progress.report(done, tr("Image {}: {}").format(number, tile.name))
            with open_tile(tile, bands, self._request) as ground:
                counts = tile.split is self._request.split
                if counts and self._request.diagnosis:
                    self._sample.offer(partial(open_tile, tile, bands, self._request))
                add = self._add if counts else self._tune
                add(ground, progress.part(done, done))
        if not self._tally.confusion.sum():
            raise _nothing(self._request)

    def diagnose(self, progress: Progress) -> None:
        """Measure on a sample what the model depends on."""
        self._diagnosis = diagnose(self._sample, self._bundle, self._predictor, self._threshold, progress)

    @property
    def _tunes(self) -> bool:
        """Whether validation areas choose the best threshold, so that the score of the others stays honest."""
        return self._request.split is Split.TEST

    def _tiles(self) -> Iterator[tuple[Tile, tuple[str, ...]]]:
        """The pictures of the requested split and for tuning, each with the names of its bands."""
        data, classes = self._request.data, self._bundle.card.classes
        splits = {self._request.split, *([Split.VALIDATION] if self._tunes else [])}
        for pictures in data.pictures:
            tiles = read_pictures(pictures, data.root, self._warnings.append)
            yield from ((tile, tile.bands) for tile in tiles if tile.split in splits)
        for chips in data.chips:
            manifest = load_manifest(Path(data.root, chips.path))
            mapping = fit_chips(manifest.classes, classes)
            self._warnings += notes(mapping, classes)
            for tile in read_chips(chips, data.root):
                if tile.split in splits:
                    yield tile._replace(mask=translated(tile.mask, mapping)), manifest.bands

    def _add(self, ground: Ground, progress: Progress) -> None:
        pieces = ground.compare(self._predictor, self._threshold, progress.part(0, 0.95))
        if not ground.georeferenced:
            for piece in pieces:
                self._tally.add(ground, piece)
            return
        self._warnings += [*ground.plan.warnings, *ground.truth.warnings]
        if not ground.areas:
            return
        self._rasters.append(f"errors-{len(self._rasters) + 1}.tif" if self._rasters else "errors.tif")
        with open_errors(self._folder / self._rasters[-1], ground, progress.part(0.95, 1)) as raster:
            for piece in pieces:
                raster.write(piece)
                self._objects.write(ground, piece, self._tally.add(ground, piece))

    def _tune(self, ground: Ground, progress: Progress) -> None:
        for piece in ground.compare(self._predictor, self._threshold, progress):
            self._tuning.add(piece.probabilities, piece.truth)

    def result(self) -> EvaluateResult:
        """All scores."""
        tally, final = self._tally, Path(self._request.output_dir)
        tuned = bool(self._tuning.found[:, 1].any())
        best = (self._tuning if tuned else tally.histogram).best()
        mapped = tally.mapped_m2 if self._mapped_m2 is None else self._mapped_m2
        classes = ("background", *tally.names)
        return EvaluateResult(
            report_path=str(final / REPORT),
            json_path=str(final / RECORD),
            classes=classes,
            confusion=tuple(map(tuple, tally.confusion.tolist())),
            accuracy=scores.accuracy(tally.confusion),
            kappa=scores.kappa(tally.confusion),
            pixels=scores.pixel_scores(tally.confusion, tally.names),
            places=tally.places(),
            objects=object_scores(tally.matches, tally.names),
            areas=estimate(tally.sample.counts(), mapped, classes, tally.labelled_m2)[1:],
            threshold=self._threshold,
            best_threshold=round(best.threshold, 3),
            best_iou=tally.histogram.at(best.threshold).iou,
            tuned_on=Split.VALIDATION if tuned else self._request.split,
            calibration_error=tally.histogram.error(),
            errors_path=str(final / self._rasters[0]) if self._rasters else "",
            objects_path=str(final / OBJECTS) if self._rasters else "",
            warnings=tuple(dict.fromkeys([*self._warnings, *self._doubts()])),
            diagnosis=self._diagnosis,
        )

    def _doubts(self) -> Iterator[str]:
        """Warnings about what limits the scores."""
        confusion, counts = self._tally.confusion, self._tally.sample.counts()
        if not confusion[1:].sum():
            yield tr("No objects are labelled here, so IoU, precision and recall mean nothing.")
        areas = len(self._tally.areas())
        if areas == 1:
            yield tr(
                "Everything was measured in one area, which says nothing about how scores differ from place to place: "
                "label more areas."
            )
        if self._mapped_m2 is None:
            return
        unlabelled = 1 - scores.ratio(self._tally.labelled_m2.sum(), self._mapped_m2.sum())
        if areas < FEW_AREAS and unlabelled > NO_SHARE:
            yield (
                tr(
                    "There are only {} labelled areas: unless they represent the whole map well, the confidence "
                    "interval of the area estimate is too narrow."
                ).format(areas)
            )
        for name, count in zip(("background", *self._tally.names), counts.sum(axis=1)):
            if not count:
                yield tr(
                    "The labelled areas contain no pixel mapped as {}: its mapped area was used without correction."
                ).format(name)
        yield from _other_run(Path(self._request.map_path), self._bundle, self._threshold)

    def write(self, result: EvaluateResult) -> None:
        """Write report and record."""
        about = self._about()
        report = render(result, self._bundle, self._tally, about)
        write_atomically(self._folder / REPORT, report.encode())
        histogram = self._tally.histogram
        record = {
            **to_json(result),
            "sweep": [row._asdict() for row in histogram.sweep()],
            "reliability": [row._asdict() for row in histogram.reliability()],
            "areas_scored": [
                {"place": row.place, **to_json(row.scores), "true": row.true, "wrong": row.wrong}
                for row in self._tally.areas()
            ],
            "model": {
                "name": self._bundle.card.name, "title": self._bundle.card.title, "sha256": self._bundle.sha256,
            },
            "request": to_json(self._request),
            **{key: about[key] for key in ("time", "version", "device")},
        }  # fmt: skip
        write_atomically(self._folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False).encode())

    def _about(self) -> dict[str, Any]:
        known = int(self._tally.confusion.sum())
        areas = len(self._tally.areas())
        mapped = Path(self._request.map_path)
        return {
            "data": f"Measured on {areas} {self._request.split.value} {'area' if areas == 1 else 'areas'}, "
            f"{known / 1e6:,.2f} million labelled pixels",
            "mapped": f"Of the map {mapped.parent.name}/{mapped.name}." if self._request.map_path
            else "Of the labelled areas, where the truth is counted; give the map of a run to estimate its areas.",
            "sources": _sources(self._request.data),
            "split": self._request.split.value,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "version": devices.version(),
            "device": self._device.words,
            "speck_px": SPECK_PX,
            "piece_px": PIECE_PX,
            "sample": SAMPLE,
        }  # fmt: skip


def _sources(data: LabelledData) -> dict[str, list[str]]:
    """Names of the evaluated files and folders, by kind."""
    sources: dict[str, list[str]] = {
        "images": [Path(image.image.path).name for image in data.projects],
        "labels": [Path(labels.path).name for image in data.projects for labels in image.labels],
        "areas": [Path(image.areas.path).name for image in data.projects if image.areas],
        "pictures": [pictures.images for pictures in data.pictures],
        "chips": [chips.path for chips in data.chips],
    }
    return {kind: list(dict.fromkeys(names)) for kind, names in sources.items()}


def _nothing(request: EvaluateRequest) -> OrthomaskError:
    split = request.split.value
    for areas in (image.areas for image in request.data.projects if image.areas):
        layer = choose_layer(areas.path, areas.layer, "areas")
        if areas.split_field not in fields_of(areas.path, layer):
            sentence = tr("The areas have no attribute “{}”, so all of them are for training.").format(
                areas.split_field
            )
            remedy = tr("Add it, with the value “{}” for the areas to evaluate on.").format(split)
            return OrthomaskError(ErrorCode.AREAS_EMPTY, sentence, remedy)
    return OrthomaskError(
        ErrorCode.AREAS_EMPTY,
        tr("Nothing is labelled for {}.").format(split),
        tr("Set the split of areas on the image to “{}”, or evaluate another split.").format(split),
    )


def _other_run(map_path: Path, bundle: Bundle, threshold: float) -> Iterator[str]:
    """A warning if the map was made with another model or threshold."""
    try:
        record = json.loads(map_path.with_name("run.json").read_text(encoding="utf-8"))
        made = (record["model"]["sha256"], record["threshold"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if made != (bundle.sha256, threshold):
        yield tr("The map was made with another model or threshold, so its errors may differ from these.")


def _refuse(final: Path, existing: Existing) -> None:
    if not final.exists() or (final.is_dir() and not any(final.iterdir())):
        return
    ours = (final / RECORD).exists()
    if existing is Existing.OVERWRITE and ours:
        return
    sentence = tr("“{}” already contains an evaluation.") if ours else tr("“{}” already contains other files.")
    raise OrthomaskError(
        ErrorCode.OUTPUT_EXISTS,
        sentence.format(final),
        tr("Choose another folder, or overwrite it.") if ours else tr("Choose another folder."),
    )


def _is_foreign(name: str) -> bool:
    """Whether a file was not written by an evaluation."""
    return name not in (RECORD, REPORT, OBJECTS) and not PurePath(name).match("errors*.tif*")
