"""Texts in the language of the person, in both processes: gettext's catalogues in `resources/translations`.

QGIS says which language it is (`speak`), and the engine process finds it in its environment. The command line speaks
English unless that variable is set. A text without a translation stays English.
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
    """The code that `speak` was given last; empty where nobody has said."""
    return _language


def tr(text: str) -> str:
    """`text` in the language of the person. Placeholders are filled in afterwards: `tr("{} px").format(size)`."""
    return _catalogue.gettext(text) if text else ""


def tr_n(one: str, many: str, number: int) -> str:
    """`one` or `many` in the language of the person, in the form that it has for `number` things."""
    return _catalogue.ngettext(one, many, number)


def mark(text: str) -> str:
    """`text` as it is, noted for translators: for constants, which are translated by `tr` where they are shown."""
    return text


speak(os.environ.get(LANGUAGE_VARIABLE, ""))
