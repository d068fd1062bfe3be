"""Keys and passwords: put into addresses just before they are used, and out of everything that is told or written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ...protocol import OrthomaskError

HIDDEN = "***"
_NAMED = re.compile(r"([?&][^=&]*(?:key|token|pass|pwd|auth|secret|credential|sig|user)[^=&]*=)[^&]+", re.IGNORECASE)
_LOGIN = re.compile(r"://[^/@\s]+@")


def filled(address: str, access: Mapping[str, str]) -> str:
    """An address with the secrets that its placeholders name, such as `{key}`."""
    for name, value in access.items():
        address = address.replace(f"{{{name}}}", value)
    return address


def public(address: str) -> str:
    """An address without login, keys and tokens."""
    return _NAMED.sub(rf"\1{HIDDEN}", _LOGIN.sub("://", address))


def options(access: Mapping[str, str]) -> dict[str, str]:
    """GDAL's options among the secrets: the names in capitals."""
    return {name: value for name, value in access.items() if name.isupper()}


@contextmanager
def hidden(access: Mapping[str, str]) -> Iterator[None]:
    """Keep secrets out of the errors raised inside."""
    try:
        yield
    except OrthomaskError as error:
        told = error.to_json()
        texts = [told["sentence"], told["remedy"], told["details"]]
        for secret in filter(None, access.values()):
            texts = [text.replace(secret, HIDDEN) for text in texts]
        if texts == [told["sentence"], told["remedy"], told["details"]]:
            raise
        raise OrthomaskError(error.code, *texts) from None
