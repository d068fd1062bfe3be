"""The command that makes a folder from which a computer without internet installs the engine."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from packaging.requirements import Requirement

from ..engine.compute import devices
from ..engine.outputs import write_atomically
from ..protocol import ErrorCode, OrthomaskError
from .shared import exit_status, json_option

ENGINE = Path(__file__).resolve().parent.parent / "resources" / "engine"
DESCRIPTION = "orthomask-wheels.json"
"""Says what the folder holds; written last, so a folder without it is incomplete."""
STDERR = 2


@dataclass(frozen=True)
class Target:
    """A platform for which wheels are fetched, as markers and as wheels' file names describe it."""

    system: str
    markers: dict[str, str]
    tags: tuple[str, ...]


def _linux(machine: str) -> Target:
    markers = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": machine}
    glibc = tuple(f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1))
    return Target("linux", markers, (*glibc, f"manylinux2014_{machine}", f"manylinux2010_{machine}"))


TARGETS = {
    "linux": _linux("x86_64"),
    "linux-arm": _linux("aarch64"),
    "windows": Target(
        "windows",
        {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
        ("win_amd64",),
    ),
    "macos": Target(
        "macos",
        {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
        ("macosx_14_0_arm64",),
    ),
}


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--platform", "target", type=click.Choice(list(TARGETS)), help="Default: this computer's.")
@click.option("--python", "minor", help="Its Python's version, as 3.12; default: this one's.")
@click.option(
    "--build", type=click.Choice(["cpu", "cu126", "cu130", "mac"]), help="Build of PyTorch; default: without CUDA."
)
@json_option
def wheelhouse(folder: Path, target: str | None, minor: str | None, build: str | None, as_json: bool) -> None:
    """Download the engine's packages into FOLDER, for a computer without internet.

    There, Orthomask's Set up installs from that folder: “From ‣ Folder…”. A second call resumes an interrupted one.
    """
    try:
        description = fetch(folder, target or _this_platform(), minor or _this_python(), build)
    except OrthomaskError as error:
        click.echo(f"{error.sentence}\n{error.remedy}", err=True)
        sys.exit(exit_status(error.code))
    files = list(folder.glob("*.whl"))
    megabytes = round(sum(path.stat().st_size for path in files) / 1e6)
    if as_json:
        click.echo(json.dumps({**description, "files": len(files), "megabytes": megabytes}, indent=1))
    else:
        click.echo(f"{len(files)} packages, {megabytes} MB: {description['build']} for Python {description['python']}.")


def fetch(folder: Path, target: str, minor: str, build: str | None, lock: str | None = None) -> dict[str, Any]:
    """Fill `folder` and describe its contents in a file there; returns that description.

    Args:
        target: a name of `TARGETS`.
        minor: the version of the other computer's Python.
        build: a name in `builds.json`; None for the one without CUDA.
        lock: pinned packages; None for Orthomask's own, with ONNX support.

    Raises:
        OrthomaskError: there is no such build, or pip could not download the packages.
    """
    table = json.loads((ENGINE / "builds.json").read_text(encoding="utf-8"))
    extra = (ENGINE / "onnx.lock").read_text(encoding="utf-8") if lock is None else ""
    lock = (ENGINE / "engine.lock").read_text(encoding="utf-8") if lock is None else lock
    system = TARGETS[target].system
    rows = [row for row in table["builds"] if system in row["torch"] and build in (None, row["name"])]
    if minor not in table["pythons"] or not rows:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            f"There are no packages for Python {minor}, build {build or 'cpu'} and {target}.",
            f"Choose a Python of {', '.join(sorted(table['pythons']))}, and a build that exists for that platform.",
        )
    row = rows[-1]
    folder.mkdir(parents=True, exist_ok=True)
    _download(
        folder,
        row,
        target,
        minor,
        [table["pip"], *pins(row, TARGETS[target], minor, f"{lock}\n{extra}", table["gpu_packages"])],
    )
    description = {
        "orthomask": devices.version(),
        "platform": target,
        "python": minor,
        "build": row["name"],
        "lock": digest(lock),
    }
    write_atomically(folder / DESCRIPTION, json.dumps(description).encode())
    return description


def _download(folder: Path, row: dict[str, Any], target: str, minor: str, packages: list[str]) -> None:
    """Let pip fetch packages. All are named, except NVIDIA's that PyTorch's own index has for Linux."""
    system = TARGETS[target].system
    all_named = row["name"] != "cu126" or system != "linux"
    if not all_named and sys.platform != "linux":
        sentence, remedy = "That build can be downloaded on Linux only.", "Call the command on a computer with Linux."
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, remedy)
    command = [sys.executable, "-m", "pip", "download", "--dest", str(folder), "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--find-links", str(folder)]
    if (target, minor) != (_this_platform(), _this_python()):
        tags = [option for tag in TARGETS[target].tags for option in ("--platform", tag)]
        command += [*tags, "--python-version", minor, "--implementation", "cp"]
    index = row["index"].get(system)
    if index:  # used only for PyTorch
        _pip([*command, "--no-deps", "--extra-index-url", index, row["torch"][system]])
    _pip([*command, *(["--no-deps"] if all_named else []), *packages])


def _pip(command: list[str]) -> None:
    if subprocess.run(command, stdout=STDERR, check=False).returncode:
        sentence, remedy = "pip could not download the packages.", "Solve the problem shown above, then try again."
        raise OrthomaskError(ErrorCode.ENGINE_SETUP, sentence, remedy)


def pins(row: dict[str, Any], target: Target, minor: str, lock: str, gpu_packages: list[str]) -> list[str]:
    """The packages, with versions, that a build needs on a platform: pip would evaluate markers for this computer."""
    environment = {**target.markers, "python_version": minor, "python_full_version": f"{minor}.0"}
    environment.update(implementation_name="cpython", platform_python_implementation="CPython")
    left_out = ("torch==", *(() if row["name"] == "cu130" else gpu_packages))
    found = [row["torch"][target.system]]
    for line in lock.splitlines():
        if line.strip() and not line.startswith(("#", *left_out)):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                found.append(f"{requirement.name}{requirement.specifier}")
    return found


def digest(lock: str) -> str:
    """A short hash of a lock's content, as Set up computes it."""
    lines = sorted(line.strip() for line in lock.splitlines() if line.strip() and not line.startswith("#"))
    return sha256("\n".join(lines).encode()).hexdigest()[:12]


def _this_platform() -> str:
    arm = platform.machine().lower() in ("aarch64", "arm64")
    return {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux-arm" if arm else "linux")


def _this_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
