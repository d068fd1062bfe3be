"""Recognise errors that mean that memory ran out, whoever raised them."""

from __future__ import annotations

import errno

SIGNS = ("memory", "allocate", "could not create a primitive", "can't start new thread")
"""Parts of such messages by PyTorch, oneDNN, GDAL and Python, not `MemoryError`."""


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that memory ran out."""
    if error is None:
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    says = isinstance(error, Exception) and any(sign in str(error).lower() for sign in SIGNS)
    return (says and not isinstance(error, (ValueError, KeyError))) or out_of_memory(error.__cause__)
