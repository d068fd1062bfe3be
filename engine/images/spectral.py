"""What the names of bands mean: plain words in five languages, satellite codes, wavelengths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_WORDS = {
    "coastal": "coastal; coastal aerosol; coastal blue; aerosol",
    "blue": "blue; b; blau; bleu; bleue; azul; 蓝; 蓝色; 蓝光",
    "green": "green; g; grun; gruen; vert; verte; verde; 绿; 绿色; 绿光",
    "green_i": "green i",
    "yellow": "yellow; gelb; jaune; amarillo; 黄",
    "red": "red; r; rot; rouge; rojo; roja; 红; 红色; 红光",
    "rededge": "rededge; red edge; rededge1; rededge071; bord rouge; borde rojo; 红边",
    "nir": (
        "nir; n; ir; nir1; near infrared; near infra red; nearinfrared; near ir; infrared; infra red; "
        "nahes infrarot; nahinfrarot; nah infrarot; infrarot; proche infrarouge; infrarouge proche; pir; infrarouge; "
        "infrarrojo cercano; infrarrojo proximo; irc; infrarrojo; 近红外; 红外"
    ),
    "nir08": "nir08; nir narrow; narrow nir",
    "swir1": "swir1; swir16",
    "swir2": "swir2; swir22",
    "alpha": (
        "alpha; mask; opacity; transparency; maske; deckkraft; transparenz; masque; opacite; transparence; "
        "alfa; mascara; opacidad; transparencia; 透明度; 透明; 掩膜"
    ),
}
"""Colours by their names in STAC's electro-optical extension, and what bands of them are called."""
_COLOURS = {word: colour for colour, words in _WORDS.items() for word in words.split("; ")}
_FILLERS = frozenset(
    (
        "band", "bands", "bande", "banda", "kanal", "canal", "channel", "reflectance", "surface", "sr", "st", "toa",
        "boa", "min", "max", "mean", "median", "colour", "color", "farbe", "couleur", "central", "wavelength", "nm",
        "um", "μm", "nanometers", "micrometers", "10m", "20m", "60m",
    )
)  # fmt: skip
"""Words that do not change which colour a name means."""
_RANGES = {
    "coastal": (0.40, 0.443, 0.45), "blue": (0.45, 0.49, 0.515), "green": (0.515, 0.56, 0.6),
    "red": (0.62, 0.665, 0.69), "rededge": (0.69, 0.705, 0.745), "nir": (0.76, 0.842, 0.9),
    "swir1": (1.55, 1.61, 1.75), "swir2": (2.08, 2.2, 2.35),
}  # fmt: skip
"""Shortest, best and longest wavelength of a colour, micrometres: the bands of Sentinel-2 and Landsat 8 are inside."""
_SATELLITES = {
    "Sentinel-2": "coastal blue green red rededge rededge2 rededge3 nir vapour cirrus swir1 swir2",
    "Landsat 8": "coastal blue green red nir swir1 swir2 pan cirrus thermal1 thermal2",
    "Landsat 5": "blue green red nir swir1 thermal1 swir2",
}
_CODES = {
    satellite: {str(number): colour for number, colour in enumerate(colours.split(), 1)}
    for satellite, colours in _SATELLITES.items()
}
"""Colours of the numbered bands of satellites; Landsat 9 is like 8, and 4 and 7 like 5."""
_CODES["Sentinel-2"]["8a"] = "nir08"
_HINTS = {
    "Sentinel-2": r"\bs2[abc]_|sentinel[ _-]?2",
    "Landsat 8": r"\bl[co]0[89]_|landsat[ _-]?[89]",
    "Landsat 5": r"\bl[et]0[457]_|landsat[ _-]?[457]",
}
"""How products and their metadata name the satellite."""
LONGEST_UM = 100
"""A wavelength above this is in nanometres."""
_PLAIN = 4
"""Up to this many bands called b1, b2 … in order are only numbered."""


class Meaning(NamedTuple):
    """What a name says.

    Attributes:
        colour: what the name stands for; empty if it is not a known one.
        code: band number of a satellite as text, such as `8a`; empty for none.
        padded: the code has a leading zero, as only Sentinel-2 and its like have.
        reflectance: it is named like Landsat's surface reflectance.
        generic: it says nothing, such as “Band 1”.
    """

    colour: str = ""
    code: str = ""
    padded: bool = False
    reflectance: bool = False
    generic: bool = False


def meaning(name: str) -> Meaning:
    """What a band's name says by itself, in any of the five languages."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", name) if not unicodedata.combining(each))
    words = [word for word in re.split(r"[\W_]+", re.sub("波段|通道", " ", plain.casefold())) if word]
    codes = [found for found in map(re.compile(r"b(0?)(\d{1,2}a?)").fullmatch, words) if found]
    rest = " ".join(word for word in words if word not in _FILLERS and not re.fullmatch(r"\d+|b\d+a?|band\d+", word))
    code = codes[0] if len(codes) == 1 else None
    if code is None:
        return Meaning(_COLOURS.get(rest, ""), generic=not rest)
    return Meaning(_COLOURS.get(rest, ""), "" if rest else code[2], bool(code[1]), "sr" in words)


def wavelength_um(name: str, tags: Mapping[str, str]) -> float | None:
    """The central wavelength of a band by GDAL or its description, micrometres.

    Args:
        tags: metadata of the band, with those of GDAL's domain `IMAGERY`.
    """
    known = {key.casefold(): value for key, value in tags.items()}
    try:
        if "central_wavelength_um" in known:
            return float(known["central_wavelength_um"])
        if "wavelength" in known:
            value = float(known["wavelength"])
            return value / 1000 if value > LONGEST_UM else value
    except ValueError:
        return None
    found = re.search(r"([\d.]+)(?:\s*[-–]\s*([\d.]+))?\s*(nm|nanomet|µm|μm|um\b|micromet)", name.casefold())
    if found is None:
        return None
    ends = [float(end) for end in found.group(1, 2) if end and re.fullmatch(r"\d+(\.\d+)?", end)]
    return sum(ends) / len(ends) / (1000 if found[3].startswith("n") else 1) if ends else None


def by_wavelength(wavelengths: Sequence[float | None]) -> list[str]:
    """The colour of each band whose wavelength fits that colour best; empty for the others."""
    colours = [""] * len(wavelengths)
    for colour, (low, best, high) in _RANGES.items():
        inside = [(abs(um - best), index) for index, um in enumerate(wavelengths) if um and low <= um < high]
        if inside:
            colours[min(inside)[1]] = colour
    return colours


def by_code(meanings: Sequence[Meaning], about: str) -> list[tuple[str, bool]]:
    """The colour that the code of each band stands for, and whether it is the only one possible.

    `B4` is red for Sentinel-2 and Landsat 8, but near infrared for Landsat 5: the other bands may decide. If they do
    not, the colour is that of the newest satellite with such bands.

    Args:
        meanings: of all bands of a raster.
        about: its name and metadata, which may name the satellite.
    """
    codes = [found.code for found in meanings]
    possible = _possible(meanings, about)
    if not possible:
        return [("", True)] * len(codes)
    told = [[_CODES[satellite].get(code, "") for satellite in possible] for code in codes]
    return [(colours[0], len(set(colours)) == 1) for colours in told]


def _possible(meanings: Sequence[Meaning], about: str) -> list[str]:
    """The satellites that have bands with these codes, newest first; none if the bands are only numbered."""
    codes = [found.code for found in meanings]
    used = {code for code in codes if code}
    padded, reflectance = any(found.padded for found in meanings), any(found.reflectance for found in meanings)
    hinted = {name for name, hint in _HINTS.items() if re.search(hint, about.casefold())}
    only_numbered = len(codes) <= _PLAIN and codes == [str(number) for number in range(1, len(codes) + 1)]
    if not used or (only_numbered and not (padded or reflectance or hinted)):
        return []
    excluded = {
        "Sentinel-2": reflectance,
        "Landsat 8": "8" in used and not {"10", "11"} <= used,  # nobody stacks the sharper panchromatic band alone
        "Landsat 5": padded or (reflectance and "6" in used),  # its sixth band is a temperature
    }
    possible = [name for name in _CODES if used <= set(_CODES[name]) and not excluded[name]]
    return [name for name in possible if name in hinted] if len(hinted) == 1 else possible
