"""What the engine writes when it compares dates: a small `changes.gpkg`, and the result that names it."""

from __future__ import annotations

from osgeo import ogr, osr
from scene import CRS, square

TEXT, REAL, INTEGER = ogr.OFTString, ogr.OFTReal, ogr.OFTInteger
FIELDS = (
    ("object_id", INTEGER), ("kind", TEXT), ("step", INTEGER), ("class", TEXT), ("date_before", TEXT),
    ("date_after", TEXT), ("area_before_m2", REAL), ("area_after_m2", REAL), ("iou", REAL), ("offset_m", REAL),
    ("confidence_before", REAL), ("confidence_after", REAL), ("before_ids", TEXT), ("after_ids", TEXT),
    ("reason", TEXT), ("review", TEXT), ("reviewed_at", TEXT),
)  # fmt: skip
CHANGES = (
    (2.0, "unchanged", 1, "The same within 0.4 m."), (8.0, "new", 1, "Nothing was there."),
    (14.0, "removed", 1, "Nothing is there."), (20.0, "unsure", 1, "Shadow."), (8.0, "new", 2, "Again."),
)  # fmt: skip
"""Metres from the left edge, kind, step, reason."""
OFFSETS = ((4.0, 1.2, -0.4, 1), (18.0, 9.0, 3.0, 0))


def write_changes(path, steps=1):
    """All layers of the file; those of `changes` as in `CHANGES`."""
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    reference = osr.SpatialReference()
    reference.SetFromUserInput(CRS)
    rows = [row for row in CHANGES if row[2] <= steps]
    layer = dataset.CreateLayer("changes", reference, ogr.wkbMultiPolygon)
    for name, kind in FIELDS:
        layer.CreateField(ogr.FieldDefn(name, kind))
    for number, (x, kind, step, reason) in enumerate(rows, 1):
        values = {
            "object_id": number, "kind": kind, "step": step, "class": "field", "date_before": str(2011 + step),
            "date_after": str(2012 + step), "area_after_m2": 25.0, "reason": reason, "review": "", "reviewed_at": "",
        }  # fmt: skip
        _add(layer, ogr.ForceToMultiPolygon(ogr.CreateGeometryFromWkt(square(x))), values)
    ledger = dataset.CreateLayer("ledger", reference, ogr.wkbMultiPolygon)
    for name, kind in (("object_id", INTEGER), ("flickers", INTEGER), ("history", TEXT)):
        ledger.CreateField(ogr.FieldDefn(name, kind))
    _add(
        ledger,
        ogr.ForceToMultiPolygon(ogr.CreateGeometryFromWkt(square(8.0))),
        {"object_id": 1, "flickers": 1, "history": "new, removed"},
    )
    offsets = dataset.CreateLayer("offsets", reference, ogr.wkbPoint)
    for name, kind in (("step", INTEGER), ("east_m", REAL), ("north_m", REAL), ("error_m", REAL), ("used", INTEGER)):
        offsets.CreateField(ogr.FieldDefn(name, kind))
    for x, east, north, used in OFFSETS:
        place = ogr.CreateGeometryFromWkt(square(x)).Centroid()
        _add(offsets, place, {"step": 1, "east_m": east, "north_m": north, "error_m": 0.3, "used": used})
    path.with_name("changes.html").write_text("<html>")
    return str(path)


def result_of(path, steps=1):
    """The engine's answer, as JSON."""
    rows = [row for row in CHANGES if row[2] <= steps]
    found = {"source": "images", "size_m": 1.26, "largest_m": 2.5, "error_m": 0.41, "places": 42, "tried": 60}
    counts = {(step, kind): sum(row[1:3] == (kind, step) for row in rows) for _, kind, step, _ in rows}
    tallies = [
        {"step": step, "kind": kind, "count": count, "area_m2": 25.0 * count, "low": 0.0, "high": 3.0}
        for (step, kind), count in counts.items()
    ]
    return {
        "changes_path": str(path), "report_path": str(path.with_name("changes.html")), "registrations": [found] * steps,
        "tallies": tallies, "compared_km2": [0.5] * steps, "compared_share": [0.8] * steps, "objects": 4,
        "flickering": steps - 1, "seconds": 2.0, "warnings": [],
    }  # fmt: skip


def _add(layer, geometry, values):
    feature = ogr.Feature(layer.GetLayerDefn())
    feature.SetGeometry(geometry)
    for name, value in values.items():
        feature[name] = value
    layer.CreateFeature(feature)
