"""Chip catalogues that other programs read: COCO, and ArcGIS's Classified Tiles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyproj
import rasterio.features
import shapely
from scipy import ndimage

from ...engine.images.grid import Window
from ...engine.images.regions import polygonal
from ...engine.outputs import write_atomically
from ...protocol import UNKNOWN, ClassInfo, Split
from ..truth.labels import Truth
from .formats import Cut, Stored, Style, rgb, write_mask, write_raster, write_world_file


class Entry(NamedTuple):
    """A written chip, and the window of the truth's grid that it was cut from."""

    cut: Cut
    stored: Stored
    truth: Truth
    window: Window


class _Catalogue(AbstractContextManager["_Catalogue"]):
    """Records chips as they are written, and writes its tables at the end."""

    def __init__(self, folder: Path, style: Style) -> None:
        self._folder, self._style = folder, style

    def add(self, entry: Entry) -> None:
        """Describe a chip."""
        raise NotImplementedError

    def close(self) -> None:
        """Write the tables."""
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()


class Coco(_Catalogue):
    """`annotations_SPLIT.json`: every object of a chip with its outline (Lin et al. 2014).

    The outline is the polygon as drawn where the mask shows all of it; where another object covers part of it or an
    area's edge cuts it, the outline follows its pixels. Objects with holes, which COCO's polygons cannot express, are
    run lengths.
    """

    def __init__(self, folder: Path, style: Style) -> None:
        super().__init__(folder, style)
        self._images: dict[Split, list[str]] = {}
        self._annotations: dict[Split, list[str]] = {}

    def add(self, entry: Entry) -> None:
        """Describe the objects of a chip."""
        cut, stored = entry.cut, entry.stored
        images = self._images.setdefault(cut.split, [])
        annotations = self._annotations.setdefault(cut.split, [])
        height, width = cut.mask.shape
        image = {"id": len(images) + 1, "file_name": stored.image, "width": width, "height": height}
        if stored.image.endswith(".h5"):
            image["index"] = stored.number
        images.append(json.dumps(image))
        for class_value, outline, pixels in _objects(cut.mask, entry.truth, entry.window):
            left, top, right, bottom = outline.bounds
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image["id"],
                "category_id": class_value,
                "segmentation": _segmentation(outline, pixels),
                "bbox": _rounded([left, top, right - left, bottom - top]),
                "area": round(outline.area, 2),
                "iscrowd": 0,
            }
            annotations.append(json.dumps(annotation))

    def close(self) -> None:
        """Write one file for each split."""
        categories = json.dumps([{"id": info.value, "name": info.name} for info in self._style.classes])
        for split, images in self._images.items():
            lists = [",\n".join(images), ",\n".join(self._annotations[split])]
            text = f'{{"images": [\n{lists[0]}\n],\n"annotations": [\n{lists[1]}\n],\n"categories": {categories}}}\n'
            write_atomically(self._folder / f"annotations_{split.value}.json", text.encode())


def _objects(mask: np.ndarray, truth: Truth, window: Window) -> Iterator[tuple[int, shapely.Geometry, np.ndarray]]:
    """Class, outline in pixels of the chip and pixels `(H, W)` of each object that the mask shows."""
    height, width = mask.shape
    numbers = np.zeros(mask.shape, np.int32)
    inside = Window(
        window.x, window.y, min(width, truth.grid.width_px - window.x), min(height, truth.grid.height_px - window.y)
    )
    numbers[: inside.height, : inside.width] = truth.objects(inside)
    numbers[mask == UNKNOWN] = 0
    frame = shapely.box(0, 0, width, height)
    for number, class_value, drawn in truth.polygons(inside):
        pixels = numbers == number
        if pixels.any():
            outline = polygonal(shapely.intersection(shapely.transform(drawn, lambda xy: xy - window[:2]), frame))
            yield class_value, outline if _agrees(outline, pixels) else _outline(pixels), pixels


def _agrees(outline: shapely.Geometry, pixels: np.ndarray) -> bool:
    """Whether the pixels are those of the polygon, except at its edge."""
    if outline.is_empty:
        return False
    burned = rasterio.features.rasterize([outline], pixels.shape, dtype=np.uint8) > 0
    return not ndimage.binary_erosion(burned ^ pixels, np.ones((2, 2))).any()


def _outline(pixels: np.ndarray) -> shapely.Geometry:
    """The outline of pixels, along their edges."""
    shapes = rasterio.features.shapes(pixels.astype(np.uint8), mask=pixels, connectivity=4)
    return shapely.union_all([shapely.geometry.shape(part) for part, _ in shapes])


def _segmentation(outline: shapely.Geometry, pixels: np.ndarray) -> list[list[float]] | dict[str, list[int]]:
    """Polygons as lists x, y, x, y …; with holes, the uncompressed run lengths of the pixels."""
    parts = shapely.get_parts(outline)
    if shapely.get_num_interior_rings(parts).any():
        changes = np.flatnonzero(np.diff(pixels.ravel(order="F"), prepend=False))
        return {"size": list(pixels.shape), "counts": np.diff([0, *changes, pixels.size]).tolist()}
    return [_rounded(shapely.get_coordinates(part)[:-1].ravel()) for part in parts]


def _rounded(numbers: Any) -> list[float]:
    return [round(float(number), 2) for number in numbers]


class ArcGis(_Catalogue):
    """`arcgis/SPLIT/`: a folder of Classified Tiles, as *Export Training Data For Deep Learning* writes them.

    ArcGIS ignores pixels of 0, so unknown becomes 0, background becomes class 1, and our class 1 becomes 2.
    """

    def __init__(self, folder: Path, style: Style) -> None:
        super().__init__(folder, style)
        background = ClassInfo(1, "background", "#000000")
        self._classes = (background, *(ClassInfo(info.value + 1, info.name, info.color) for info in style.classes))
        self._tallies: dict[Split, _Tally] = {}

    def add(self, entry: Entry) -> None:
        """Write the chip's two tiles and count what they hold."""
        cut = entry.cut
        folder = self._folder / "arcgis" / cut.split.value
        labels = np.where(cut.mask == UNKNOWN, 0, cut.mask + np.uint8(1)).astype(np.uint8)
        for part in ("images", "labels"):
            path = folder / part / f"{cut.name}.tif"
            if part == "images":
                write_raster(path, cut.pixels, cut, self._style)
            else:
                write_mask(path, labels, cut, self._classes)
            write_world_file(path.with_suffix(".tfw"), cut.transform)
        if cut.split not in self._tallies:
            self._tallies[cut.split] = _Tally(self._style, len(self._classes))
        self._tallies[cut.split].add(cut, labels)

    def close(self) -> None:
        """Write the lists, the statistics and the definition of each split."""
        for split, tally in self._tallies.items():
            folder = self._folder / "arcgis" / split.value
            pairs = "".join(f"images/{name}.tif labels/{name}.tif\n" for name in tally.names)
            write_atomically(folder / "map.txt", pairs.encode())
            write_atomically(folder / "stats.txt", tally.text(self._classes).encode())
            write_atomically(folder / "esri_accumulated_stats.json", _json(tally.statistics()))
            write_atomically(folder / "esri_model_definition.emd", _json(tally.definition(self._classes)))


class _Tally:
    """Statistics of the tiles of a split: pixels of each class, distribution of each band."""

    def __init__(self, style: Style, classes: int) -> None:
        self._style = style
        self.names: list[str] = []
        self._pixels, self._images = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        bands = len(style.bands)
        self._count = 0
        self._min, self._max = np.full(bands, np.inf), np.full(bands, -np.inf)
        self._mean, self._squares = np.zeros(bands), np.zeros(bands)
        self._cells: list[tuple[float, str]] = []

    def add(self, cut: Cut, labels: np.ndarray) -> None:
        """Count a tile; means and squares are merged as Chan et al. (1983) do."""
        self.names.append(cut.name)
        pixels = np.bincount(labels.ravel(), minlength=len(self._pixels) + 1)[1:]
        self._pixels += pixels
        self._images += pixels > 0
        self._cells.append((float(np.sqrt(abs(cut.transform.determinant))), cut.crs))
        known = cut.pixels[:, labels > 0].astype(np.float64)
        count = known.shape[1]
        mean = known.mean(axis=1)
        total, shift = self._count + count, mean - self._mean
        squares = ((known - mean[:, None]) ** 2).sum(axis=1)
        self._squares += squares + shift**2 * self._count * count / total
        self._mean += shift * count / total
        self._min, self._max = np.minimum(self._min, known.min(axis=1)), np.maximum(self._max, known.max(axis=1))
        self._count = total

    def text(self, classes: tuple[ClassInfo, ...]) -> str:
        """A readable summary."""
        side = self._style.chip_px
        lines = [
            f"images = {len(self.names)}  {len(self._style.bands)}*{side}*{side}",
            f"classes = {len(classes)}",
            "cls name\tcls value\timages\tpixels",
        ]
        counts = zip(classes, self._images, self._pixels)
        lines += [f"{info.name}\t{info.value}\t{images}\t{pixels}" for info, images, pixels in counts]
        return "\n".join(lines) + "\n"

    def statistics(self) -> dict[str, Any]:
        """Content of `esri_accumulated_stats.json`."""
        moments = zip(self._min, self._max, self._mean, self._squares)
        return {
            "Version": 1,
            "NumBands": len(self._style.bands),
            "TileSizeX": self._style.chip_px,
            "TileSizeY": self._style.chip_px,
            "NumClasses": len(self._pixels),
            "NumTiles": len(self.names),
            "OutputFeatures": False,
            "MetaDataMode": "Classified_Tiles",
            "ClassPixelStats": {
                "NumImagesTotal": len(self.names),
                "NumClasses": len(self._pixels),
                "NumImagesPerClass": self._images.tolist(),
                "NumPixelsPerClass": self._pixels.tolist(),
            },
            "BandStatsState": [
                {"Min": low, "Max": high, "M1": mean, "M2": squares, "Num": self._count}
                for low, high, mean, squares in moments
            ],
        }

    def definition(self, classes: tuple[ClassInfo, ...]) -> dict[str, Any]:
        """Content of `esri_model_definition.emd`."""
        style, std = self._style, np.sqrt(self._squares / self._count)
        smallest, largest = min(self._cells), max(self._cells)
        moments = zip(self._min, self._max, self._mean, std)
        return {
            "ImageHeight": style.chip_px,
            "ImageWidth": style.chip_px,
            "MetaDataMode": "Classified_Tiles",
            "ImageSpaceUsed": "MAP_SPACE",
            "ExtractBands": list(range(len(style.bands))),
            "Classes": [{"Value": info.value, "Name": info.name, "Color": list(rgb(info.color))} for info in classes],
            "InputRastersProps": {"RasterCount": 1, "SensorName": "", "BandNames": list(style.bands)},
            "AllTilesStats": [
                {"Min": low, "Max": high, "Mean": mean, "StdDev": deviation} for low, high, mean, deviation in moments
            ],
            "MinCellSize": _cell(*smallest),
            "MaxCellSize": _cell(*largest),
        }


def _cell(size: float, crs: str) -> dict[str, Any]:
    code = pyproj.CRS.from_user_input(crs).to_epsg()
    reference = {"wkid": code, "latestWkid": code} if code else {"wkt": crs}
    return {"x": size, "y": size, "spatialReference": reference}


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()
