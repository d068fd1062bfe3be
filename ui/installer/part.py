"""Adds ONNX support, an optional part, to an environment that Set up made."""

from __future__ import annotations

from ..client import store
from ..client.network import Network
from ..client.store import Environment
from ..toolkit.words import tr
from . import builds, failures, processes
from .progress import Watcher

LOCK = builds.FOLDER / "onnx.lock"
DOWNLOAD_MB = 40


def add(environment: Environment, network: Network, watcher: Watcher) -> None:
    """Install the part's packages. What is there stays as it is: the engine's own lock holds its versions.

    Raises:
        Cancelled: the user stopped it.
        OrthomaskError: it failed; the engine works as before.
    """
    printed: list[str] = []

    def say(line: str) -> None:
        printed.append(line)
        watcher.log(line)

    base = environment.folder.parent
    command = [environment.python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--only-binary", ":all:", "--no-warn-script-location", "--progress-bar", "off"]
    command += ["--constraint", str(builds.LOCK), "--requirement", str(LOCK)]
    with store.locked(base):
        watcher.step(0.1, tr("Installing ONNX support"))
        try:
            status = processes.run(command, network.variables(base), say, watcher.isCanceled)
        except OSError as error:
            raise failures.explain(str(error), str(environment.folder)) from error
        if status:
            raise failures.explain("\n".join(printed), str(environment.folder))
