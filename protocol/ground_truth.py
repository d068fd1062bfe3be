"""Requests and results of ground truth: label projects, areas, masks and chips."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from .errors import require
from .labelled import Areas, LabelledImage, Labels, Touch
from .values import ClassInfo, Existing, Image, Region
from .words import tr


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
    """How areas are placed: side by side, anywhere, or equally many per stratum (class, or value of a layer)."""

    GRID = "grid"
    RANDOM = "random"
    STRATIFIED = "stratified"


@dataclass(frozen=True)
class AreasRequest:
    """Place square areas on an image, to be labelled.

    Attributes:
        output_path: a GeoPackage; the areas are added to its layer `areas`, which is created if missing.
        count: how many; a grid takes as many as fit, spread evenly.
        size_m: side length, metres on the ground.
        min_distance_m: between the edges of any two, existing ones included.
        weight_path: raster or vector layer whose values weight the sampling, such as population density.
        weight_field: a vector layer's numeric attribute; empty for equal weights.
        strata: labels or classes of which each class gets the same number of areas (for stratified sampling).
        shares: of train, validation and test; the rest up to 1 becomes todo.
        weight_crs: the CRS to assume where the weights have none.
        checked: everything there is labelled already, so areas without a label are empty; else they are to do.
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
    checked: bool = False

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
        labels: later ones cover earlier ones.
        classes: with names and colours for the raster; empty for those of the labels.
        border_px: width of the strip between touching objects that becomes a class of its own (the highest
            value plus 1); 0 for none.
        weights_path: raster of pixel weights to write as well, high between close objects (Ronneberger et al. 2015).
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
        objects: visible polygons; objects in label rasters are not counted.
    """

    value: int
    name: str
    pixels: int
    objects: int


@dataclass(frozen=True)
class MaskResult:
    """The mask that was written. Warnings say what was repaired or left out, with numbers."""

    mask_path: str
    counts: tuple[ClassCount, ...]
    unknown_px: int
    seconds: float
    warnings: tuple[str, ...] = ()


class ChipFormat(str, enum.Enum):
    """How chips are stored; Orthomask reads them all back."""

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
        empty_share: chips without objects to keep, as a share of those with objects; 1 keeps all.
        max_unknown_share: chips with a larger share of unknown pixels or without image are left out as faulty.
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
    """Raise unless train, validation and test get shares of at most 1 in total."""
    parts = len(shares) == 3 and min(shares) >= 0 and sum(shares) <= 1 + 1e-9
    require(
        parts,
        tr("{} are not valid shares.").format(list(shares)),
        tr("Use three numbers of 0 or more that add up to at most 1."),
    )
