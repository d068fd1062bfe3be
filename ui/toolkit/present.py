"""Values that are known not to be None, though their type allows it."""

from __future__ import annotations

from typing import Optional, TypeVar

Thing = TypeVar("Thing")


def present(thing: Optional[Thing]) -> Thing:
    """The thing itself. By its types, any function of QGIS may return None; where this is used, none does.

    Raises:
        ValueError: it is None, which is a defect.
    """
    if thing is None:
        raise ValueError("nothing where something has to be")
    return thing
