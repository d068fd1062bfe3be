"""Texts in the user's language, in both processes: gettext catalogues in `resources/translations`.

QGIS sets the language (`speak`), and the engine process reads it from its environment. The command line uses English
unless that variable is set. A text without a translation stays English.
"""

from __future__ import annotations

import gettext
import os
from pathlib import Path

CATALOGUES = Path(__file__).resolve().parent.parent / "resources" / "translations"
LANGUAGE_VARIABLE = "ORTHOMASK_LANGUAGE"

_SIMPLIFIED = {"zh": "zh_Hans", "zh_CN": "zh_Hans", "zh_SG": "zh_Hans"}
_language = ""
_catalogue = gettext.NullTranslations()


def speak(language: str) -> None:
    """Translate into `language` from now on: a code as QGIS and systems write it, such as de, de_AT or zh-Hans."""
    global _language, _catalogue  # noqa: PLW0603 (a process speaks one language)
    code = language.partition(".")[0].replace("-", "_")
    candidates = [code, _SIMPLIFIED.get(code, code.partition("_")[0])]
    _language = language
    _catalogue = gettext.translation("orthomask", CATALOGUES, candidates, fallback=True)


def language() -> str:
    """The code that `speak` was given last; empty if none."""
    return _language


def tr(text: str) -> str:
    """`text` in the user's language. Placeholders are filled in afterwards: `tr("{} px").format(size)`."""
    return _catalogue.gettext(text) if text else ""


def tr_n(one: str, many: str, number: int) -> str:
    """`one` or `many` in the user's language, in its plural form for `number` things."""
    return _catalogue.ngettext(one, many, number)


def mark(text: str) -> str:
    """`text` unchanged, marked for translators: for constants, which `tr` translates where they are shown."""
    return text


BANDS = (
    mark("red"), mark("green"), mark("blue"), mark("nir"), mark("rededge"), mark("coastal"), mark("yellow"),
    mark("swir1"), mark("swir2"), mark("alpha"),
)  # fmt: skip
"""What models and images call bands, by the colours of STAC's electro-optical extension."""
SECOND = "second:"
"""Before the name of a band of the second image."""


def band_in_words(name: str) -> str:
    """What a band is called in the user's language; any other name as it is."""
    if name.startswith(SECOND):
        return tr("{} of the second image").format(band_in_words(name.removeprefix(SECOND)))
    return tr(name) if name in BANDS else name


speak(os.environ.get(LANGUAGE_VARIABLE, ""))
