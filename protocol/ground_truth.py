"""Requests and results of ground truth: label projects, areas, masks and chips."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from .errors import require
from .values import ClassInfo, Existing, Image, Region
from .words import tr

BACKGROUND = 0
UNKNOWN = 255
"""Value in a mask of pixels whose class nobody knows: outside every area, or without image."""


class Split(str, enum.Enum):
    """What an area is for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    TODO = "todo"


class Touch(str, enum.Enum):
    """Which pixels a polygon covers: those whose centre lies inside, or all that it touches."""

    CENTRE = "centre"
    ALL = "all"


@dataclass(frozen=True)
class ClassValue:
    """What a value in somebody's labels means: the class `value`, 0 for background, 255 for unknown.

    Attributes:
        source: the attribute's or raster's value as text, or a colour `#rrggbb`.
    """

    source: str
    value: int

    def __post_init__(self) -> None:
        require(
            0 <= self.value <= UNKNOWN,
            tr("The class {} is outside 0 to 255.").format(self.value),
            tr("Number classes from 1."),
        )


@dataclass(frozen=True)
class Labels:
    """Polygons that say what is where, or a raster that does; values without a mapping: `training/truth/classes.py`.

    Attributes:
        path: vector file, or raster of class values or of colours, as GDAL names it.
        layer: name in the file, also of a raster; empty for the first one (in a label project for `labels`).
        class_field: attribute that names the class; empty if everything is of class `class_value`, except in a label
            project, where it is `class`.
        mapping: what the attribute's, raster's or colour table's values mean. Empty: they are class values or names
            of classes as they are. A value that is missing from a mapping is an error; black is background.
        subtract: what lies here becomes background, whatever was drawn before it.
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
    """Polygons within which every object is labelled. Only what lies inside one is ground truth.

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
        labels: later ones lie over earlier ones.
        areas: None if the whole image is labelled; it is then split by spatial blocks.
        place: where, for tables of scores; empty for the file's name.
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
    """Pictures and masks in two folders, without georeference: PNG, JPEG, TIFF, NPZ or HDF5 (`img` and `mask`).

    Attributes:
        images: folder, or a pattern of files such as `train/images/geneva_*`.
        masks: folder; a mask has the name of its picture, but for a word such as `image_` or `_mask` in either.
        mapping: what the masks' values or colours mean; empty if they are class values, or 0 and 255 for class 1.
        tile_step: distance between neighbours in the two numbers that end their file names, to join them into
            larger images; 0 keeps every file for itself.
        north_up: the second number grows to the north, as metres do and rows of web map tiles do not.
        boundaries: folder of pictures of the lines between touching objects, anything but 0 on 0, with the stems of
            the pictures. What they cover becomes background, which separates the objects.
        boundary_trim_px: what is taken off both sides of these lines.
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
    """Everything labelled that a training or an evaluation reads. Relative paths start at `root`."""

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


@dataclass(frozen=True)
class ProjectRequest:
    """Make a label project: a GeoPackage with the empty layers `labels` and `areas`, and its classes."""

    output_path: str
    crs: str
    classes: tuple[ClassInfo, ...]
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(
            self.output_path.endswith(".gpkg"),
            tr("The project is not a GeoPackage."),
            tr("Use a file name that ends in .gpkg."),
        )
        require_numbered(self.classes)


@dataclass(frozen=True)
class ProjectResult:
    """The label project that was made."""

    project_path: str


class Sampling(str, enum.Enum):
    """How areas are placed: side by side, anywhere, or as many in each stratum (class, or value of a layer)."""

    GRID = "grid"
    RANDOM = "random"
    STRATIFIED = "stratified"


@dataclass(frozen=True)
class AreasRequest:
    """Place square areas on an image, to be labelled.

    Attributes:
        output_path: a GeoPackage; the areas are added to its layer `areas`, which is made where it is missing.
        count: how many; a grid takes as many as fit, spread evenly.
        size_m: their side, metres on the ground.
        min_distance_m: between the edges of any two, those that are there already included.
        weight_path: raster or vector layer by whose values places are drawn, such as population density.
        weight_field: number of a vector layer's features; empty for equal weights.
        strata: labels or classes whose every class gets the same number of areas (for stratified sampling).
        shares: of train, validation and test; what is missing to 1 becomes todo.
        weight_crs: the CRS to assume where the weights have none.
    """

    image: Image
    output_path: str
    sampling: Sampling = Sampling.RANDOM
    count: int = 10
    size_m: float = 50.0
    min_distance_m: float = 0.0
    region: Optional[Region] = None
    weight_path: str = ""
    weight_layer: str = ""
    weight_field: str = ""
    strata: Optional[Labels] = None
    shares: tuple[float, ...] = (0.0, 0.0, 0.0)
    seed: int = 1
    weight_crs: str = ""

    def __post_init__(self) -> None:
        require(
            self.output_path.endswith(".gpkg"),
            tr("The output is not a GeoPackage."),
            tr("Use a file name that ends in .gpkg."),
        )
        positive = self.count > 0 and self.size_m > 0 and self.min_distance_m >= 0
        require(positive, tr("The number, size or distance of the areas is not positive."), tr("Use numbers above 0."))
        require_shares(self.shares)
        given = self.sampling is not Sampling.STRATIFIED or self.strata is not None
        require(given, tr("There are no classes to stratify by."), tr("Choose a layer of classes."))


@dataclass(frozen=True)
class AreasResult:
    """The areas that were added."""

    areas_path: str
    count: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class MaskRequest:
    """Burn labels onto exactly the grid of an image: 0 background, class values, 255 unknown.

    Attributes:
        labels: later ones lie over earlier ones.
        classes: with names and colours for the raster; empty for those of the labels.
        border_px: width of the strip between touching objects that becomes a class of its own (the highest
            value plus 1); 0 for none.
        weights_path: raster of pixel weights to write as well, high between near objects (Ronneberger et al. 2015).
        region: write only this part of the grid.
    """

    image: Image
    labels: tuple[Labels, ...]
    output_path: str
    areas: Optional[Areas] = None
    classes: tuple[ClassInfo, ...] = ()
    touch: Touch = Touch.CENTRE
    border_px: int = 0
    weights_path: str = ""
    region: Optional[Region] = None
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(len(self.labels) > 0, tr("No labels were given."), tr("Choose at least one layer of labels."))
        require(
            self.output_path.endswith(".tif"),
            tr("The output is not a GeoTIFF."),
            tr("Use a file name that ends in .tif."),
        )
        apart = self.weights_path != self.output_path
        require(apart, tr("The mask and the weights have the same name."), tr("Choose another name for the weights."))
        require(0 <= self.border_px <= 32, tr("The border width is outside 0 to 32 px."), tr("Use a few pixels."))


@dataclass(frozen=True)
class ClassCount:
    """How much there is of a class.

    Attributes:
        objects: polygons that show; those of rasters of labels are not counted.
    """

    value: int
    name: str
    pixels: int
    objects: int


@dataclass(frozen=True)
class MaskResult:
    """The mask that was written. Warnings tell what was mended or left out, with numbers."""

    mask_path: str
    counts: tuple[ClassCount, ...]
    unknown_px: int
    seconds: float
    warnings: tuple[str, ...] = ()


class ChipFormat(str, enum.Enum):
    """How chips are stored; each is read back by Orthomask."""

    GEOTIFF = "geotiff"
    PNG = "png"
    NPZ = "npz"
    HDF5 = "hdf5"


class Catalogue(str, enum.Enum):
    """Descriptions of chips that other programs read."""

    COCO = "coco"
    ARCGIS = "arcgis"


@dataclass(frozen=True)
class ChipsRequest:
    """Cut an image and its labels into chips, and describe every one in `manifest.json`.

    Attributes:
        gsd_m: resolutions, metres per pixel, each a batch of its own; empty for the image's own.
        rotations: degrees, each a batch of its own.
        empty_share: chips without any object that are kept, as a part of those with objects; 1 keeps all.
        max_unknown_share: chips with a larger part of unknown pixels or without image are left out as faulty.
        shares: of train, validation and test, for images without areas: spatial blocks are dealt to the splits.
    """

    data: tuple[LabelledImage, ...]
    output_dir: str
    classes: tuple[ClassInfo, ...] = ()
    format: ChipFormat = ChipFormat.GEOTIFF
    catalogues: tuple[Catalogue, ...] = ()
    chip_px: int = 256
    stride_px: int = 256
    gsd_m: tuple[float, ...] = ()
    rotations: tuple[float, ...] = (0.0,)
    empty_share: float = 1.0
    max_unknown_share: float = 0.5
    shares: tuple[float, ...] = (0.7, 0.15, 0.15)
    seed: int = 1
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(len(self.data) > 0, tr("No labelled data was given."), tr("Choose an image with labels."))
        require(bool(self.output_dir), tr("No output folder was given."), tr("Choose a folder for the chips."))
        fits = 16 <= self.chip_px <= 8192 and self.stride_px > 0
        require(fits, tr("The chip size or stride is out of range."), tr("Use 16 to 8192 px, and a stride above 0."))
        require(
            all(gsd > 0 for gsd in self.gsd_m),
            tr("A resolution is not positive."),
            tr("Specify the resolution in metres per pixel."),
        )
        require(len(self.rotations) > 0, tr("No rotation was given."), tr("Use 0 for chips without rotation."))
        inside = 0 <= self.empty_share <= 1 and 0 <= self.max_unknown_share < 1
        require(inside, tr("A share is outside 0 to 1."), tr("Use a number between 0 and 1."))
        require_shares(self.shares)


@dataclass(frozen=True)
class ChipsResult:
    """The chips that were written, by split, and how many were left out for which reason."""

    manifest_path: str
    counts: dict[str, int]
    left_out: dict[str, int]
    seconds: float
    warnings: tuple[str, ...] = ()


def require_numbered(classes: tuple[ClassInfo, ...]) -> None:
    """Raise unless there are classes, numbered 1, 2, 3 and so on."""
    numbered = [info.value for info in classes] == list(range(1, len(classes) + 1))
    require(
        numbered and len(classes) > 0, tr("The classes are not numbered 1, 2, 3 …"), tr("Number them without gaps.")
    )


def require_shares(shares: tuple[float, ...]) -> None:
    """Raise unless these are parts, of train, validation and test, of at most 1."""
    parts = len(shares) == 3 and min(shares) >= 0 and sum(shares) <= 1 + 1e-9
    require(
        parts,
        tr("{} are not valid shares.").format(list(shares)),
        tr("Use three numbers of 0 or more that add up to at most 1."),
    )
