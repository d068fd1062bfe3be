"""The card of a model as a STAC item: Machine Learning Model extension 1.5.2, for catalogues of models."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...protocol import ModelItemRequest, ModelItemResult
from ...protocol.words import tr
from ..models import bundle as bundles
from ..models.bundle import Bundle
from ..models.mlm import mlm
from ..outputs import write_atomically, writing
from ..progress import Progress
from .objects import refuse_existing

FRAMEWORKS = {"pytorch": "PyTorch", "onnx": "ONNX"}
"""As the extension prefers to call them."""
EXTENSIONS = (
    "https://stac-extensions.github.io/version/v1.2.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
)
WORLD = (-180, -90, 180, 90)
"""Where a model may be used: its card names no place."""
SPDX = re.compile(r"[\w.+-]+")
"""A licence that is one identifier."""
SHA256_MULTIHASH = "1220"
"""What precedes 32 bytes of SHA-256 in a multihash."""


def run(request: ModelItemRequest, progress: Progress) -> ModelItemResult:
    """Write the card of a model as a STAC item.

    Raises:
        OrthomaskError: there is no such model, or the file exists or cannot be written.
    """
    progress.report(0, tr("Reading {}…").format(Path(request.model).name))
    target, bundle = Path(request.output_path), bundles.load(request.model)
    refuse_existing(target, request.existing)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    href = request.href or _beneath(bundle.path, target.parent)
    content = item(bundle, href or quote(bundle.path.name))
    write_atomically(target, json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    words = tr("The item expects the model beside it: copy “{}” there, or give its address.")
    return ModelItemResult(str(target), () if href else (words.format(bundle.path.name),))


def item(bundle: Bundle, href: str) -> dict[str, Any]:
    """The whole item of a bundle that is found at `href`."""
    card, (left, bottom, right, top) = bundle.card, WORLD
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    return {
        "type": "Feature", "stac_version": "1.1.0",
        "stac_extensions": [*mlm(card)["stac_extensions"], *EXTENSIONS],
        "id": f"{slug(card.name)}-{bundle.sha256[:12]}", "bbox": list(WORLD),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": _properties(bundle), "links": [], "assets": {"model": _asset(bundle, href)},
    }  # fmt: skip


def _properties(bundle: Bundle) -> dict[str, Any]:
    card, when = bundle.card, _written(bundle.path)
    described = {name: value for name, value in mlm(card).items() if name.startswith("mlm:")}
    for output in described["mlm:output"]:
        for entry in output["classification:classes"]:
            entry["description"] = entry["name"]
    finds = ", ".join(info.name for info in card.classes)
    return {
        "title": card.title, "description": f"Finds in images of {card.gsd_m:g} m per pixel: {finds}.",
        "datetime": when, "created": when, "updated": when, "version": bundle.sha256[:12], "deprecated": False,
        "license": card.licence if SPDX.fullmatch(card.licence) else "other", "keywords": list(_words(bundle)),
        **described, "mlm:name": slug(card.name), "mlm:framework": FRAMEWORKS[described["mlm:framework"]],
        **_origin(bundle),
        "orthomask:licence": card.licence, "orthomask:attribution": card.attribution,
        "orthomask:threshold": card.threshold, "orthomask:gsd_m": card.gsd_m, "orthomask:accuracy": card.accuracy,
    }  # fmt: skip


def _words(bundle: Bundle) -> tuple[str, ...]:
    """What a catalogue finds the model by."""
    return tuple(dict.fromkeys((*(info.name for info in bundle.card.classes), "semantic-segmentation", "orthomask")))


def _origin(bundle: Bundle) -> dict[str, Any]:
    """Where training started: null for a model that was not trained, nothing for a card that does not say."""
    training = bundle.card.training
    parent = training.get("parent")
    name = parent.get("name") if isinstance(parent, dict) else None
    return {"mlm:pretrained_source": name} if name or not training else {}


def _asset(bundle: Bundle, href: str) -> dict[str, Any]:
    card = bundle.card
    return {
        "href": href, "title": card.title, "type": "application/octet-stream; application=safetensors",
        "roles": ["mlm:model", "mlm:weights"], "mlm:artifact_type": "safetensors.torch.save_file",
        "file:size": bundle.path.stat().st_size, "file:checksum": SHA256_MULTIHASH + bundle.sha256,
        "raster:bands": [
            {
                "name": band.name, "data_type": card.dtype, "spatial_resolution": card.gsd_m,
                "statistics": {"mean": band.mean, "stddev": band.std},
            }
            for band in card.bands
        ],
    }  # fmt: skip


def slug(name: str) -> str:
    """A name as MLM allows them: at least three letters, digits, points and dashes, a letter first."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^a-zA-Z0-9_.-]+", "-", plain).strip("_.-")
    return plain if re.fullmatch(r"[a-zA-Z].+[a-zA-Z0-9]", plain) else f"model-{plain or 'x'}"


def _beneath(path: Path, folder: Path) -> str:
    """The path of a bundle as a link from a folder that it is in, perhaps deeper; empty if it is elsewhere.

    A path to elsewhere would be wrong wherever the item is published, and tell of this computer's folders.
    """
    try:
        return quote(path.resolve().relative_to(folder.resolve()).as_posix())
    except ValueError:
        return ""


def _written(path: Path) -> str:
    """When a bundle was written, in UTC."""
    return f"{datetime.fromtimestamp(path.stat().st_mtime, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
