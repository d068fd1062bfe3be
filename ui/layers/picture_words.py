"""What a person is told of a picture before it is rendered, and asked where it takes very many requests."""

from __future__ import annotations

from qgis.PyQt.QtWidgets import QMessageBox, QWidget

from ..toolkit.settings import ASK_FROM
from ..toolkit.words import briefly, in_digits, tr
from .pixels import MapPixels
from .rendering import Picture


def picture_words(picture: Picture) -> str:
    """How a picture will come about, in a sentence."""
    size, requests = tr("{} m per pixel").format(briefly(picture.gsd_m, 2)), picture.requests
    words = tr("Is rendered before the run at {}.").format(size)
    if requests:
        words = tr("Is rendered before the run at {}; requests to servers: about {}.").format(size, in_digits(requests))
    if isinstance(picture.pixels, MapPixels) and len(picture.pixels.layers) > 1:
        names = ", ".join(layer.name() for layer in picture.pixels.layers)
        words = tr("{} All that is visible is part of it: {}.").format(words, names)
    return words


def are_wanted(picture: Picture, parent: QWidget) -> bool:
    """Ask whether so many requests are wanted; without asking where they are few."""
    if picture.requests <= ASK_FROM.get():
        return True
    text = tr("To render “{}”, servers will be asked about {} times.").format(picture.name, in_digits(picture.requests))
    box = QMessageBox(QMessageBox.Icon.Question, tr("Orthomask: many requests"), text, parent=parent)
    box.setInformativeText(
        tr("That takes a while, and the owner of a service may limit or forbid it. Do their terms allow that?")
    )
    go_on = box.addButton(tr("Go on"), QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    return bool(box.clickedButton() is go_on)
