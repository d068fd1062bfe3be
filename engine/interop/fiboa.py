"""Fields of a run as fiboa 0.3, GeoJSON or GeoParquet: the encodings of Vecorel 0.1 for field boundaries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timezone
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import shapely

from ...protocol import ClassInfo, ErrorCode, OrthomaskError, Outline
from ...protocol.words import tr, tr_n
from ..optional import package
from ..outputs import written_atomically
from ..progress import Progress
from .objects import Objects, SharedRun, geojson, lonlat

SCHEMAS = ("https://vecorel.org/specification/v0.1.0/schema.yaml", "https://fiboa.org/specification/v0.3.0/schema.yaml")
OWN = {"confidence": {"type": "float", "minimum": 0, "maximum": 1}, "attribution": {"type": "string"}}
"""What the schemas do not define."""
MOST_M2, MOST_M = 1e9, 1.25e6
"""What fiboa takes for a field."""
GEO = {
    "version": "1.1.0", "primary_column": "geometry",
    "columns": {"geometry": {
        "encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"], "orientation": "counterclockwise",
    }},
}  # fmt: skip
"""What GeoParquet says of its geometries; without a CRS they are in longitude and latitude."""
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def write(shared: SharedRun, names: Sequence[str], target: Path, progress: Progress) -> tuple[int, tuple[str, ...]]:
    """Write one file, GeoParquet if it ends in `.parquet`; return the number of fields, and warnings.

    Args:
        names: of the classes to write; empty for those that are outlined as fields are, with shared borders.

    Raises:
        OrthomaskError: no class is of fields, or there is no field, or GeoParquet cannot be written here.
    """
    wanted = [info for info in shared.classes if (info.name in names if names else info.outline is Outline.SHARED)]
    if not wanted:
        raise _no_fields(shared.classes)
    when, warnings = _observed(str(shared.record.get("image_date") or ""))
    values, count, huge, seen = [info.value for info in wanted], 0, 0, 0
    encoding = _geoparquet if target.suffix.lower() == ".parquet" else _geojson
    with written_atomically(target) as file, encoding(file, shared, when) as add:
        for objects in shared.objects():
            seen += len(objects.ids)
            chosen = objects.where(np.isin(objects.classes, values))
            fits = (chosen.area_m2 <= MOST_M2) & (chosen.perimeter_m <= MOST_M)
            huge += int((~fits).sum())
            count += int(fits.sum())
            add(chosen.where(fits))
            progress.report(seen / max(seen, shared.count), tr("Writing {}").format(target.name))
        if not count:
            raise OrthomaskError(
                ErrorCode.BAD_REQUEST,
                tr("The run has no fields to write."),
                tr("Choose another run, or another class."),
            )
    if huge:
        words = tr_n(
            "{} field is larger than fiboa allows and was left out.",
            "{} fields are larger than fiboa allows and were left out.", huge,
        )  # fmt: skip
        warnings += (words.format(f"{huge:,}"),)
    return count, warnings


def _no_fields(classes: Sequence[ClassInfo]) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("This run did not look for fields, but for: {}.").format(", ".join(info.name for info in classes)),
        tr("Choose a run of a farmland model, or name the classes that are fields."),
    )


def _observed(said: str) -> tuple[str, tuple[str, ...]]:
    """When the image was taken, in UTC as fiboa writes it, and a warning if that is not known.

    Without a time of day, the end of the day counts: fiboa wants the last moment at which a field was seen.
    """
    try:
        if DAY.fullmatch(said):
            return f"{date.fromisoformat(said)}T23:59:59Z", ()
        when = datetime.fromisoformat(said.replace("Z", "+00:00"))
        when = when.replace(tzinfo=when.tzinfo or timezone.utc).astimezone(timezone.utc)
        return f"{when:%Y-%m-%dT%H:%M:%SZ}", ()
    except ValueError:
        warning = tr("The run does not say on which day its image was taken, so neither do the fields.")
        return "", (warning,)


def _common(shared: SharedRun, when: str) -> dict[str, Any]:
    """What all fields have in common."""
    model = shared.record["model"]
    details = f"{model.get('title', '')} ({str(model.get('sha256', ''))[:12]}), threshold {shared.threshold:g}"
    common: dict[str, Any] = {
        "schemas": {collection(shared): list(SCHEMAS)}, "schemas:custom": {"required": [], "properties": OWN},
        "determination:method": "auto-imagery", "determination:details": details,
    }  # fmt: skip
    if when:
        common["determination:datetime"] = when
    if model.get("attribution"):
        common["attribution"] = str(model["attribution"])
    return common


def collection(shared: SharedRun) -> str:
    """The id of the collection: that of the run."""
    return f"orthomask-{shared.run_id}"


Adder = Callable[[Objects], None]


@contextmanager
def _geojson(file: BinaryIO, shared: SharedRun, when: str) -> Iterator[Adder]:
    """A feature collection: what adds some fields to it."""
    head = {"type": "FeatureCollection", **_common(shared, when)}
    file.write(json.dumps(head, ensure_ascii=False)[:-1].encode() + b', "features": [')
    separators = chain([b"\n"], repeat(b",\n"))

    def add(objects: Objects) -> None:
        for feature in _features(objects, shared):
            file.write(next(separators) + json.dumps(feature).encode())

    yield add
    file.write(b"\n]}\n")


@contextmanager
def _geoparquet(file: BinaryIO, shared: SharedRun, when: str) -> Iterator[Adder]:
    """A table of GeoParquet 1.1 with a row for each field: what adds some to it."""
    arrow, parquet = _pyarrow()
    metadata = {"geo": GEO, "collection": {"collection": collection(shared), **_common(shared, when)}}
    decimal = arrow.float32()
    columns = [("metrics:area", decimal), ("metrics:perimeter", decimal), ("confidence", decimal)]
    needed = [arrow.field("id", arrow.string(), False), arrow.field("geometry", arrow.binary(), False)]
    schema = arrow.schema([*needed, *columns], {key: json.dumps(value) for key, value in metadata.items()})
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def add(objects: Objects) -> None:
            outlines = shapely.to_wkb(lonlat(objects.outlines, shared.crs))
            sure = np.where(objects.confidence > 0, objects.confidence, np.nan)
            values = [objects.ids.astype(str), outlines, objects.area_m2, objects.perimeter_m, sure]
            arrays = [arrow.array(each, field.type, from_pandas=True) for each, field in zip(values, schema)]
            writer.write_table(arrow.table(arrays, schema))

        yield add


def _pyarrow() -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`, an optional part of the engine."""
    sentence = tr("GeoParquet cannot be written without the Python package pyarrow.")
    remedy = tr("Write GeoJSON, a file that ends in .geojson, or install pyarrow into the engine's environment.")
    return package("pyarrow", sentence, remedy), package("pyarrow.parquet", sentence, remedy)


def _features(objects: Objects, shared: SharedRun) -> Iterator[dict[str, Any]]:
    shapes = geojson(objects.outlines, shared.crs)
    columns = (objects.ids, shapes, objects.area_m2, objects.perimeter_m, objects.confidence)
    for number, shape, area, perimeter, sure in zip(*columns):
        properties: dict[str, Any] = {
            "collection": collection(shared), "metrics:area": round(float(area), 2),
            "metrics:perimeter": round(float(perimeter), 2),
        }  # fmt: skip
        if sure > 0:
            properties["confidence"] = round(float(sure), 3)
        yield {"type": "Feature", "id": str(number), "geometry": json.loads(shape), "properties": properties}
