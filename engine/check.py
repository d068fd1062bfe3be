"""Preflight: will this model work on this image? Answers with lights and reasons before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..protocol import (
    OVERLAP_PX,
    REACH_PX,
    WINDOW_PX,
    CheckRequest,
    CheckResult,
    ErrorCode,
    Level,
    Light,
    OrthomaskError,
    Region,
)
from ..protocol.words import band_in_words, tr
from .compute import devices
from .estimates import estimates
from .images import regions
from .images.bands import require_one_type
from .images.coverage import Coverage, measure
from .images.grid import Lattice, Selection, Window, select
from .images.raster import Reader, Source, open_image, open_reader
from .models.bundle import BandStatistics, Bundle, load
from .progress import Progress

COARSER = (1.5, 4.0)
"""How many times coarser than the model an image may be before the light turns amber, and red."""
FINER = 4.0
"""How many times finer before the light turns amber: averaging it down costs time, not quality."""
SHIFT = (1.0, 2.5)
"""Shift of the mean, in standard deviations of the training images, that turns the light amber, and red."""
CONTRAST = (0.4, 2.0)
"""Ratio of standard deviations, image to training images; amber outside it."""
SAMPLES = 4
"""Patches read along each axis to sample the distribution of values."""
HALF = 0.5
"""At least this share of the region should be on the image and hold data."""
MARGIN = 0.01
"""A margin of at least this share of the region is reported."""


@dataclass(frozen=True)
class Finding:
    """A light, and the error, if any, that a run would end with."""

    light: Light
    error: OrthomaskError | None = None


def run(request: CheckRequest, progress: Progress) -> CheckResult:
    """Check image, model and region; estimate what a run would take, if known or to be calibrated.

    Raises:
        OrthomaskError: the image or the model cannot be opened, or the region is not on the image.
    """
    progress.report(0, tr("Opening the image"))
    bundle = load(request.model)
    with open_image(request.image) as source:
        findings, numbers = list(_findings(source, bundle)), _readable(source, bundle)
        lattice = source.lattice(bundle.card.gsd_m, *bundle.windows_px(WINDOW_PX, OVERLAP_PX))
        geometry, doubts = regions.to_lattice(request.region, lattice) if request.region else (None, ())
        findings += [Finding(Light("place", Level.AMBER, words)) for words in source.notes + doubts]
        selection = select(lattice, geometry)
        if not any(finding.error for finding in findings):
            progress.report(0.3, tr("Checking the pixel values"))
            found = _values(source, bundle, lattice, selection, request.region)
            findings += found[-1:] if request.windows else found  # a sample's coverage says nothing about the run
        device = devices.suited(bundle, request.device)
        if geometry is not None and request.whole_objects:
            selection = select(lattice, geometry, reach_px=REACH_PX)
        work = estimates.workload(source, lattice, selection, bundle, device, request.windows)
    measure = request.calibrate
    speed = estimates.calibrate(bundle, device, progress.part(0.6, 1)) if measure else estimates.known(bundle, device)
    expected = estimates.expected(bundle, device, work, speed)
    return CheckResult(
        (*(finding.light for finding in findings), *((expected.light,) if expected.light else ())),
        request.windows or selection.count,
        expected.seconds,
        device.words,
        expected.memory_mb,
        work if speed is None or speed.activations_mb is None else None,
        numbers,
    )


def _readable(source: Source, bundle: Bundle) -> tuple[int, ...]:
    """Numbers of the bands that the model reads; none if the image does not have them."""
    try:
        return source.bands([band.name for band in bundle.card.bands])
    except OrthomaskError:
        return ()


def refuse(source: Source, bundle: Bundle) -> None:
    """Raise the first error that makes a run on this image pointless."""
    for finding in _findings(source, bundle):
        if finding.error:
            raise finding.error


def _findings(source: Source, bundle: Bundle) -> Iterator[Finding]:
    said = set()
    for look in (_bands, _pixel_type, _resolution):
        finding = _caught(look, source, bundle)
        if finding.light.reason not in said:  # without the bands, nothing is known of their pixels
            yield finding
        said.add(finding.light.reason)


def _caught(look: Callable[[Source, Bundle], Light], source: Source, bundle: Bundle) -> Finding:
    try:
        return Finding(look(source, bundle))
    except OrthomaskError as error:
        missing = error.code is ErrorCode.IMAGE_SECOND
        name = "second image" if missing else look.__name__.strip("_").replace("_", " ")
        return Finding(Light(name, Level.RED, f"{error.sentence} {error.remedy}", refuses=True), error)


def _bands(source: Source, bundle: Bundle) -> Light:
    numbers, assumption = source.choose([band.name for band in bundle.card.bands])
    if assumption:
        remedy = tr("If that is wrong, choose the bands, or describe them in the image.")
        return Light("bands", Level.AMBER, f"{assumption} {remedy}")
    known, first = source.named_bands, sum(not band.in_second for band in source.named_bands)
    chosen = [known[number - 1] for number in numbers]
    named = ", ".join(
        tr("{} from band {}").format(
            band_in_words(wanted.name), _described(band.number - first * band.in_second, band.name, wanted.name)
        )
        for wanted, band in zip(bundle.card.bands, chosen)
    )
    return Light("bands", Level.GREEN, tr("OK: the model reads {}.").format(named))


def _described(number: int, name: str, wanted: str) -> str:
    """A band's number, with its name if that differs from the model's."""
    return str(number) if name in (str(number), wanted) else f"{number} ({name})"


def _pixel_type(source: Source, bundle: Bundle) -> Light:
    numbers = source.bands([band.name for band in bundle.card.bands])
    require_one_type(source.dataset, numbers, source.name)
    dtype = source.pixel_type(numbers[0])
    if dtype == bundle.card.dtype and source.image.stretch:
        own = source.dataset.dtypes[numbers[0] - 1]
        return Light("pixel type", Level.GREEN, tr("OK: the image's {} pixels are stretched to {}.").format(own, dtype))
    if dtype == bundle.card.dtype:
        return Light("pixel type", Level.GREEN, tr("OK: the image has {} pixels, as the model expects.").format(dtype))
    raise OrthomaskError(
        ErrorCode.IMAGE_TYPE,
        tr("“{}” has {} pixels, but the model was trained on {}.").format(source.name, dtype, bundle.card.dtype),
        _type_remedy(source, bundle.card.dtype),
    )


def _type_remedy(source: Source, wanted: str) -> str:
    if source.image.stretch:
        return tr("Read its values without a stretch, or choose another model.")
    if wanted == "uint8":
        return tr("Stretch its values to 8 bits, or choose another model.")
    return tr("Convert it to {} first (in QGIS: Raster ‣ Conversion ‣ Translate), or choose another model.").format(
        wanted
    )


def _resolution(source: Source, bundle: Bundle) -> Light:
    model, image = bundle.card.gsd_m, max(source.gsd_m)
    words = tr("The image has {:.2g} m pixels; the model was trained on {:.2g} m pixels").format(image, model)
    if image > model * COARSER[1]:
        raise OrthomaskError(
            ErrorCode.IMAGE_GSD,
            tr("{}: the image is {:.0f} times too coarse.").format(words, image / model),
            tr("Choose sharper imagery, or a model made for this resolution."),
        )
    if image > model * COARSER[0]:
        return Light("resolution", Level.AMBER, tr("{}: expect rough outlines and missed small objects.").format(words))
    if image * FINER < model:
        return Light(
            "resolution",
            Level.AMBER,
            tr("{}: the image is downsampled by averaging, and finer detail is not used.").format(words),
        )
    words = tr("OK: pixels of {:.2g} m suit the model, which was trained on {:.2g} m.")
    return Light("resolution", Level.GREEN, words.format(image, model))


def _values(
    source: Source, bundle: Bundle, lattice: Lattice, selection: Selection, region: Region | None
) -> list[Finding]:
    """Lights for missing data and for how the image's values differ from the training images'."""
    numbers = source.bands([band.name for band in bundle.card.bands])
    with open_reader(source, lattice, numbers) as reader:
        coverage = measure(source, lattice, selection, region)
        pixels = _sample(reader, selection.extent, coverage.places)
    if not pixels.size:
        reason = tr("None of the sampled places has data; draw the region where the image has data.")
        return [Finding(Light("data", Level.RED, reason))]
    return [Finding(_data(source, coverage, region)), Finding(_comparison(pixels, bundle))]


def _data(source: Source, coverage: Coverage, region: Region | None) -> Light:
    """The light for missing data, and for a blank margin not marked as missing."""
    share, on_image = _percent(coverage.share), _percent(coverage.on_image)
    words = tr("{} of the image has data.")
    if region:
        words = (
            tr("{} of the region has data.")
            if coverage.share == 1
            else tr("{} of the region has data; the rest is left out.")
        )
    reason = words.format(share)
    if coverage.on_image < 1:
        words = tr("{} of the region lies on the image; {} of that has data. The rest is left out.")
        reason = words.format(on_image, share)
    level = Level.GREEN if min(coverage.share, coverage.on_image) > HALF else Level.AMBER
    if coverage.margin < MARGIN:
        judged = tr("OK: {}") if level is Level.GREEN else tr("Only {}")
        return Light("data", level, judged.format(reason))
    words = tr("{} is a margin where all bands are {:g}; the model treats it as ground.")
    reason = f"{reason} {words.format(_percent(coverage.margin), coverage.value)}"
    return Light("data", Level.AMBER, reason, None if source.tells_nodata else coverage.value)


def _percent(share: float) -> str:
    """A share in percent; 0% and 100% only if exact."""
    if 0 < share < 0.01:
        return tr("less than 1%")
    return f"{min(round(share * 100), 99 if share < 1 else 100)}%"


def _sample(reader: Reader, extent: Window, places: np.ndarray, size: int = 128) -> np.ndarray:
    """Valid pixels `(bands, n)` from patches spread over the extent or, if these hold no data, around places that do.

    Args:
        places: columns and rows `(N, 2)`.
    """
    width, height = min(size, extent.width), min(size, extent.height)
    stop_x, stop_y = extent.x + extent.width - width, extent.y + extent.height - height
    corners = [(x, y) for y in np.linspace(extent.y, stop_y, SAMPLES) for x in np.linspace(extent.x, stop_x, SAMPLES)]
    pixels = _valid_pixels(reader, corners, width, height)
    if pixels.size or not len(places):
        return pixels
    chosen = places[np.linspace(0, len(places) - 1, SAMPLES**2).astype(int)] - (width // 2, height // 2)
    low, high = (extent.x, extent.y), (max(extent.x, stop_x), max(extent.y, stop_y))
    return _valid_pixels(reader, np.clip(chosen, low, high), width, height)


def _valid_pixels(reader: Reader, corners: Iterable[Sequence[float]], width: int, height: int) -> np.ndarray:
    pieces = [reader.read(Window(int(x), int(y), width, height)) for x, y in corners]
    return np.concatenate([piece[:, valid] for piece, valid in pieces], axis=1)


def _comparison(pixels: np.ndarray, bundle: Bundle) -> Light:
    if bundle.card.is_measured:
        return _distribution(pixels, bundle.card.bands)
    words = tr("The imported model does not say how bright its training images were: try a small region first.")
    return Light("values", Level.AMBER, words)


def _distribution(pixels: np.ndarray, bands: tuple[BandStatistics, ...]) -> Light:
    mean, std = pixels.mean(axis=1, dtype=np.float64), pixels.std(axis=1, dtype=np.float64)
    shifts = [abs(m - band.mean) / band.std for m, band in zip(mean, bands)]
    contrasts = [s / band.std for s, band in zip(std, bands)]
    worst = int(np.argmax(shifts))
    words = tr("mean of {}: {:.0f} here, {:.0f} in the training images").format(
        band_in_words(bands[worst].name), mean[worst], bands[worst].mean
    )
    if max(shifts) > SHIFT[1]:
        return Light(
            "values",
            Level.RED,
            tr("The colours are very different from the training images ({}): expect wrong results.").format(words),
        )
    if max(shifts) > SHIFT[0] or min(contrasts) < CONTRAST[0] or max(contrasts) > CONTRAST[1]:
        return Light(
            "values",
            Level.AMBER,
            tr("Brightness or contrast differs from the training images ({}): try a small region first.").format(words),
        )
    return Light(
        "values", Level.GREEN, tr("OK: brightness and contrast are similar to the training images ({}).").format(words)
    )
