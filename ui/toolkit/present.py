"""What is known to be there, though its type says that it need not be."""

from __future__ import annotations

from typing import Optional, TypeVar

Thing = TypeVar("Thing")


def present(thing: Optional[Thing]) -> Thing:
    """The thing itself. By their types, any function of QGIS may return nothing; where this stands, none does.

    Raises:
        ValueError: there is nothing, which is a defect.
    """
    if thing is None:
        raise ValueError("nothing where something has to be")
    return thing
