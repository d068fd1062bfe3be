"""What a model is trained from and how: a TOML file, parsed into values that check themselves."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from ..engine.unet import UNetArguments
from ..protocol import ClassInfo, ErrorCode, OrthomaskError, from_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REMEDY = "Correct the recipe and start again."


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, REMEDY)


def _require_range(name: str, limits: tuple[float, ...], least: float, most: float = float("inf")) -> None:
    ordered = len(limits) == 2 and least <= limits[0] <= limits[1] <= most
    _require(ordered, f"{name} = {list(limits)} is no range within {least:g} and {most:g}.")


@dataclass(frozen=True)
class Source:
    """Labelled images of one place at one resolution.

    Attributes:
        place: where, for the model card; sources of the same place may differ in resolution.
        folder: below the data folder; it holds `images/NAME.*` and `masks/NAME.png`.
        files: pattern of the images' file names.
        gsd_m: ground sampling distance of the images, metres.
        weight: how often it is drawn, relative to the other sources.
        mask_values: value in the mask of background, class 1, class 2 …; any other value is unknown.
        tile_step: distance between neighbours in the two numbers that end their file names, to join them into
            larger images; 0 keeps every file for itself.
        north_up: the second number grows to the north, as metres do and rows of web map tiles do not.
    """

    place: str
    folder: str
    files: str
    gsd_m: float
    weight: float = 1.0
    mask_values: tuple[int, ...] = (0, 1)
    tile_step: float = 0.0
    north_up: bool = False

    def __post_init__(self) -> None:
        _require(0.005 <= self.gsd_m <= 100, f"The ground sampling distance {self.gsd_m} m of “{self.place}” is odd.")
        _require(self.weight >= 0, f"The weight of “{self.place}” is negative.")
        _require(self.tile_step >= 0, f"The tile step of “{self.place}” is negative.")
        _require(len(set(self.mask_values)) == len(self.mask_values) >= 2, "Two classes share a mask value.")


@dataclass(frozen=True)
class Validation:
    """Labelled images that choose the best weights and the threshold, never trained on.

    Attributes:
        name: of the data set, for the model card.
    """

    name: str
    folder: str
    gsd_m: float
    mask_values: tuple[int, ...] = (0, 1)


@dataclass(frozen=True)
class Augmentation:
    """How far training images are changed at random; every strength may be 0, every range `[1, 1]`.

    Attributes:
        scale: range of the zoom, drawn evenly on a logarithmic scale; 2 shows everything twice as large.
        rotate: turn by any angle; otherwise by right angles only.
        brightness: largest shift, as a part of the full range of values.
        contrast, gamma, saturation: ranges of the factors.
        colour: largest difference of a band's gain from 1.
        blur: largest blend with a blurred copy; half as much sharpening is drawn as often.
        noise: largest standard deviation of the noise, as a part of the full range of values.
        shade: largest darkening or lightening of large soft patches (haze, cloud shadow).
        blank: chance of a blank black or white block, labelled as background.
    """

    scale: tuple[float, ...] = (0.6, 1.7)
    rotate: bool = True
    brightness: float = 0.08
    contrast: tuple[float, ...] = (0.75, 1.3)
    gamma: tuple[float, ...] = (0.75, 1.3)
    saturation: tuple[float, ...] = (0.4, 1.3)
    colour: float = 0.06
    blur: float = 0.6
    noise: float = 0.01
    shade: float = 0.15
    blank: float = 0.08

    def __post_init__(self) -> None:
        _require_range("augmentation.scale", self.scale, 0.1, 10)
        _require_range("augmentation.contrast", self.contrast, 0.1, 10)
        _require_range("augmentation.gamma", self.gamma, 0.1, 10)
        _require_range("augmentation.saturation", self.saturation, 0, 10)
        strengths = (self.brightness, self.colour, self.blur, self.noise, self.shade, self.blank)
        _require(all(0 <= strength <= 1 for strength in strengths), "A strength of the augmentation is not in 0 to 1.")


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        steps: optimizer steps; each sees `batch` chips of `chip_px` x `chip_px` pixels.
        learning_rate: of the optimizer (Muon) at its peak, after `warmup_steps`; it then falls to 0 as a cosine.
        label_smoothing: probability that is spread over all classes, for labels that are not quite right.
        averaging: decay of the running average of the weights, which is what is validated and saved.
        validate_every: steps between validations.
        precision: Lightning's name of it.
        workers: processes that prepare chips; 0 prepares them in the main process.
    """

    steps: int = 2600
    batch: int = 8
    chip_px: int = 192
    learning_rate: float = 0.02
    weight_decay: float = 0.02
    warmup_steps: int = 100
    label_smoothing: float = 0.05
    averaging: float = 0.995
    validate_every: int = 260
    precision: str = "bf16-mixed"
    workers: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        _require(min(self.steps, self.batch, self.chip_px, self.validate_every) > 0, "The schedule has no steps.")
        _require(0 < self.learning_rate < 1, f"The learning rate {self.learning_rate} is not in 0 to 1.")
        _require(0 <= self.warmup_steps <= self.steps, "The warm-up is longer than the training.")
        _require(0 <= self.averaging < 1 and 0 <= self.label_smoothing < 1, "Averaging or smoothing is not in 0 to 1.")


@dataclass(frozen=True)
class Recipe:
    """Everything that a training depends on besides the images themselves.

    Attributes:
        name: of the model, and the stem of its bundle.
        gsd_m: ground sampling distance that the model works at, metres.
        bands: names of the image's bands, in order.
    """

    name: str
    title: str
    gsd_m: float
    bands: tuple[str, ...]
    classes: tuple[ClassInfo, ...]
    network: UNetArguments
    sources: tuple[Source, ...]
    validation: Validation
    licence: str
    attribution: str
    augmentation: Augmentation = Augmentation()
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        _require(0.005 <= self.gsd_m <= 100, f"The ground sampling distance {self.gsd_m} m is odd.")
        _require(sum(source.weight for source in self.sources) > 0, "There is no source with a weight above 0.")
        numbered = [info.value for info in self.classes] == list(range(1, len(self.classes) + 1))
        _require(numbered and len(self.classes) > 0, "The classes are not numbered 1, 2, 3 …")
        fits = self.network.bands == len(self.bands) and self.network.classes == len(self.classes) + 1
        _require(fits, "The network does not have as many bands as the images and one class more than there are names.")
        divides = self.schedule.chip_px % self.network.divisor == 0
        _require(divides, f"Chips of {self.schedule.chip_px} px are no multiple of {self.network.divisor} px.")


def load(path: Path) -> tuple[Recipe, str]:
    """The recipe in a TOML file, and the SHA-256 of the file.

    Raises:
        OrthomaskError: the file is missing, no TOML, or does not make sense.
    """
    try:
        content = path.read_bytes()
        recipe = from_json(Recipe, tomllib.loads(content.decode()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        sentence = f"The recipe “{path}” cannot be read."
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, "Name a TOML file.", str(error)) from error
    except OrthomaskError as error:
        sentence = f"The recipe “{path.name}” is not valid: {error.details or error.sentence}"
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, REMEDY, error.details) from error
    return recipe, hashlib.sha256(content).hexdigest()
