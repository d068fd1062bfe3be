"""Passwords in the sources of layers: kept out of everything that is written, given to the engine apart."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
_WORDS = "pass|pwd|user|auth|token|secret|key|credential|signature|http-header"
_NAMED = re.compile(
    rf"""(?P<name>\b[\w.:-]*(?:{_WORDS})[\w.:-]*|\bsig)(?P<is>=|:\s)(?P<value>'[^']*'|"[^"]*"|[^&\s'"]+)""",
    re.IGNORECASE,
)
_IN_ADDRESS = re.compile(r"://[^/@\s'\"]+@")


def public_source(source: str) -> str:
    """The source of a layer in readable words, its passwords, keys and tokens hidden."""
    plain = _IN_ADDRESS.sub(f"://{HIDDEN}@", unquote(source))
    return _NAMED.sub(lambda found: f"{found['name']}{found['is']}{HIDDEN}", plain)


def without_access(path: str, expanded: str) -> tuple[str, dict[str, str]]:
    """The address of a file without user and password, and the options of GDAL that bring them.

    Args:
        path: the address as it is known, perhaps with user and password in it.
        expanded: the same with those of QGIS's authentication store, which are put into the address as they are.
    """
    scheme, separator, rest = path.partition("://")
    added = len(expanded) - len(path)
    start = f"{scheme}{separator}"
    if separator and added > 1 and expanded == f"{start}{expanded[len(start) : len(start) + added - 1]}@{rest}":
        return path, {"GDAL_HTTP_USERPWD": expanded[len(start) : len(start) + added - 1]}
    found = re.match(r"([^/@\s]+)@", rest)
    if separator and found:
        return f"{start}{rest[found.end() :]}", {"GDAL_HTTP_USERPWD": unquote(found[1])}
    return path, {}
