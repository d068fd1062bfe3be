"""What a run was made of: the record stored next to its results, which also identifies the run."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import rasterio
import torch
from shapely import affinity

from ...protocol import ClassInfo, ErrorCode, Existing, Image, OrthomaskError, PredictRequest, to_json
from ...protocol.words import tr
from ..compute.devices import version
from ..images.grid import Selection
from ..images.raster import Source
from ..models.bundle import Bundle


class Processor(NamedTuple):
    """What a run computes on: the device's id and name, and the precision."""

    id: str
    name: str
    precision: str


def settings(request: PredictRequest, model_sha256: str) -> dict[str, Any]:
    """Everything in a request that affects its results, besides the image's pixels."""
    known = to_json(replace(request, output_dir="-", existing=Existing.REFUSE, model=model_sha256))
    if not request.whole_objects:
        del known["whole_objects"]  # runs begun before there was a choice keep their ids
    return known


def run_id(request: PredictRequest, bundle: Bundle) -> str:
    """Twelve hexadecimal digits that are the same for the same image, model and settings, and only for these."""
    files = [Path(path).stat() for path in request.image.paths if Path(path).exists()]
    seen = [number for file in files for number in (file.st_size, file.st_mtime_ns)]
    known = [settings(request, bundle.sha256), seen]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]


def raster_record(
    request: PredictRequest, identity: str, classes: Sequence[ClassInfo], selection: Selection
) -> dict[str, Any]:
    """What rasters say of their run: its id and classes, and its region in their pixels if they reach beyond it."""
    record: dict[str, Any] = {"run_id": identity, "classes": [to_json(info) for info in classes]}
    if selection.region is None:
        return record
    region = affinity.translate(selection.region, -selection.extent.x, -selection.extent.y)
    return {**record, "region": region.wkb_hex, "reach_px": request.reach_px}


def provenance(request: PredictRequest, bundle: Bundle, source: Source, processor: Processor) -> dict[str, Any]:
    """Everything needed to trace and reproduce the results."""
    return {"request": to_json(request), **origin(bundle, source, processor), "image_date": request.image_date}


def origin(bundle: Bundle, source: Source, processor: Processor) -> dict[str, Any]:
    """What results were made from and with: model, image, device, versions, and when."""
    card = bundle.card
    return {
        "model": {
            "name": card.name, "title": card.title, "sha256": bundle.sha256,
            "gsd_m": card.gsd_m, "threshold": card.threshold,
            "licence": card.licence, "attribution": card.attribution,
            "classes": [to_json(info) for info in card.classes],
        },
        "source": {
            **_place(source), "crs": source.crs.to_wkt(), "center": list(source.center),
            "gsd_m": list(source.gsd_m), "stamp": source.stamp(),
        },
        "device": {"id": processor.id, "name": processor.name},
        "precision": processor.precision,
        "versions": {
            "orthomask": version(), "torch": torch.__version__, "gdal": rasterio.__gdal_version__,
            "python": platform.python_version(),
        },
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }  # fmt: skip


def _place(source: Source) -> dict[str, Any]:
    """The source: a file, or what a temporary picture was rendered from."""
    rendered, second = source.image.rendered, source.image.second
    also = {"second": second.path} if second else {}
    if rendered:
        return {"path": rendered.source, "rendered": to_json(rendered), **also}
    return {"path": source.image.path, **also}


def image_changed(image: Image) -> OrthomaskError:
    """The error for an image that has changed since the run began."""
    return OrthomaskError(
        ErrorCode.IMAGE_CHANGED,
        tr("“{}” has changed since the run began.").format(Path(image.path).name),
        tr("Run it again into another folder, or overwrite this one, once no other program is writing to the image."),
    )
