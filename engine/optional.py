"""Python packages that only some requests need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..protocol import ErrorCode, OrthomaskError


def package(name: str, sentence: str, remedy: str) -> Any:
    """A module of an optional package.

    Args:
        sentence, remedy: for those who lack it.

    Raises:
        OrthomaskError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise OrthomaskError(ErrorCode.ENGINE_PART, sentence, remedy, str(error)) from error
