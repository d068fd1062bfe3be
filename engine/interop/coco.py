"""The objects of a run as COCO annotations of its image (Lin et al. 2014)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import rasterio
import rasterio.features
import shapely
from affine import Affine

from ...protocol import ClassInfo, OrthomaskError
from ...protocol.words import tr, tr_n
from ..images import regions
from ..images.raster import open_image
from ..outputs import written_atomically
from ..progress import Progress
from .objects import SharedRun

CLASSES = "classes.tif"
STRIP_PX = 1 << 24
"""Pixels of an object that are drawn at a time."""


class Picture(NamedTuple):
    """The image that annotations count their pixels in."""

    name: str
    width: int
    height: int
    crs: pyproj.CRS
    transform: Affine


def write(shared: SharedRun, names: Sequence[str], target: Path, progress: Progress) -> tuple[int, tuple[str, ...]]:
    """Write one JSON file; return the number of objects, and warnings.

    Args:
        names: of the classes to write; empty for all.
    """
    picture, warnings = _picture(shared, progress)
    wanted = [info for info in shared.classes if not names or info.name in names]
    values = [info.value for info in wanted]
    count = classless = seen = 0
    with written_atomically(target) as file:
        file.write(b'{"annotations": [\n')
        for objects in shared.objects():
            seen += len(objects.ids)
            chosen = objects.where(np.isin(objects.classes, values))
            classless += int((~np.isin(objects.classes, [info.value for info in shared.classes])).sum())
            outlines = _placed(chosen.outlines, shared.crs, picture)
            for outline, value, sure in zip(outlines, chosen.classes, chosen.confidence):
                if outline.is_empty:
                    continue
                count += 1
                line = _annotation(count, outline, int(value), float(sure), picture)
                file.write((",\n" if count > 1 else "").encode() + line)
            progress.report(seen / max(seen, shared.count), tr("Writing {}").format(target.name))
        file.write(b"\n],\n" + _rest(shared, picture, wanted))
    if classless:
        words = tr_n("{} object without a class was left out.", "{} objects without a class were left out.", classless)
        warnings += (words.format(f"{classless:,}"),)
    return count, warnings


def _picture(shared: SharedRun, progress: Progress) -> tuple[Picture, tuple[str, ...]]:
    """The run's image, or its raster of classes if that image cannot be opened."""
    try:
        if shared.image is not None:
            with open_image(shared.image, progress) as source:
                size = source.dataset.width, source.dataset.height
                picture, change = Picture(shared.image_name, *size, source.crs, source.transform), shared.change(source)
                return picture, (change,) if change else ()
    except OrthomaskError:
        pass
    with rasterio.open(shared.raster(CLASSES)) as dataset:
        crs = pyproj.CRS.from_user_input(dataset.crs.to_wkt())
        picture = Picture(CLASSES, dataset.width, dataset.height, crs, dataset.transform)
    return picture, (tr("The image could not be opened: pixels are counted in {} instead.").format(CLASSES),)


def _placed(outlines: np.ndarray, crs: pyproj.CRS, picture: Picture) -> np.ndarray:
    """Outlines in pixels of the picture, and only what lies in it: a straightened edge may not."""
    if not crs.equals(picture.crs, ignore_axis_order=True):
        outlines = np.asarray(regions.reprojected(outlines, crs, picture.crs))
    placed = np.asarray(regions.transformed(outlines, ~picture.transform))
    frame = shapely.box(0, 0, picture.width, picture.height)
    beyond = np.flatnonzero(~shapely.covers(frame, placed))
    placed[beyond] = [regions.polygonal(shapely.intersection(placed[each], frame)) for each in beyond]
    return placed


def _annotation(number: int, outline: shapely.Geometry, value: int, sure: float, picture: Picture) -> bytes:
    left, top, right, bottom = outline.bounds
    annotation: dict[str, Any] = {
        "id": number, "image_id": 1, "category_id": value, "iscrowd": 0, "area": round(outline.area, 2),
        "bbox": _rounded([left, top, right - left, bottom - top]), "segmentation": _segmentation(outline, picture),
    }  # fmt: skip
    if not np.isnan(sure):
        annotation["score"] = round(sure, 3)
    return json.dumps(annotation).encode()


def _segmentation(outline: shapely.Geometry, picture: Picture) -> list[list[float]] | dict[str, list[int]]:
    """Polygons as lists x, y, x, y …; with holes, which these cannot express, the run lengths of the pixels."""
    parts = shapely.get_parts(outline)
    if not shapely.get_num_interior_rings(parts).any():
        return [_rounded(shapely.get_coordinates(part)[:-1].ravel()) for part in parts]
    places = _pixels(outline, picture)
    size = picture.height * picture.width
    breaks = np.flatnonzero(np.diff(places) > 1)
    starts, ends = np.r_[places[:1], places[breaks + 1]], np.r_[places[breaks], places[-1:]] + 1
    changes = np.stack([starts, ends], axis=1).ravel()
    return {"size": [picture.height, picture.width], "counts": np.diff([0, *changes.tolist(), size]).tolist()}


def _pixels(outline: shapely.Geometry, picture: Picture) -> np.ndarray:
    """Places of an outline's pixels, counted down the columns, in order."""
    left, top, right, bottom = (round(bound) for bound in outline.bounds)
    left, right = max(left - 1, 0), min(right + 1, picture.width)
    top, bottom = max(top - 1, 0), min(bottom + 1, picture.height)
    step, found = max(1, STRIP_PX // max(1, bottom - top)), []
    for start in range(left, right, step):
        shape = (bottom - top, min(step, right - start))
        burned = rasterio.features.rasterize([outline], shape, transform=Affine.translation(start, top), dtype=np.uint8)
        columns, rows = np.nonzero(burned.T)
        found.append((columns + start).astype(np.int64) * picture.height + rows + top)
    return np.concatenate(found) if found else np.array([], np.int64)


def _rest(shared: SharedRun, picture: Picture, classes: Sequence[ClassInfo]) -> bytes:
    """Everything but the annotations, as the end of a JSON object."""
    authority = picture.crs.to_authority()
    image = {
        "id": 1, "file_name": picture.name, "width": picture.width, "height": picture.height,
        "crs": ":".join(authority) if authority else picture.crs.to_wkt(), "transform": list(picture.transform[:6]),
    }  # fmt: skip
    if shared.record.get("image_date"):
        image["date_captured"] = str(shared.record["image_date"])
    model = shared.record["model"]
    info = {
        "description": tr("Objects found by {}").format(model.get("title", "")), "version": shared.run_id,
        "date_created": str(shared.record.get("time", "")), "contributor": str(model.get("attribution", "")),
    }  # fmt: skip
    categories = [{"id": each.value, "name": each.name} for each in classes]
    rest = json.dumps({"images": [image], "categories": categories, "info": info}, ensure_ascii=False, indent=1)
    return rest.lstrip("{").encode() + b"\n"


def _rounded(numbers: Any) -> list[float]:
    return [round(float(number), 2) for number in numbers]
