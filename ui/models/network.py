"""A model's network drawn, as HTML: a picture, and a table of its stages."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from qgis.PyQt.QtCore import QBuffer, QByteArray, QIODevice
from qgis.PyQt.QtGui import QGuiApplication, QImage, QPainter
from qgis.PyQt.QtSvg import QSvgRenderer

from ...protocol import Drawing, distinct_drawings, drawn_as_svg
from ..toolkit.words import briefly, in_digits, tr, tr_n


def network_html(networks: Sequence[Drawing]) -> str:
    """Each architecture once: its picture, its cost, and what each stage gives."""
    several = len(networks) > 1
    return "".join(_one(drawing, numbers if several else []) for drawing, numbers in distinct_drawings(tuple(networks)))


def _one(drawing: Drawing, members: Sequence[int]) -> str:
    """A network, or the `members` of an ensemble that are built like it."""
    whose = ""
    if members:
        whose = tr_n("Member {}:", "Members {}, each:", len(members)).format(", ".join(map(str, members)))
    words = tr("{} parameters; {} multiplications for each pixel of the image.")
    cost = words.format(in_digits(drawing.parameters), in_digits(round(drawing.multiplications)))
    size = tr("Channels × height and width, for a window of {} × {} px. The darker, the more parameters.").format(
        drawing.window_px, drawing.window_px
    )
    return f"<p>{whose} {cost}</p><p>{_picture(drawing)}</p><p>{size}</p>{_table(drawing)}"


def _table(drawing: Drawing) -> str:
    """What each stage costs."""
    heads = (tr("Layers"), tr("Parameters"), tr("Multiplications"))
    head = "".join(f'<th align="right">&nbsp;{name}</th>' for name in heads)
    rows = [
        (stage.name[len(drawing.prefix) :], str(stage.layers), in_digits(stage.parameters),
         briefly(stage.multiplications, 4))
        for stage in drawing.stages
    ]  # fmt: skip
    cells = (f"<td>{name}</td>" + "".join(f'<td align="right">{each}</td>' for each in rest) for name, *rest in rows)
    lines = "".join(f"<tr>{line}</tr>" for line in cells)
    return f'<table cellpadding="2"><tr><th align="left">{tr("Stage")}</th>{head}</tr>{lines}</table>'


def _picture(drawing: Drawing) -> str:
    """The drawing as a picture in the text, sharp on high-DPI screens."""
    renderer = QSvgRenderer(QByteArray(drawn_as_svg(drawing).encode()))
    size = renderer.defaultSize()
    image = QImage(size * QGuiApplication.primaryScreen().devicePixelRatio(), QImage.Format.Format_ARGB32)
    image.fill(0)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    renderer.render(painter)
    painter.end()
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    encoded = base64.b64encode(bytes(buffer.data())).decode()
    return f'<img width="{size.width()}" height="{size.height()}" src="data:image/png;base64,{encoded}">'
