"""The faults of labels as a layer, worst first, and labels moved to where they fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj
import shapely

from ...engine.images.regions import polygonal, reprojected, transformed
from ...engine.outputs import writing
from ...engine.shapes.layers import write_layer
from ...engine.shapes.vector_files import batches, choose_layer, crs_of, fields_of, info_of
from ...protocol import FINDINGS, Fault, Labels, Shift
from ..truth.placing import Grid

NONE = -1
"""Feature id where there is no label."""


class Finding(NamedTuple):
    """A probable fault.

    Attributes:
        severity: how sure it is, 0 to 1.
        name: of the class that is, or should be, labelled; empty for a shift.
        polygon: where it is, in pixels of the grid.
        layer, label, other: name of the layer of the labels, and feature ids in it.
        shift: how far to move the labels; None if it is no shift.
    """

    kind: Fault
    severity: float
    name: str
    reason: str
    polygon: shapely.Geometry
    layer: str = ""
    label: int = NONE
    other: int = NONE
    shift: Shift | None = None


def write(target: Path, findings: Sequence[Finding], grid: Grid, crs: pyproj.CRS) -> None:
    """Write findings into a new GeoPackage, worst first: shifts, which concern many labels, then by severity."""
    ordered = sorted(findings, key=lambda one: (one.kind is not Fault.SHIFTED, -one.severity))
    shapes = [shapely.multipolygons(shapely.get_parts(polygonal(one.polygon))) for one in ordered]
    drawn = transformed(np.array(shapes, object), grid.transform)
    if not crs.equals(pyproj.CRS.from_user_input(grid.crs), ignore_axis_order=True):
        drawn = reprojected(drawn, grid.crs, crs)
    columns = {
        "kind": _texts(one.kind.value for one in ordered),
        "severity": np.array([round(one.severity, 3) for one in ordered], float),
        "class": _texts(one.name for one in ordered),
        "reason": _texts(one.reason for one in ordered),
        "layer": _texts(one.layer for one in ordered),
        "label": np.array([one.label for one in ordered], np.int64),
        "other": np.array([one.other for one in ordered], np.int64),
        **{name: _steps(ordered, name) for name in ("east_m", "north_m", "x", "y")},
    }
    write_layer(target, FINDINGS, columns, shapely.to_wkb(drawn), "MultiPolygon", crs.to_wkt())


def write_moved(target: Path, labels: Labels, shift: Shift) -> None:
    """Write a copy of a layer of labels, with all attributes, to where they fit; the layer itself stays as it is."""
    layer = choose_layer(labels.path, labels.layer, "labels")
    fields, crs = fields_of(labels.path, layer), crs_of(labels.path, layer, labels.crs)
    kind = info_of(labels.path, layer)["geometry_type"]
    partial = target.with_name(f".{target.stem}.partial.gpkg")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
    try:
        for _, wkb, data in batches(labels.path, layer, fields, None):
            drawn = shapely.from_wkb(wkb, on_invalid="ignore")
            tall = bool(shapely.has_z(drawn).any())
            step = (shift.x, shift.y, 0.0) if tall else (shift.x, shift.y)
            moved = shapely.to_wkb(shapely.transform(drawn, lambda at, step=step: at + step, include_z=tall))
            write_layer(partial, layer, dict(zip(fields, data)), moved, kind, crs.to_wkt())
        with writing(target):
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _steps(findings: Sequence[Finding], name: str) -> np.ndarray:
    """A part of each one's shift; null where there is none."""
    return np.array([getattr(one.shift, name) if one.shift else np.nan for one in findings], float)


def _texts(values: object) -> np.ndarray:
    return np.array([*values], object)  # type: ignore[misc]
