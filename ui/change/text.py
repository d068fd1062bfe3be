"""What a comparison found, in words."""

from __future__ import annotations

from typing import Optional

from ...protocol import ChangesResult, Registration
from ..toolkit.present import present
from ..toolkit.words import briefly, in_digits, mark, tr

METRES = 2
"""Decimals of lengths."""
SOURCES = {"images": mark("the images"), "objects": mark("the objects")}


def shift_in_words(result: ChangesResult, step: int) -> str:
    """Shift and remaining error of a step: what comes first."""
    found = result.registrations[step - 1]
    if not found.source:
        return tr("The shift between the dates was not measured: small differences may be none.")
    return tr("Shift: {} m, remaining error: {} m.").format(_metres(found.size_m), _metres(found.error_m))


def measurement_in_words(found: Registration) -> str:
    """How the shift was measured; empty if it was not."""
    if not found.source:
        return ""
    if found.source not in SOURCES:  # of a file that does not say
        words = tr("Measured at {} of {} places; {} m where it is largest.")
        return words.format(in_digits(found.places), in_digits(found.tried), _metres(found.largest_m))
    words = tr("Measured on {}, at {} of {} places; {} m where it is largest.")
    return words.format(
        tr(SOURCES[found.source]), in_digits(found.places), in_digits(found.tried), _metres(found.largest_m)
    )


def _metres(length: Optional[float]) -> str:
    return in_digits(present(length), METRES)


def ground_in_words(result: ChangesResult, step: int) -> str:
    """How much ground was compared in a step; empty if that is not known."""
    area_km2, share = result.compared_km2[step - 1], result.compared_share[step - 1]
    if not area_km2:
        return ""
    return tr("Compared: {} km² of the ground that either date covers ({}%).").format(
        briefly(area_km2, 3), in_digits(100 * share)
    )


def flicker_in_words(result: ChangesResult) -> str:
    """Objects that come and go; empty if there are none."""
    if not result.flickering:
        return ""
    return tr("{} of {} objects come and go: they are in no count.").format(
        in_digits(result.flickering), in_digits(result.objects)
    )
