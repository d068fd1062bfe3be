"""What the user is told about a picture before it is rendered, and asked if it takes very many requests."""

from __future__ import annotations

from typing import Optional

from qgis.PyQt.QtWidgets import QMessageBox, QWidget

from ...protocol import Level, Light
from ..toolkit.settings import ASK_FROM
from ..toolkit.words import briefly, in_digits, tr
from .pixels import MapPixels
from .rendering import Picture

COARSER = 1.5
"""How many times coarser than the model an image may be, as in `engine/check.py`."""


def picture_words(picture: Picture) -> str:
    """How a picture will be rendered, in a sentence."""
    size, requests = tr("{} m per pixel").format(briefly(picture.gsd_m, 2)), picture.requests
    words = tr("Rendered at {} before the run.").format(size)
    if requests:
        words = tr("Rendered at {} before the run; server requests: about {}.").format(size, in_digits(requests))
    if isinstance(picture.pixels, MapPixels) and len(picture.pixels.layers) > 1:
        names = ", ".join(layer.name() for layer in picture.pixels.layers)
        words = tr("{} It includes all visible layers: {}.").format(words, names)
    coarsest = coarsest_of(picture)
    if coarsest is not None:
        words = tr("{} The coarsest of its images, “{}”, has {} m per pixel.").format(
            words, coarsest[0], briefly(coarsest[1], 2)
        )
    return words


def coarsest_of(picture: Picture) -> Optional[tuple[str, float]]:
    """Name and resolution, in metres, of the coarsest raster that a picture of the map shows."""
    return picture.pixels.coarsest(picture.grid.extent) if isinstance(picture.pixels, MapPixels) else None


def coarse_light(picture: Picture, gsd_m: float) -> Optional[Light]:
    """A warning where part of the map is too coarse for a model, which the rendered picture no longer shows."""
    coarsest = coarsest_of(picture)
    if coarsest is None or coarsest[1] <= COARSER * gsd_m:
        return None
    words = tr("“{}” has {} m per pixel, but the model was trained on {} m: expect rough outlines there.")
    return Light("resolution", Level.AMBER, words.format(coarsest[0], briefly(coarsest[1], 2), briefly(gsd_m, 2)))


def are_wanted(picture: Picture, parent: QWidget) -> bool:
    """Ask whether to make that many requests; if they are few, do not ask."""
    text = tr("Rendering “{}” takes about {} server requests.").format(picture.name, in_digits(picture.requests))
    return many_wanted(text, picture.requests, parent)


def many_wanted(text: str, requests: int, parent: QWidget) -> bool:
    """Ask whether to make so many requests, which `text` names; if they are few, do not ask."""
    if requests <= ASK_FROM.get():
        return True
    box = QMessageBox(QMessageBox.Icon.Question, tr("Orthomask: many requests"), text, parent=parent)
    box.setInformativeText(
        tr("This takes a while, and the provider of a service may limit or forbid it. Do its terms allow that?")
    )
    go_on = box.addButton(tr("Continue"), QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    return bool(box.clickedButton() is go_on)
