"""A model's network drawn, as HTML: a picture, and a table of its stages."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.PyQt.QtCore import QBuffer, QByteArray, QIODevice
from qgis.PyQt.QtGui import QGuiApplication, QImage, QPainter
from qgis.PyQt.QtSvg import QSvgRenderer

from ...protocol import Drawing, distinct_drawings, drawn_as_svg
from ..toolkit.words import in_digits, tr, tr_n


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
    heads = (tr("Stage"), tr("Layers"), tr("Parameters"), tr("Multiplications"))
    rows = [
        (stage.name[len(drawing.prefix) :], *map(in_digits, (stage.layers, stage.parameters, stage.multiplications)))
        for stage in drawing.stages
    ]
    lines = "".join(f"<tr>{_cells(row)}</tr>" for row in ([f"<b>{head}</b>" for head in heads], *rows))
    return f'<table cellpadding="2">{lines}</table>'


def _cells(row: Sequence[str]) -> str:
    """Small, as the dock is narrow."""
    aligned = zip(("left", *["right"] * (len(row) - 1)), row)
    return "".join(f'<td align="{side}"><span style="font-size: small">{cell}</span></td>' for side, cell in aligned)


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
    encoded = buffer.data().toBase64().data().decode()
    return f'<img width="{size.width()}" height="{size.height()}" src="data:image/png;base64,{encoded}">'
