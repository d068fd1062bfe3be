"""What the user is told about a picture before it is rendered, and asked if it takes very many requests."""

from __future__ import annotations

from qgis.PyQt.QtWidgets import QMessageBox, QWidget

from ..toolkit.settings import ASK_FROM
from ..toolkit.words import briefly, in_digits, tr
from .pixels import MapPixels
from .rendering import Picture


def picture_words(picture: Picture) -> str:
    """How a picture will be rendered, in a sentence."""
    size, requests = tr("{} m per pixel").format(briefly(picture.gsd_m, 2)), picture.requests
    words = tr("Rendered at {} before the run.").format(size)
    if requests:
        words = tr("Rendered at {} before the run; server requests: about {}.").format(size, in_digits(requests))
    if isinstance(picture.pixels, MapPixels) and len(picture.pixels.layers) > 1:
        names = ", ".join(layer.name() for layer in picture.pixels.layers)
        words = tr("{} It includes all visible layers: {}.").format(words, names)
    return words


def are_wanted(picture: Picture, parent: QWidget) -> bool:
    """Ask whether to make that many requests; if they are few, do not ask."""
    if picture.requests <= ASK_FROM.get():
        return True
    text = tr("Rendering “{}” takes about {} server requests.").format(picture.name, in_digits(picture.requests))
    box = QMessageBox(QMessageBox.Icon.Question, tr("Orthomask: many requests"), text, parent=parent)
    box.setInformativeText(
        tr("This takes a while, and the provider of a service may limit or forbid it. Do its terms allow that?")
    )
    go_on = box.addButton(tr("Continue"), QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    return bool(box.clickedButton() is go_on)
