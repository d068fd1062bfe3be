"""The plan of a set-up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ..client.network import Network
from . import builds, managed
from .builds import Build
from .pythons import Python

MARGIN_MB = 500
"""Free space to leave, so that the disk does not fill up."""


@dataclass(frozen=True)
class Plan:
    """What will be done; nothing has been done yet.

    Args:
        python: makes the environment; None if uv must fetch one first.
        helper: a Python with pip, of any version, to fetch uv.
        wheels: the folder to install from; empty to fetch from the internet.
        requirements: pinned lines, as pip reads them.
        base: folder of environments.
    """

    build: Build
    requirements: tuple[str, ...]
    lock: str
    base: Path
    python: Optional[Python] = None
    helper: str = ""
    wheels: str = ""
    network: Network = field(default_factory=Network)

    @property
    def download_mb(self) -> int:
        """Approximate download."""
        return 0 if self.wheels else self.build.download_mb + (managed.DOWNLOAD_MB if self.python is None else 0)

    @property
    def package_count(self) -> int:
        """Number of packages to install for this Python and platform."""
        return len(builds.package_names(self.requirements, self.python.minor if self.python else ""))

    @property
    def needed_mb(self) -> int:
        """Free space needed during set-up: downloads are kept until the end."""
        return self.download_mb + self.build.disk_mb + MARGIN_MB
