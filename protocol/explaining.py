"""Requests and results that show why a model says so, and where it is weak."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from .errors import require
from .values import Existing, Image
from .words import tr

UNCERTAINTY_FILE = "uncertainty.tif"
"""In a run's folder, unless another place was asked for."""


class Explanation(str, enum.Enum):
    """How an answer of a model is explained."""

    GRAD_CAM = "grad-cam"
    """Where features lie that raise the probability (Seg-Grad-CAM)."""
    OCCLUSION = "occlusion"
    """How much the probability falls when a part of the image is hidden."""
    ACTIVATIONS = "activations"
    """Where a stage of the network responds most."""


@dataclass(frozen=True)
class ExplainRequest:
    """Explain what a model says of an object as a raster layer of its surroundings.

    Attributes:
        model: embedded model or bundle.
        output_path: a GeoTIFF, float32, one band (activations: one for each of the strongest channels).
        x, y: a place on the object, in `crs`.
        crs: as WKT or `EPSG:n`; empty for the image's.
        object_wkt: the object's outline in `crs`; empty for what the model finds at the place, or a spot of
            3 x 3 pixels where it finds nothing.
        class_value: the class to explain; 0 for the most probable one there.
        stage: of the network, by its name in the drawing of the network; empty for the method's usual one.
        channels: of activations, how many of the strongest.
        model_sha256: of the model that the object comes from; empty for whichever it is.
    """

    image: Image
    model: str
    output_path: str
    method: Explanation = Explanation.GRAD_CAM
    x: float = math.nan
    y: float = math.nan
    crs: str = ""
    object_wkt: str = ""
    class_value: int = 0
    stage: str = ""
    channels: int = 3
    model_sha256: str = ""
    device: str = "auto"
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        placed = math.isfinite(self.x) and math.isfinite(self.y)
        require(placed or bool(self.object_wkt), tr("The place has no coordinates."), tr("Click on the map."))
        tiff = self.output_path.lower().endswith((".tif", ".tiff"))
        require(tiff, tr("The explanation is a GeoTIFF."), tr("End its name in .tif."))
        require(0 < self.channels <= 16, tr("The number of channels is out of range."), tr("Use 1 to 16."))


@dataclass(frozen=True)
class ExplainResult:
    """An explanation.

    Attributes:
        sentence: what the layer shows, and what it does not.
        confidence: mean probability of the class in the object, 0 to 1.
        bands: what each band shows.
    """

    path: str
    sentence: str
    class_name: str
    confidence: float
    stage: str
    bands: tuple[str, ...]
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class UncertaintyRequest:
    """Where a finished run is unsure, as a raster on its grid.

    Attributes:
        output_path: a GeoTIFF of two bands, 0 to 1: entropy, and (with `flips`) how much the probability changes when
            the image is mirrored; empty for `uncertainty.tif` in the run's folder.
        flips: run the model again on the mirrored image; without, only the entropy, which the run itself has.
    """

    run_dir: str
    output_path: str = ""
    flips: bool = True
    device: str = "auto"
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(bool(self.run_dir), tr("No run was given."), tr("Choose the folder of a run."))
        tiff = not self.output_path or self.output_path.lower().endswith((".tif", ".tiff"))
        require(tiff, tr("The uncertainty is a GeoTIFF."), tr("End its name in .tif."))


@dataclass(frozen=True)
class UncertaintyResult:
    """The raster, and the share of the run's ground where it is not sure: an entropy above a half."""

    path: str
    unsure_share: float
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
