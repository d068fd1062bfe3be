"""The names of buttons and fields in the user guide are those in the code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "install from zip", "restore defaults", "orthomask",  # of QGIS
    "toggle editing", "add polygon feature", "vertex tool", "reshape features", "split features",
    "merge selected features", "save layer edits",  # its editing tools
    "classified_tiles", "buildings", "place", "everything",  # a format, a model, a light, a stressed word
}  # fmt: skip


def plain(text):
    """The text as names are compared: a guide's sentence says Set up where the button says Set up…"""
    return " ".join(text.split()).strip("…:. ").lower()


def texts():
    """Every text of the QGIS side that is translated, as a pattern in which any words may fill a place."""
    for path in [ROOT / "plugin.py", *(ROOT / "ui").rglob("*.py")]:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in {"tr", "tr_n", "mark"}:
                yield from (plain(text.value) for text in call.args if isinstance(text, ast.Constant))


def names(guide):
    """The names in the guide: all that is in italics, and what is in bold and begins with a capital within a sentence.

    Bold words at the beginning of a line are the topic of a paragraph. A path of menus counts by its last part, unless
    it begins with one of QGIS's own menus.
    """
    guide = re.sub(r"```.*?```|`[^`]*`|!\[[^\]]*\]\([^)]*\)", "", guide, flags=re.DOTALL)
    guide = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", guide)
    for found in re.finditer(r"(?<!\*)(\*{1,2})(?![\s*])([^*]+?)\1(?!\*)", guide):
        stars, name = found.groups()
        line = guide[: found.start()].rpartition("\n")[2]
        is_topic = not line.strip(" -0123456789.|") or name.endswith(".")
        if stars == "*" or (name[0].isupper() and not is_topic):
            path = name.split("‣")
            if len(path) == 1 or plain(path[0]) not in {"settings", "processing", "raster"}:
                yield path[-1].strip()


def test_names_in_the_guide_are_names_in_the_code():
    known = set(texts())
    worded = [text for text in known if "{" in text and len(re.findall(r"\w", re.sub(r"\{.*?\}", "", text))) > 5]
    filled = re.compile("|".join(re.sub(r"\\\{[^}]*\\\}", ".+", re.escape(text)) for text in worded))
    guide = (ROOT / "docs" / "user-guide.md").read_text(encoding="utf-8")
    named = list(names(guide))
    assert len(named) > 50
    lost = [name for name in named if plain(name) not in known | ELSEWHERE and not filled.fullmatch(plain(name))]
    assert lost == []


def test_a_button_that_is_not_there_would_be_found():
    guide = "Press **Start now** or *Begin ‣ All…*, then **wait**.\n- **Topic**: see *Settings ‣ Fonts*; `*code*`"
    assert list(names(guide)) == ["Start now", "All…"]
