"""A run as one HTML file that can be mailed: image, objects, a slider for the confidence, provenance.

The file asks nothing of any server and works without one; a policy in it forbids it to.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ...protocol import PageRequest, PageResult
from ...protocol.words import language, tr
from .. import html
from ..outputs import locked, write_atomically, writing
from ..progress import Progress
from .objects import NO_CLASS, SharedRun, open_run, refuse_existing
from .overview import Overview, overview
from .selection import Selection, select

UNIT = 100
"""Outlines are drawn in whole parts of a pixel of the picture, this many each."""
GREY = "#5f6b76"
"""Of objects without a class, and of colours that are none."""


def run(request: PageRequest, progress: Progress) -> PageResult:
    """Write the page of a run, with its objects as they are now.

    Raises:
        OrthomaskError: there is no such run, or the file exists or cannot be written.
    """
    progress.report(0, tr("Reading the run"))
    target, shared = Path(request.output_path), open_run(request.run_dir)
    refuse_existing(target, request.existing)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock"), target):
        frame = overview(shared, progress.part(0, 0.5))
        chosen = select(shared, frame, progress.part(0.5, 0.9))
        content = render(shared, frame, chosen, request.credit).encode()
        progress.report(0.95, tr("Writing {}").format(target.name))
        write_atomically(target, content)
    return PageResult(str(target), _total(chosen), len(chosen.objects.ids), len(content), _notes(frame, chosen))


def render(shared: SharedRun, frame: Overview, chosen: Selection, credit: str) -> str:
    """The whole page, in the user's language."""
    return _filled(
        frame, data(shared, frame, chosen), title=shared.name or shared.image_name, subtitle=_subtitle(shared),
        collection=_collection(shared, chosen), rows=rows(shared, chosen), notes=_notes(frame, chosen),
        facts=_facts(shared, chosen, credit),
    )  # fmt: skip


def map_alone(frame: Overview) -> str:
    """The page's map of an image, in the user's language. What frames it posts the objects to it: see `data`."""
    nothing = {"unit": UNIT, "pixel_m": frame.pixel_m, "words": _words(), "classes": [], "objects": [], "file": ""}
    return _filled(frame, nothing, title="", subtitle="", collection={}, rows=[], notes=(), facts=[], alone=True)


def _filled(frame: Overview, drawn: dict[str, Any], alone: bool = False, **values: Any) -> str:
    style, script = ((html.RESOURCES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return html.render(
        "page.html.j2", {"embedded": _embedded},
        language=language().partition("_")[0] or "en", policy=policy, style=style, script=script,
        picture=frame.uri, width=frame.width, height=frame.height, data=drawn, words=_words(), alone=alone, **values,
    )  # fmt: skip


def _total(chosen: Selection) -> int:
    """How many objects the run has."""
    return sum(tally.number for tally in chosen.tallies.values())


def _digest(text: str) -> str:
    """A hash by which a policy allows exactly this text."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _embedded(value: Any) -> str:
    """JSON that nothing in it can end: no tag begins inside a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _classes(shared: SharedRun, chosen: Selection) -> list[tuple[int, str, str]]:
    """Value, name and colour of the classes, and of what has none."""
    known = [
        (info.value, info.name, info.color if re.fullmatch("#[0-9a-fA-F]{6}", info.color) else GREY)
        for info in shared.classes
    ]
    return [*known, *([(NO_CLASS, tr("no class"), GREY)] if NO_CLASS in chosen.tallies else [])]


def rows(shared: SharedRun, chosen: Selection) -> list[tuple[str, str, str, str]]:
    """Colour, name, number and area of each class, of all objects of the run."""
    tallies = ((name, color, chosen.tally(value)) for value, name, color in _classes(shared, chosen))
    return [(color, name, f"{tally.number:,}", area(tally.area_m2)) for name, color, tally in tallies]


def area(area_m2: float) -> str:
    """An area in words."""
    return tr("{:,.2f} km²").format(area_m2 / 1e6) if area_m2 >= 1e6 else tr("{:,.0f} m²").format(area_m2)


def data(shared: SharedRun, frame: Overview, chosen: Selection) -> dict[str, Any]:
    """What the page's script draws."""
    listed = [value for value, _, _ in _classes(shared, chosen)]
    objects, sure = chosen.objects, chosen.objects.confidence
    return {
        "unit": UNIT, "pixel_m": frame.pixel_m, "words": _words(),
        "classes": [
            {"name": name, "color": color, **chosen.tally(value)._asdict()}
            for value, name, color in _classes(shared, chosen)
        ],
        "objects": [
            [listed.index(value), None if np.isnan(confidence) else round(confidence, 3), round(size, 1), rings]
            for value, confidence, size, rings in zip(
                objects.classes.tolist(), sure.tolist(), objects.area_m2.tolist(), _rings(chosen.drawn)
            )
        ],
        "file": re.sub(r"[^\w.-]+", "-", shared.name or shared.run_id) + ".geojson",
    }  # fmt: skip


def _rings(outlines: np.ndarray) -> list[list[list[int]]]:
    """The rings of each outline: x and y of the first corner, then the steps to the next ones."""
    parts, outline_of = shapely.get_parts(outlines, return_index=True)
    rings, part_of = shapely.get_rings(parts, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    places = np.rint(corners * UNIT).astype(np.int64)
    first = np.diff(ring, prepend=-1) > 0
    steps = np.diff(places, axis=0, prepend=places[:1])
    steps[first] = places[first]
    found: list[list[list[int]]] = [[] for _ in outlines]
    for number, part in zip(outline_of[part_of].tolist(), np.split(steps, np.flatnonzero(first)[1:])):
        found[number].append(part[:-1].ravel().tolist())
    return found


def _collection(shared: SharedRun, chosen: Selection) -> dict[str, Any]:
    """The objects on the page as GeoJSON, in the order in which they are drawn."""
    names = {value: name for value, name, _ in _classes(shared, chosen)}
    objects = chosen.objects
    columns = (objects.ids.tolist(), objects.classes.tolist(), objects.confidence.tolist(), objects.area_m2.tolist())
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature", "id": number,
                "properties": {
                    "class": names[value], "confidence": None if np.isnan(sure) else round(sure, 3),
                    "area_m2": round(size, 2), "run": shared.run_id,
                },
                "geometry": json.loads(geometry),
            }
            for number, value, sure, size, geometry in zip(*columns, chosen.geometries)
        ],
    }  # fmt: skip


def _subtitle(shared: SharedRun) -> str:
    model = tr(str(shared.record["model"].get("title", "")))
    return " · ".join(filter(None, (shared.image_name if shared.name else "", model, _local(shared))))


def _local(shared: SharedRun) -> str:
    """When the run was made; empty if its record does not say."""
    try:
        return f"{datetime.fromisoformat(str(shared.record['time'])).astimezone():%Y-%m-%d %H:%M}"
    except (KeyError, ValueError):
        return ""


def _facts(shared: SharedRun, chosen: Selection, credit: str) -> list[tuple[str, str]]:
    """The provenance: names and values in words."""
    record, model = shared.record, shared.record["model"]
    version = record.get("versions", {}).get("orthomask", "")
    drawn = int(np.isnan(chosen.objects.confidence).sum())
    facts = [
        (tr("Source"), shared.image_name),
        (tr("Image credit"), credit),
        (tr("Image date"), str(record.get("image_date") or tr("unknown"))),
        (tr("Model"), f"{tr(str(model.get('title', '')))} ({str(model.get('sha256', ''))[:12]})"),
        (tr("Licence of the model"), str(model.get("licence", ""))),
        (tr("Attribution of the model"), str(model.get("attribution", ""))),
        (tr("Threshold"), f"{shared.threshold:g}"),
        (tr("Drawn by a person"), f"{drawn:,}" if drawn else ""),
        (tr("Created"), tr("{} with Orthomask {}").format(_local(shared), version) if version else _local(shared)),
        (tr("Run id"), shared.run_id),
    ]
    return [(name, value) for name, value in facts if value]


def _notes(frame: Overview, chosen: Selection) -> tuple[str, ...]:
    return (*filter(None, (frame.warning,)), *chosen.notes)


def _words() -> dict[str, str]:
    """Everything that the page says by itself."""
    return {
        "classes": tr("Class"), "objects": tr("Objects"), "area": tr("Area"), "about": tr("About this run"),
        "slider": tr("Least confidence"), "shown": tr("{} of {} objects"), "in": tr("Zoom in"),
        "out": tr("Zoom out"), "whole": tr("Show everything"), "save": tr("Save objects as GeoJSON"),
        "saves": tr("Saves the objects that are shown, in longitude and latitude."), "notes": tr("Notes"),
        "confidence": tr("confidence {}"), "map": tr("Map: drag to move, wheel to zoom, click an object"),
        "script": tr("This page needs JavaScript to draw the objects."), "fill": tr("Fill"),
    }  # fmt: skip
