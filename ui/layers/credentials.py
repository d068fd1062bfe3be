"""Passwords in layer sources: kept out of everything that is written, passed to the engine separately."""

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
    """A layer's source, readable, with passwords, keys and tokens hidden."""
    plain = _IN_ADDRESS.sub(f"://{HIDDEN}@", unquote(source))
    return _NAMED.sub(lambda found: f"{found['name']}{found['is']}{HIDDEN}", plain)


def without_access(path: str, expanded: str) -> tuple[str, dict[str, str]]:
    """A file's URL without user and password, and the GDAL options that supply them.

    Args:
        path: the URL, perhaps with user and password.
        expanded: the same, with those of QGIS's authentication store inserted unescaped.
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


def keys_apart(address: str) -> tuple[str, dict[str, str]]:
    """An address with placeholders such as `{key}` in place of its keys and tokens, and the values of these."""
    found: dict[str, str] = {}

    def hide(part: re.Match[str]) -> str:
        if part["value"].startswith("{"):
            return part[0]
        name = f"key{len(found) + 1}" if found else "key"
        found[name] = unquote(part["value"])
        return f"{part['name']}{part['is']}{{{name}}}"

    return _NAMED.sub(hide, address), found
