"""Requests, results and errors that cross between QGIS and the engine process.

Both processes import this module and it imports neither: standard library only, Python 3.9 or newer.
A door (dock, toolbox, command line, notebook) fills in a request; one function of the engine answers it.
"""

from __future__ import annotations

import enum
import json
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Optional, TypeVar

T = TypeVar("T")

WINDOW_PX = 512
OVERLAP_PX = 128


class ErrorCode(str, enum.Enum):
    """What went wrong, for programs; the sentence is for people."""

    BAD_REQUEST = "bad_request"
    CANCELLED = "cancelled"
    INTERNAL = "internal"
    ENGINE_MISSING = "engine_missing"
    ENGINE_DIED = "engine_died"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_BANDS = "image_bands"
    IMAGE_TYPE = "image_type"
    IMAGE_CRS = "image_crs"
    IMAGE_EMPTY = "image_empty"
    IMAGE_GSD = "image_gsd"
    REGION_UNREADABLE = "region_unreadable"
    REGION_EMPTY = "region_empty"
    REGION_OUTSIDE = "region_outside"
    REGION_CRS = "region_crs"
    BUNDLE_UNREADABLE = "bundle_unreadable"
    BUNDLE_UNSAFE = "bundle_unsafe"
    BUNDLE_NEWER = "bundle_newer"
    OUTPUT_EXISTS = "output_exists"
    OUTPUT_UNWRITABLE = "output_unwritable"
    OUTPUT_IN_USE = "output_in_use"
    DISK_FULL = "disk_full"
    OUT_OF_MEMORY = "out_of_memory"


class OrthomaskError(Exception):
    """An error that a person can act on.

    Args:
        code: the kind of error, for programs.
        sentence: one sentence that says what is wrong.
        remedy: one sentence that says what to do about it.
        details: anything more, for the log.
    """

    def __init__(self, code: ErrorCode, sentence: str, remedy: str, details: str = "") -> None:
        super().__init__(f"{sentence} {remedy}")
        self.code = code
        self.sentence = sentence
        self.remedy = remedy
        self.details = details

    def to_json(self) -> dict[str, str]:
        """The error as JSON-RPC's `error.data`."""
        return {"code": self.code.value, "sentence": self.sentence, "remedy": self.remedy, "details": self.details}

    @classmethod
    def from_json(cls, data: dict[str, str]) -> OrthomaskError:
        """The error that `to_json` wrote."""
        return cls(ErrorCode(data["code"]), data["sentence"], data["remedy"], data["details"])


class Cancelled(OrthomaskError):  # noqa: N818 (it is no error of the program)
    """Raised inside a capability when the person who started it cancels."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.CANCELLED, "Cancelled.", "Run it again to go on from where it stopped.")


def _require(condition: bool, sentence: str, remedy: str) -> None:
    if not condition:
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)


def _require_threshold(threshold: Optional[float]) -> None:
    inside = threshold is None or 0 < threshold < 1
    _require(inside, f"The threshold {threshold} is not a probability.", "Use a number between 0 and 1.")


class Existing(str, enum.Enum):
    """What to do with results that are already in the output folder."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    RESUME = "resume"


class Level(str, enum.Enum):
    """A preflight light."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class Outline(str, enum.Enum):
    """How the outlines of a class are drawn from its pixels."""

    PIXELS = "pixels"
    SQUARED = "squared"
    SHARED = "shared"


@dataclass(frozen=True)
class Region:
    """What the user draws: a polygon or multipolygon as WKT, and its CRS as WKT or `EPSG:n`."""

    wkt: str
    crs: str


@dataclass(frozen=True)
class Image:
    """A raster that rasterio opens.

    Attributes:
        path: file, URL or any other GDAL dataset name.
        crs: the CRS to assume where the raster itself has none, as WKT or `EPSG:n`.
        bands: names or one-based numbers of the bands to feed to the model; empty for the best match.
    """

    path: str
    crs: str = ""
    bands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(bool(self.path), "No image was given.", "Name a raster file.")


@dataclass(frozen=True)
class PolygonOptions:
    """How polygons are cleaned: smaller ones are dropped and smaller holes filled."""

    min_area_m2: float = 6.0
    min_hole_m2: float = 6.0
    simplify: bool = True

    def __post_init__(self) -> None:
        positive = self.min_area_m2 >= 0 and self.min_hole_m2 >= 0
        _require(positive, "An area limit is negative.", "Give areas of 0 m² or more.")


@dataclass(frozen=True)
class PredictRequest:
    """Run a model over a region of an image, into the folder `output_dir`.

    Attributes:
        model: name of an embedded model or path of a bundle.
        region: where to predict; None for the whole image.
        threshold: probability (0 to 1) from which a pixel belongs to a class; None for the model's own.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        image_date: when the image was taken, in words or ISO 8601, copied to the provenance.
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

    def __post_init__(self) -> None:
        _require(bool(self.model), "No model was given.", "Choose a model.")
        _require(bool(self.output_dir), "No output folder was given.", "Name a folder for the results.")
        _require_threshold(self.threshold)
        fits = self.window_px >= 64 and self.window_px % 32 == 0 and 0 <= self.overlap_px <= self.window_px // 2
        _require(fits, "The window does not fit.", "Use a multiple of 32 px from 64 on, overlapping by half at most.")


@dataclass(frozen=True)
class PredictResult:
    """What a prediction left in its folder."""

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
class PolygonizeRequest:
    """Make polygons from the `probabilities.tif` of a run, at any threshold, without running the model again."""

    probabilities_path: str
    output_path: str
    threshold: float
    existing: Existing = Existing.REFUSE
    polygons: PolygonOptions = PolygonOptions()

    def __post_init__(self) -> None:
        _require(
            bool(self.probabilities_path), "No probability raster was given.", "Name the probabilities.tif of a run."
        )
        _require(self.output_path.endswith(".gpkg"), "The output is no GeoPackage.", "End its name in .gpkg.")
        _require_threshold(self.threshold)


@dataclass(frozen=True)
class PolygonizeResult:
    """The GeoPackage that was written."""

    polygons_path: str
    polygon_count: int
    polygon_area_m2: float
    seconds: float


@dataclass(frozen=True)
class CheckRequest:
    """Preflight: would this model work on this image, and how long would it take?"""

    image: Image
    model: str
    region: Optional[Region] = None
    device: str = "auto"

    def __post_init__(self) -> None:
        _require(bool(self.model), "No model was given.", "Choose a model.")


@dataclass(frozen=True)
class Light:
    """One preflight finding: what was looked at, how it stands, and why."""

    name: str
    level: Level
    reason: str


@dataclass(frozen=True)
class CheckResult:
    """The preflight lights, and an estimate of the run."""

    lights: tuple[Light, ...]
    windows: int
    seconds: float
    device: str

    @property
    def level(self) -> Level:
        """The worst of the lights."""
        levels = [light.level for light in self.lights]
        return next((level for level in (Level.RED, Level.AMBER) if level in levels), Level.GREEN)


@dataclass(frozen=True)
class ClassInfo:
    """A foreground class: its raster value (from 1), name, `#rrggbb` colour, and how it is outlined."""

    value: int
    name: str
    color: str
    outline: Outline = Outline.PIXELS


@dataclass(frozen=True)
class ModelsRequest:
    """Which models are there? With `model`, just that one: a name or the path of a bundle."""

    model: str = ""


@dataclass(frozen=True)
class ModelSummary:
    """What a person chooses a model by. `card` is the whole model card as JSON."""

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


@dataclass(frozen=True)
class ModelsResult:
    """The models that were found."""

    models: tuple[ModelSummary, ...]


@dataclass(frozen=True)
class InfoRequest:
    """Which engine is this, and on which device would it run?"""

    device: str = "auto"


@dataclass(frozen=True)
class InfoResult:
    """Versions and device. `device_reason` says why this device, in one sentence."""

    version: str
    device: str
    device_name: str
    device_reason: str
    precision: str
    versions: dict[str, str]


REQUESTS: dict[str, tuple[type, type]] = {
    "predict": (PredictRequest, PredictResult),
    "polygonize": (PolygonizeRequest, PolygonizeResult),
    "check": (CheckRequest, CheckResult),
    "models": (ModelsRequest, ModelsResult),
    "info": (InfoRequest, InfoResult),
}
"""The JSON-RPC methods of the worker: request and result of each."""


def to_json(message: object) -> dict[str, Any]:
    """A request or result as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(message)))  # type: ignore[call-overload]
    return plain


def from_json(kind: type[T], data: object) -> T:
    """The request or result that `to_json` wrote.

    Raises:
        OrthomaskError: a field is unknown, missing, or of another type.
    """
    try:
        built: T = _build(kind, data)
        return built
    except (TypeError, ValueError, KeyError) as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            f"This is not a valid {kind.__name__}.",
            "Use the same version of Orthomask on both sides.",
            str(error),
        ) from error


def _build(kind: Any, data: Any) -> Any:
    """`data` as an instance of `kind`: a dataclass, enum, Optional, tuple, dict or scalar."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Union:
        return None if data is None else _build(arguments[0], data)
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in _expect(list, data))
    if origin is dict:
        return dict(_expect(dict, data))
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = {f.name for f in fields(kind)}
        given = _expect(dict, data)
        if not names.issuperset(given):
            raise TypeError(f"unknown fields {sorted(set(given) - names)}")
        return kind(**{name: _build(hints[name], value) for name, value in given.items()})  # type: ignore[operator]
    if issubclass(kind, enum.Enum):
        return kind(data)
    if kind is float and type(data) is int:
        return float(data)
    return _expect(kind, data)


def _expect(kind: type[T], data: Any) -> T:
    if type(data) is not kind:
        raise TypeError(f"{data!r} is not of type {kind.__name__}")
    return data
