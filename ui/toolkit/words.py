"""Numbers in words, and the translation functions under the names that the QGIS side uses."""

from __future__ import annotations

from qgis.PyQt.QtCore import QLocale

from ...protocol.words import mark, tr, tr_n

__all__ = ["area_in_words", "briefly", "in_digits", "mark", "megabytes_in_words", "time_in_words", "tr", "tr_n"]

M2_PER_HA = 10_000.0
M2_PER_KM2 = 1_000_000.0


def in_digits(number: float, decimals: int = 0) -> str:
    """A number in the user's locale: 1,234.5 or 1.234,5."""
    return _locale().toString(float(number), "f", decimals)


def briefly(number: float, figures: int = 6) -> str:
    """A number in its shortest form with so many significant figures: 0.3 or 0,3."""
    return QLocale().toString(float(number), "g", figures)


def area_in_words(area_m2: float) -> str:
    """An area in a suitable unit: m² below a tenth of a hectare, then ha, then km²."""
    if area_m2 < 0.1 * M2_PER_HA:
        return tr("{} m²").format(in_digits(area_m2))
    if area_m2 < M2_PER_KM2:
        return tr("{} ha").format(_three_digits(area_m2 / M2_PER_HA))
    return tr("{} km²").format(_three_digits(area_m2 / M2_PER_KM2))


def time_in_words(seconds: float) -> str:
    """A duration in words: seconds, minutes, or hours and minutes."""
    if seconds < 60:
        return tr("{} s").format(max(1, round(seconds)))
    if seconds < 3600:
        return tr("{} min").format(round(seconds / 60))
    hours, minutes = divmod(round(seconds / 60), 60)
    return tr("{} h {} min").format(hours, minutes)


def megabytes_in_words(megabytes: float) -> str:
    """An amount of data or memory in megabytes, or from a thousand on, in gigabytes."""
    if megabytes < 1000:
        return tr("{} MB").format(in_digits(megabytes))
    return tr("{} GB").format(in_digits(megabytes / 1000, 1))


def _locale() -> QLocale:
    """The user's, with its separators of thousands, which QGIS leaves out unless its settings ask for them."""
    locale = QLocale()
    locale.setNumberOptions(locale.numberOptions() & ~QLocale.NumberOption.OmitGroupSeparator)
    return locale


def _three_digits(number: float) -> str:
    return in_digits(number, 2 if number < 10 else 0 if number >= 100 else 1)
