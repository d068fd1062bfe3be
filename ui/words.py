"""Numbers as plain words, and the one translation function of the QGIS side."""

from __future__ import annotations

from qgis.PyQt.QtCore import QCoreApplication

M2_PER_HA = 10_000.0
M2_PER_KM2 = 1_000_000.0


def tr(text: str) -> str:
    """`text` in the language of the person."""
    return QCoreApplication.translate("Orthomask", text)


def area_in_words(area_m2: float) -> str:
    """An area in the unit that a person would choose: m² below a tenth of a hectare, then ha, then km²."""
    if area_m2 < 0.1 * M2_PER_HA:
        return tr("{} m²").format(round(area_m2))
    if area_m2 < M2_PER_KM2:
        return tr("{} ha").format(_digits(area_m2 / M2_PER_HA))
    return tr("{} km²").format(_digits(area_m2 / M2_PER_KM2))


def time_in_words(seconds: float) -> str:
    """A duration as a person would say it: seconds, minutes, or hours and minutes."""
    if seconds < 60:
        return tr("{} s").format(max(1, round(seconds)))
    if seconds < 3600:
        return tr("{} min").format(round(seconds / 60))
    hours, minutes = divmod(round(seconds / 60), 60)
    return tr("{} h {} min").format(hours, minutes)


def _digits(number: float) -> str:
    return f"{number:.2f}" if number < 10 else f"{number:,.0f}" if number >= 100 else f"{number:.1f}"
