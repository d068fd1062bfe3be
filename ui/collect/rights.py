"""Whose imagery it is: what a layer says about its rights, and the licence confirmed for it in this QGIS project."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from typing import NamedTuple, Optional

from qgis.core import QgsMapLayer, QgsProject

from ..layers.credentials import public_source

SCOPE, KEY = "orthomask", "licences"


class Licence(NamedTuple):
    """A licence that the user confirmed for a source of imagery."""

    name: str
    attribution: str
    confirmed_on: str


def rights_of(layer: Optional[QgsMapLayer]) -> tuple[str, ...]:
    """What a layer's metadata says about rights, licences and constraints, each once; empty if nothing."""
    if layer is None:
        return ()
    metadata = layer.metadata()
    constraints = (constraint.constraint for constraint in metadata.constraints())
    told = [*metadata.licenses(), *metadata.rights(), *constraints, layer.attribution()]
    return tuple(dict.fromkeys(" ".join(text.split()) for text in told if text.strip()))


def confirmed(project: QgsProject, source: str) -> Optional[Licence]:
    """The licence that was confirmed in this project for a source; None if none was."""
    found = _all(project).get(public_source(source))
    return Licence(*found) if found else None


def confirm(project: QgsProject, source: str, name: str, attribution: str) -> Licence:
    """Remember in the project file that the user may use this source under a licence, since today."""
    known = confirmed(project, source)
    if known is not None and known[:2] == (name, attribution):
        return known
    licence = Licence(name, attribution, date.today().isoformat())
    everything = {**_all(project), public_source(source): list(licence)}
    project.writeEntry(SCOPE, KEY, json.dumps(everything))
    return licence


def _all(project: QgsProject) -> dict[str, list[str]]:
    """The licences by source, without passwords; none if the entry cannot be read."""
    with suppress(ValueError):
        found = json.loads(project.readEntry(SCOPE, KEY, "{}")[0])
        if isinstance(found, dict):
            return {str(source): parts for source, parts in found.items() if _is_licence(parts)}
    return {}


def _is_licence(parts: object) -> bool:
    return (
        isinstance(parts, list) and len(parts) == len(Licence._fields) and all(isinstance(part, str) for part in parts)
    )
