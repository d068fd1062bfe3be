"""Labelled data: labels, areas, images and chips with their ground truth."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from .errors import require
from .values import Image
from .words import tr

BACKGROUND = 0
UNKNOWN = 255
"""Value in a mask of pixels whose class is not known: outside every area, or without image."""
AREA_STATE, AREA_TODO, AREA_CHECKED = "state", "todo", "checked"
"""An area's attribute, and its values: to do until a label lies in it, or checked by a person."""
AREA_REASON, AREA_RANK = "reason", "rank"
"""Attributes of a suggested area, a square: why it was suggested, in words, and which to check first, from 1."""
AREA_SECONDS = "seconds"
"""An area's attribute: how long a person has reviewed it."""
LABEL_ORIGIN, LABEL_RUN, LABEL_CHANGED = "origin", "run_id", "changed_at"
"""Attributes of a label: how it came about, the run it is from, and when a person last touched it (ISO 8601, UTC)."""


class Origin(str, enum.Enum):
    """How a label came about."""

    DRAWN = "drawn"
    ACCEPTED = "accepted"
    """A draft that was right."""
    CORRECTED = "corrected"
    """A draft whose outline or class a person changed."""
    ADDED = "added"
    """An object that the model missed."""
    COLLECTED = "collected"
    """Taken from elsewhere, such as OpenStreetMap."""


class Split(str, enum.Enum):
    """What an area is for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    TODO = "todo"


class Touch(str, enum.Enum):
    """Which pixels a polygon covers: those whose centre is inside, or all that it touches."""

    CENTRE = "centre"
    ALL = "all"


@dataclass(frozen=True)
class ClassValue:
    """What a value in labels means: the class `value`, 0 for background, 255 for unknown.

    Attributes:
        source: the attribute's or raster's value as text, or a colour `#rrggbb`.
        called: its name in messages; empty for `source`.
    """

    source: str
    value: int
    called: str = ""

    def __post_init__(self) -> None:
        require(
            0 <= self.value <= UNKNOWN,
            tr("The class {} is outside 0 to 255.").format(self.value),
            tr("Number classes from 1."),
        )


@dataclass(frozen=True)
class Labels:
    """Polygons, or a raster, that say what is where; for values without a mapping, see `training/truth/classes.py`.

    Attributes:
        path: vector file, or raster of class values or of colours, as GDAL names it.
        layer: name in the file, also of a raster; empty for the first one (in a label project for `labels`).
        class_field: attribute that names the class; empty if everything is of class `class_value`, except in a label
            project, where it is `class`.
        mapping: what the attribute's, raster's or colour table's values mean; empty if they are class values or class
            names. A value that is missing from a mapping is an error; black is background.
        subtract: what these cover becomes background, whatever was drawn before.
        crs: the CRS to assume where the file has none, or one that its coordinates cannot be in.
    """

    path: str
    layer: str = ""
    class_field: str = ""
    mapping: tuple[ClassValue, ...] = ()
    class_value: int = 1
    subtract: bool = False
    crs: str = ""

    def __post_init__(self) -> None:
        require(bool(self.path), tr("No labels were given."), tr("Choose a vector file with polygons."))
        require(0 < self.class_value < UNKNOWN, tr("The class is outside 1 to 254."), tr("Number classes from 1."))
        unique = len({entry.source for entry in self.mapping}) == len(self.mapping)
        require(unique, tr("A value is mapped to two classes."), tr("Keep one line for each value."))


@dataclass(frozen=True)
class Areas:
    """Polygons within which every object is labelled. Only what is inside one is ground truth.

    An area whose attribute `state` is `todo` counts only once it holds a label: it may be empty, or not drawn yet. A
    suggested one, which has a `reason`, counts only once it is `checked`: what lies in it may be half done.

    Attributes:
        layer: name in the file; empty for `areas` if there is one, else the first.
        split_field: attribute that holds `train`, `validation`, `test` or `todo`; without it all are for training.
        crs: as in `Labels`.
    """

    path: str
    layer: str = ""
    split_field: str = "split"
    crs: str = ""


@dataclass(frozen=True)
class LabelledImage:
    """An image with its labels.

    Attributes:
        labels: later ones cover earlier ones.
        areas: None if the whole image is labelled; it is then split by spatial blocks.
        place: its name in tables of scores; empty for the file's name.
        weight: how often it is drawn for training, relative to others.
    """

    image: Image
    labels: tuple[Labels, ...]
    areas: Optional[Areas] = None
    touch: Touch = Touch.CENTRE
    place: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        require(len(self.labels) > 0, tr("No labels were given."), tr("Choose at least one layer of labels."))
        require(self.weight >= 0, tr("A weight is negative."), tr("Use weights of 0 or more."))


@dataclass(frozen=True)
class Pictures:
    """Pictures and masks in two folders, without georeference: PNG, JPEG, TIFF, NPY, NPZ or HDF5 (`img` and `mask`).

    Attributes:
        images: folder, or a pattern of files such as `train/images/geneva_*`.
        masks: folder; masks are named like their pictures, except for a word such as `image_` or `_mask`.
        mapping: what the masks' values or colours mean; empty if they are class values, or 0 and 255 for class 1.
        tile_step: distance between neighbours in the two numbers that end their file names, to join them into
            larger images; 0 keeps every file for itself.
        north_up: the second number increases northwards, as metres do and rows of web map tiles do not.
        boundaries: folder of pictures of the lines between touching objects, nonzero on 0, with the same stems as the
            pictures. What the lines cover becomes background, which separates the objects.
        boundary_trim_px: width to trim off both sides of these lines.
        second: folder or pattern of second pictures of the same ground, with the same stems, whose bands follow;
            resampled to the size of the first ones.
    """

    images: str
    masks: str
    gsd_m: float
    mapping: tuple[ClassValue, ...] = ()
    split: Split = Split.TRAIN
    place: str = ""
    weight: float = 1.0
    tile_step: float = 0.0
    north_up: bool = False
    boundaries: str = ""
    boundary_trim_px: int = 0
    second: str = ""

    def __post_init__(self) -> None:
        require(
            bool(self.images and self.masks),
            tr("No images with masks were given."),
            tr("Choose folders of images and masks."),
        )
        require(
            0.005 <= self.gsd_m <= 1000,
            tr("{} m per pixel is out of range.").format(self.gsd_m),
            tr("Specify the resolution in metres per pixel."),
        )
        least = min(self.weight, self.tile_step, self.boundary_trim_px)
        require(least >= 0, tr("A weight, step or trim is negative."), tr("Use 0 or more."))


@dataclass(frozen=True)
class ChipSet:
    """Chips that Orthomask exported: the folder that holds their `manifest.json`."""

    path: str
    place: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class LabelledData:
    """All labelled data that a training or an evaluation reads. Relative paths start at `root`."""

    projects: tuple[LabelledImage, ...] = ()
    pictures: tuple[Pictures, ...] = ()
    chips: tuple[ChipSet, ...] = ()
    root: str = ""

    def __post_init__(self) -> None:
        some = bool(self.projects or self.pictures or self.chips)
        require(
            some,
            tr("No labelled data was given."),
            tr("Choose an image with labels, folders of images and masks, or chips."),
        )
