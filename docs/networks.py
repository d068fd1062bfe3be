"""Write the drawings of the embedded models' networks: an SVG, and the section *The network* of each model's card.

Usage, with a Python that has the engine and this folder importable as `orthomask`:

    python docs/networks.py
"""

from __future__ import annotations

import re
from pathlib import Path

from orthomask.engine.models import bundle
from orthomask.protocol import Drawing, drawn_as_svg

CARDS = Path(__file__).resolve().parent / "models"
SECTION = re.compile(r"\n## The network\n.*?(?=\n## |\Z)", re.DOTALL)


def main() -> None:
    """Replace the section in each card, or append it."""
    for name in ("buildings", "farmland"):
        (drawing,) = bundle.load(name).summary().networks
        (CARDS / f"{name}-network.svg").write_text(drawn_as_svg(drawing) + "\n", encoding="utf-8")
        card = CARDS / f"{name}.md"
        text = SECTION.sub("", card.read_text(encoding="utf-8"))
        card.write_text(f"{text.rstrip()}\n\n{section(name, drawing)}", encoding="utf-8")


def section(name: str, drawing: Drawing) -> str:
    """The section: the drawing, and a table of its stages."""
    rows = [
        f"| `{stage.name}` | {drawing.taken(stage)} | {stage.channels} × {stage.size_px}² | {stage.layers} "
        f"| {stage.parameters:,} | {stage.multiplications:,.0f} |"
        for stage in drawing.stages
    ]
    side, cost = drawing.window_px, f"{drawing.multiplications:,.0f} multiplications for each pixel of the image"
    return "\n".join(
        [
            "## The network",
            "",
            f"![Its stages, from the image to the decision]({name}-network.svg)",
            "",
            f"{drawing.parameters:,} parameters; {cost}. Channels × height and width, for a window of {side} × "
            f"{side} px; the darker a stage, the more parameters. `orthomask models network {name}` prints the same.",
            "",
            "| stage | takes | gives | layers | parameters | multiplications per pixel |",
            "|---|---|---|---:|---:|---:|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
