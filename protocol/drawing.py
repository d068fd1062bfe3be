"""A network drawn: its stages, what each takes and gives, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

IMAGE = "image"
"""What the first stage takes, among the sources of stages."""
COLUMNS_PX, ROW_PX, BOX_PX, MARGIN_PX = ((0, 78, 156), (0, 120, 240)), 42, (108, 32), (18, 4)
"""Of a drawing: where its columns begin, also with a second encoder, the height of a row, the size of a stage's box,
and the margins across and down."""
SECOND_ENCODER = "second."
"""Before the names of its stages."""
INK, LINE = "#7f7f7f", "#9a9a9a"
"""Readable on white and on black."""
FILL = "#3d8fd1"


@dataclass(frozen=True)
class Stage:
    """A stage of a network, at the resolution that a window has there.

    Attributes:
        name: by which an explanation chooses it.
        sources: the stages that it takes the result of, or `IMAGE`.
        channels: of its result.
        size_px: height and width of its result.
        layers: convolutions.
        parameters: numbers that training finds.
        multiplications: of convolutions, for each pixel of the image.
    """

    name: str
    sources: tuple[str, ...]
    channels: int
    size_px: int
    layers: int
    parameters: int
    multiplications: float


@dataclass(frozen=True)
class Drawing:
    """A network, or a member of an ensemble.

    Attributes:
        window_px: height and width of the image that the sizes are for.
        prefix: of its stages' names: empty, or such as `members.0.`.
        stages: in the order of computing.
    """

    bands: int
    window_px: int
    prefix: str
    stages: tuple[Stage, ...]

    @property
    def parameters(self) -> int:
        """Of all stages."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def multiplications(self) -> float:
        """Of all stages, for each pixel of the image."""
        return sum(stage.multiplications for stage in self.stages)

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Channels and size of the image and of each stage's result, by name."""
        results = {stage.name: (stage.channels, stage.size_px) for stage in self.stages}
        return {IMAGE: (self.bands, self.window_px), **results}

    def taken(self, stage: Stage) -> str:
        """What a stage takes, in words: channels and size of each source."""
        shapes = self.shapes()
        return " + ".join("{} × {}²".format(*shapes[source]) for source in stage.sources)

    def plain(self) -> tuple[object, ...]:
        """What it shares with a network of the same architecture, in the same ensemble."""
        return (self.bands, *(_without(stage, self.prefix) for stage in self.stages))


def _without(stage: Stage, prefix: str) -> tuple[object, ...]:
    sources = tuple(source.replace(prefix, "", 1) if prefix else source for source in stage.sources)
    return (stage.name[len(prefix) :], sources, stage.channels, stage.parameters, stage.multiplications)


def distinct_drawings(drawings: tuple[Drawing, ...]) -> list[tuple[Drawing, list[int]]]:
    """One of each architecture, and the numbers of all members that have it, from 1."""
    found: dict[tuple[object, ...], tuple[Drawing, list[int]]] = {}
    for number, drawing in enumerate(drawings, 1):
        found.setdefault(drawing.plain(), (drawing, []))[1].append(number)
    return list(found.values())


def drawn_as_svg(drawing: Drawing) -> str:
    """The network as a U: the encoder down the left side, the decoder up the right one, the image's size at the top.

    A second encoder goes down between them. A stage's box is the darker, the more of the parameters it has. Names are
    without the member's prefix.
    """
    places = _places(drawing)
    rows = max(row for _, row in places.values()) + 1
    width = max(column for column, _ in places.values()) + BOX_PX[0] + 2 * MARGIN_PX[0]
    height = (rows - 1) * ROW_PX + BOX_PX[1] + 2 * MARGIN_PX[1]
    lines = [_line(places[source], places[stage.name]) for stage in drawing.stages for source in stage.sources]
    most = max(stage.parameters for stage in drawing.stages)
    shares = {stage.name: (stage.parameters / most) ** 0.5 for stage in drawing.stages}
    boxes = [
        _box(name.replace(drawing.prefix, "", 1), shape, places[name], shares.get(name, 0.0))
        for name, shape in drawing.shapes().items()
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="10">{"".join(lines)}{"".join(boxes)}</svg>'
    )


def _places(drawing: Drawing) -> Mapping[str, tuple[int, int]]:
    """Where the column of the image and of each stage begins, and its row: one lower wherever the result is smaller."""
    names = [stage.name for stage in drawing.stages]
    second = [number for number, name in enumerate(names) if name[len(drawing.prefix) :].startswith(SECOND_ENCODER)]
    left, middle, right = COLUMNS_PX[bool(second)]
    sizes = [stage.size_px for stage in drawing.stages]
    lowest = sizes.index(min(sizes))
    rows = {size: row for row, size in enumerate(sorted(set(sizes), reverse=True), 1)}
    places = {IMAGE: (left, 0)}
    for number, (name, size) in enumerate(zip(names, sizes)):
        column = left if number < lowest or second else middle
        column = middle if number in second else right if number > max([lowest, *second]) else column
        places[name] = (column, rows[size])
    places[names[-1]] = (right, 0)  # the decision, next to the image
    return places


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    (column, row), (across, down) = place, MARGIN_PX
    return across + column, down + row * ROW_PX


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    """From the middle of a box to that of another; past those between them in a bow."""
    (x1, y1), (x2, y2) = _corner(start), _corner(end)
    across, down = BOX_PX[0] / 2, BOX_PX[1] / 2
    path = f"M{x1 + across:g} {y1 + down:g}L{x2 + across:g} {y2 + down:g}"
    if start[0] == end[0] and abs(start[1] - end[1]) > 1:
        path = f"M{x1:g} {y1 + down:g}C0 {y1 + down:g} 0 {y2 + down:g} {x2:g} {y2 + down:g}"
    return f'<path d="{path}" stroke="{LINE}" fill="none"/>'


def _box(name: str, shape: tuple[int, int], place: tuple[int, int], share: float) -> str:
    """A stage: its name, channels and size."""
    (x, y), (width, height) = _corner(place), BOX_PX
    channels, size = shape
    middle = x + width / 2
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="3" fill="#fff"/>'
        f'<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="3" fill="{FILL}" '
        f'fill-opacity="{0.12 + 0.6 * share:.2f}" stroke="{INK}"/>'
        f'<text x="{middle:g}" y="{y + 13:g}" text-anchor="middle" font-weight="bold">{escape(name)}</text>'
        f'<text x="{middle:g}" y="{y + 26:g}" text-anchor="middle">{channels} × {size}²</text>'
    )
