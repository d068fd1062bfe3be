"""A recipe of each batch, to train with `orthomask train`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...engine.outputs import write_atomically
from ...protocol import COLLECTED_PROJECT, ClassInfo


def write(
    path: Path, images: Sequence[Path], classes: Sequence[ClassInfo], licence: str, attribution: str, gsd_m: float
) -> None:
    """Write a recipe whose paths start at its own folder: `orthomask train RECIPE --data FOLDER`."""
    lines = [
        "# orthomask train FILE --data FOLDER --out RUN, with the folder of this file as FOLDER",
        f"name = {_text(path.stem)}",
        f"gsd_m = {gsd_m:.4g}",
        f"licence = {_text(licence)}",
        f"attribution = {_text(attribution)}",
    ]
    for info in classes:
        lines += ["", "[[classes]]", f"value = {info.value}", f"name = {_text(info.name)}"]
        lines += [f"color = {_text(info.color)}", f"outline = {_text(info.outline.value)}"]
    for image in images:
        lines += [
            "",
            "[[data.projects]]",
            f"place = {_text(image.stem)}",
            f"image = {{ path = {_text(image.relative_to(path.parent).as_posix())} }}",
            f"labels = [{{ path = {_text(COLLECTED_PROJECT)} }}]",
            f"areas = {{ path = {_text(COLLECTED_PROJECT)} }}",
        ]
    write_atomically(path, "\n".join([*lines, ""]).encode())


def _text(text: str) -> str:
    """A basic string of TOML; JSON's escapes are among its own."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
