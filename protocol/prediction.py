"""Requests and results of running models."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Optional

from .drawing import Drawing
from .errors import require, require_threshold
from .values import ClassInfo, Existing, Image, Level, PolygonOptions, Region
from .words import tr

WINDOW_PX = 512
OVERLAP_PX = 128
REACH_PX = 128
"""Objects of at most this width and height are kept whole at a region's edge: 38 m at 0.3 m, 256 m at 2 m."""


@dataclass(frozen=True)
class PredictRequest:
    """Run a model over a region of an image, into the folder `output_dir`.

    Attributes:
        model: name of an embedded model or path of a bundle.
        region: where to predict; None for the whole image.
        threshold: probability (0 to 1) from which a pixel belongs to a class; None for the model's own.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        image_date: when the image was taken, in words or ISO 8601, copied to the provenance.
        whole_objects: keep an object at the region's edge whole if it belongs to the region, and leave it out
            otherwise; see `engine/shapes/edges.py`. Without it, both are cut.
    """

    image: Image
    model: str
    output_dir: str
    region: Optional[Region] = None
    threshold: Optional[float] = None
    existing: Existing = Existing.REFUSE
    window_px: int = WINDOW_PX
    overlap_px: int = OVERLAP_PX
    device: str = "auto"
    image_date: str = ""
    polygons: PolygonOptions = PolygonOptions()
    whole_objects: bool = False

    @property
    def reach_px(self) -> int:
        """How far beyond its region a run computes."""
        return REACH_PX if self.whole_objects and self.region is not None else 0

    def __post_init__(self) -> None:
        require(bool(self.model), tr("No model was given."), tr("Choose a model."))
        require(bool(self.output_dir), tr("No output folder was given."), tr("Choose a folder for the results."))
        require_threshold(self.threshold)
        fits = self.window_px >= 64 and self.window_px % 32 == 0 and 0 <= self.overlap_px <= self.window_px // 2
        require(
            fits,
            tr("The window size or overlap is not valid."),
            tr("Use a multiple of 32 px, at least 64, and an overlap of at most half a window."),
        )


@dataclass(frozen=True)
class PredictResult:
    """What a prediction wrote to its folder."""

    run_id: str
    classes_path: str
    probabilities_path: str
    polygons_path: str
    polygon_count: int
    polygon_area_m2: float
    device: str
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScaleRequest:
    """Run a prediction in several processes on this computer, or on the computers of a Dask cluster.

    The result is that of the prediction itself, in the same folder.

    Attributes:
        processes: on this computer; with GPUs, one for each is a good number.
        scheduler: address of a running Dask scheduler, whose workers are used instead.
        block_windows: side of a block, a worker's unit of work, in strides of windows. 0 to choose it for the image and
            the workers, or as in an unfinished run.
    """

    predict: PredictRequest
    processes: int = 0
    scheduler: str = ""
    block_windows: int = 0

    def __post_init__(self) -> None:
        one = (self.processes > 0) != bool(self.scheduler)
        require(one, tr("Neither processes nor a scheduler were given, or both were."), tr("Specify one of the two."))
        require(self.block_windows >= 0, tr("A block has no windows."), tr("Use a block of one window or more."))


@dataclass(frozen=True)
class BlockRequest:
    """Compute one block of a shared prediction: what a `ScaleRequest` asks of each of its workers.

    Attributes:
        work_dir: hidden folder of the run, where a record says what all blocks have in common.
        x: left edge, in pixels of the lattice; y, width and height likewise.
        access: GDAL's options to open the image. They are secret: never recorded.
    """

    work_dir: str
    x: int
    y: int
    width: int
    height: int
    access: dict[str, str] = field(default_factory=dict, repr=False, hash=False)


@dataclass(frozen=True)
class BlockResult:
    """Whether a block holds any data."""

    filled: bool


@dataclass(frozen=True)
class MosaicRequest:
    """Join rasters of one grid into a virtual raster, which is then predicted as one image, without seams.

    Attributes:
        rasters: files, and folders whose GeoTIFFs and JPEG 2000 files all belong to it; the last is on top.
        nodata: value to treat as no data in rasters that do not mark missing data.
    """

    rasters: tuple[str, ...]
    output_path: str
    existing: Existing = Existing.REFUSE
    nodata: Optional[float] = None

    def __post_init__(self) -> None:
        require(bool(self.rasters), tr("No image was given."), tr("Choose an image."))
        require(
            self.output_path.endswith(".vrt"),
            tr("The output is not a virtual raster."),
            tr("Use a file name that ends in .vrt."),
        )


@dataclass(frozen=True)
class MosaicResult:
    """The virtual raster, and its size."""

    path: str
    rasters: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class PolygonizeRequest:
    """Make polygons from the `probabilities.tif` of a run, at any threshold, without running the model again.

    Attributes:
        region: only of objects that touch it; None for all. Objects that reach further than 128 pixels beyond are cut.
        edited_path: GeoPackage with polygons of the same run, whose edits are kept: what was added or corrected, and
            what was removed. Empty for none.
    """

    probabilities_path: str
    output_path: str
    threshold: float
    existing: Existing = Existing.REFUSE
    polygons: PolygonOptions = PolygonOptions()
    region: Optional[Region] = None
    edited_path: str = ""

    def __post_init__(self) -> None:
        require(
            bool(self.probabilities_path),
            tr("No probability raster was given."),
            tr("Choose the probabilities.tif of a run."),
        )
        require(
            self.output_path.endswith(".gpkg"),
            tr("The output is not a GeoPackage."),
            tr("Use a file name that ends in .gpkg."),
        )
        require_threshold(self.threshold)


@dataclass(frozen=True)
class PolygonizeResult:
    """The GeoPackage that was written."""

    polygons_path: str
    polygon_count: int
    polygon_area_m2: float
    seconds: float


@dataclass(frozen=True)
class CheckRequest:
    """Preflight: would this model work on this image, and how long would it take?

    Attributes:
        windows: of the run, where the image is only a sample of what it will read; 0 to count them.
        calibrate: measure this computer's speed first where it is not known, which takes some seconds.
        whole_objects: as in the `PredictRequest`; such a run computes more.
    """

    image: Image
    model: str
    region: Optional[Region] = None
    device: str = "auto"
    windows: int = 0
    calibrate: bool = False
    whole_objects: bool = False

    def __post_init__(self) -> None:
        require(bool(self.model), tr("No model was given."), tr("Choose a model."))


@dataclass(frozen=True)
class Light:
    """One preflight finding: what was checked, the result, and why.

    Attributes:
        nodata: the value of a margin that shows nothing, where it would help to treat it as no data.
        refuses: a run would be refused for this reason, and not only give a bad result.
    """

    name: str
    level: Level
    reason: str
    nodata: Optional[float] = None
    refuses: bool = False


@dataclass(frozen=True)
class Workload:
    """What a run has to do.

    Attributes:
        windows: that go through the network, with batches filled up.
        strip_mb: memory for the region, besides the network's.
    """

    windows: int
    strip_mb: float


@dataclass(frozen=True)
class CalibrateRequest:
    """Measure how fast a model runs here, unless already known, and estimate what the workload takes."""

    model: str
    workload: Workload
    device: str = "auto"

    def __post_init__(self) -> None:
        require(bool(self.model), tr("No model was given."), tr("Choose a model."))


@dataclass(frozen=True)
class CalibrateResult:
    """What a run is expected to take; None for what is not known.

    Attributes:
        memory_mb: the most that the engine's process takes at once.
        light: if free memory will not suffice.
    """

    seconds: Optional[float] = None
    memory_mb: Optional[float] = None
    light: Optional[Light] = None


@dataclass(frozen=True)
class CheckResult:
    """The preflight lights, and what a run is expected to take, as far as that is known.

    Attributes:
        memory_mb: the most that the engine's process takes at once.
        workload: for a `CalibrateRequest`; None if that would add nothing.
        bands: numbers of the image's bands that the model reads, in its order; empty if it cannot.
    """

    lights: tuple[Light, ...]
    windows: int
    seconds: Optional[float]
    device: str
    memory_mb: Optional[float] = None
    workload: Optional[Workload] = None
    bands: tuple[int, ...] = ()

    @property
    def level(self) -> Level:
        """The worst of the lights."""
        levels = [light.level for light in self.lights]
        return next((level for level in (Level.RED, Level.AMBER) if level in levels), Level.GREEN)


@dataclass(frozen=True)
class ModelsRequest:
    """Which models are there? With `model`, just that one: a name or the path of a bundle.

    Attributes:
        folders: where to look for bundles besides the embedded ones.
    """

    model: str = ""
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSummary:
    """What a user chooses a model by.

    Attributes:
        card: the whole model card as JSON.
        networks: its network drawn; of an ensemble, each member's.
    """

    name: str
    title: str
    path: str
    sha256: str
    gsd_m: float
    bands: tuple[str, ...]
    classes: tuple[ClassInfo, ...]
    threshold: float
    licence: str
    attribution: str
    card: dict[str, Any] = field(default_factory=dict)
    networks: tuple[Drawing, ...] = ()


@dataclass(frozen=True)
class ModelsResult:
    """The models that were found."""

    models: tuple[ModelSummary, ...]


@dataclass(frozen=True)
class InfoRequest:
    """Which engine is this, and on which device would it run?"""

    device: str = "auto"


class GpuProblem(str, enum.Enum):
    """Why the engine computes on the CPU."""

    NONE = "none"
    """It does not: it uses a GPU."""
    CHOSEN = "chosen"
    """The CPU was requested."""
    BUILD = "build"
    """PyTorch was installed without CUDA."""
    DRIVER = "driver"
    """The GPU's driver is too old for this build of PyTorch."""
    AGE = "age"
    """This build of PyTorch has no code for a GPU of this age."""
    MEMORY = "memory"
    """Other programs have taken the GPU's memory."""
    ABSENT = "absent"
    """PyTorch finds no GPU."""
    START = "start"
    """The GPU could not be started."""


@dataclass(frozen=True)
class InfoResult:
    """Versions and device. `device_reason` says why this device, in one sentence.

    Attributes:
        precision: of a new run.
        gpu_problem: why no GPU is used.
        gpu_details: the same in PyTorch's own words, for experts.
        precisions: all that the device supports.
    """

    version: str
    device: str
    device_name: str
    device_reason: str
    precision: str
    versions: dict[str, str]
    gpu_problem: GpuProblem = GpuProblem.NONE
    gpu_details: str = ""
    precisions: tuple[str, ...] = ("fp32",)
