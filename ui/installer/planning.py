"""What can be set up on this computer, and the plan that the user agrees to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ...protocol import ErrorCode, OrthomaskError
from ..client import store
from ..client.network import Network
from ..toolkit.words import tr
from . import builds, pythons
from .builds import Build, Gpu
from .plan import Plan
from .pythons import Python

DESCRIPTION = "orthomask-wheels.json"
"""The file that `orthomask wheelhouse` writes last into its folder."""


@dataclass(frozen=True)
class Offer:
    """What was found on this computer.

    Args:
        build: the best of `builds`, and `why`, in one sentence.
        pythons: all that start, suitable ones first.
    """

    builds: tuple[Build, ...]
    build: Build
    why: str
    pythons: tuple[Python, ...]
    gpu: Optional[Gpu]

    @property
    def usable(self) -> tuple[Python, ...]:
        """The Pythons that can make the environment."""
        return tuple(python for python in self.pythons if not python.problem)

    @property
    def helper(self) -> str:
        """A Python of any version with pip, to fetch uv; empty if there is none."""
        return next((python.path for python in self.pythons if python.has_pip), "")


def look() -> Offer:
    """Look for Pythons and GPUs. Starts processes; takes some seconds, so not for the main thread."""
    found, gpu = builds.builds(builds.platform_name()), builds.find_gpu()
    build, why = builds.choose(found, gpu)
    return Offer(found, build, why, pythons.find(builds.table()["pythons"]), gpu)


def current_lock() -> str:
    """The text of Orthomask's lock."""
    return builds.LOCK.read_text(encoding="utf-8")


def is_current(environment: store.Environment) -> bool:
    """Whether an environment holds the packages that this version of Orthomask was tested with."""
    return environment.record.lock == builds.digest(current_lock())


def from_internet(offer: Offer, build: Build, python: Optional[Python], network: Network) -> Plan:
    """The plan to fetch everything; with `python` None, a Python too."""
    lock = current_lock()
    requirements = builds.requirements(build, lock)
    base = store.base_folder()
    return Plan(build, requirements, builds.digest(lock), base, python, offer.helper, network=network)


def from_folder(offer: Offer, folder: Path) -> Plan:
    """The plan to install from a folder that `orthomask wheelhouse` made.

    Raises:
        OrthomaskError: it is not such a folder, or is for another computer.
    """
    remedy = tr("Create it with “orthomask wheelhouse”, using this version, for this computer.")
    try:
        made = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        system, minor, lock = made["platform"].partition("-")[0], made["python"], made["lock"]
        build = next(build for build in offer.builds if build.name == made["build"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        sentence = tr("The folder {} contains no packages for this computer.").format(folder)
        raise OrthomaskError(ErrorCode.ENGINE_SETUP, sentence, remedy, repr(error)) from error
    if system != builds.platform_name() or lock != builds.digest(current_lock()):
        sentence = tr("The packages in {} were downloaded for {} or for another version of Orthomask.")
        raise OrthomaskError(ErrorCode.ENGINE_SETUP, sentence.format(folder, made["platform"]), remedy, str(made))
    python = next((python for python in offer.usable if python.minor == minor), None)
    if python is None:
        sentence = tr("The packages in {} need Python {}, which is not on this computer.").format(folder, minor)
        remedy = tr("Install Python {}, or create the folder for another version: {}.")
        there = ", ".join(python.minor for python in offer.usable) or tr("there is no suitable one here")
        raise OrthomaskError(ErrorCode.ENGINE_SETUP, sentence, remedy.format(minor, there), str(made))
    base, requirements = store.base_folder(), builds.requirements(build, current_lock())
    return Plan(build, requirements, lock, base, python, wheels=str(folder))
