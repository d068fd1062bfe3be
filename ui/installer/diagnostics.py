"""What a maintainer needs to know of a set-up, as Markdown, without private data."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from qgis.core import Qgis
from qgis.PyQt.QtCore import QT_VERSION_STR

from ...protocol import OrthomaskError
from ..client import store
from ..client.network import Network
from . import builds
from .install import version
from .planning import Offer, is_current

LINES = 60
"""How much of the log's end to include."""
_LOGIN = re.compile(r"(\w+://)[^/@\s'\"]*@")
_HOME = re.compile(r"(?i)([a-z]:)?(/|\\{1,2})(home|users)(/|\\{1,2})[^/\\\s'\":;,]+")


def redacted(text: str) -> str:
    """`text` with home folders as `~`, and URLs without user and password."""
    text = _LOGIN.sub(r"\1…@", text)
    for home in {str(Path.home()), os.path.realpath(Path.home())}:
        for form in (home, home.replace("\\", "\\\\"), home.replace("\\", "/")):
            text = text.replace(form, "~") if len(home) > 1 else text
    return _HOME.sub("~", text)


def markdown(
    offer: Optional[Offer], python: str, network: Network, error: Optional[OrthomaskError], log: Sequence[str]
) -> str:
    """The report.

    Args:
        offer: what was found on this computer so far.
        python: the engine's Python.
        error: what went wrong last.
        log: the set-up's.
    """
    parts = [
        "## Orthomask",
        *(f"{'' if line.startswith(' ') else '- '}{line}" for line in _facts(offer, python, network)),
    ]
    if error is not None:
        parts += ["", "## Error", f"{error.sentence} {error.remedy} [{error.code.value}]", "```", error.details, "```"]
    if log:
        parts += ["", "## Log", "```", *log[-LINES:], "```"]
    return redacted("\n".join(parts) + "\n")


def _facts(offer: Optional[Offer], python: str, network: Network) -> Iterator[str]:
    base = store.base_folder()
    yield f"Orthomask {version()}, lock {builds.digest(builds.LOCK.read_text(encoding='utf-8'))}"
    yield f"QGIS {Qgis.QGIS_VERSION}, Qt {QT_VERSION_STR}, Python {platform.python_version()} ({sys.executable})"
    yield f"{platform.platform()}, {platform.machine()}"
    yield f"Engine's Python: {python or 'none'}"
    yield f"Proxy: {network.proxy or 'none'}; own certificates: {'yes' if network.certificates else 'no'}"
    yield f"Environments in {base}, {store.free_mb(base)} MB free:"
    for environment in store.environments(base):
        made = environment.record
        state = "current" if is_current(environment) else "of another lock"
        words = f"{made.build}, Python {made.python}, {made.disk_mb} MB, {made.device} in {made.seconds} s, {state}"
        yield f"  - {environment.folder.name}: {words}, made {made.made}"
    for folder in store.leftovers(base):
        yield f"  - {folder.name}: not finished"
    if offer is not None:
        yield f"Device: {offer.build.title}. {offer.why}"
        for found in offer.pythons:
            yield f"{found.title}: {found.problem or 'fits'}"
