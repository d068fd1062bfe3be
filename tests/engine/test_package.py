"""The zip is one that the QGIS plugin repository accepts."""

import ast
import subprocess
import zipfile
from configparser import ConfigParser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 25_000_000
"""Bytes that the repository takes."""
REQUIRED = (
    "name", "description", "version", "qgisMinimumVersion", "author", "email", "about", "tracker", "repository",
    "homepage",
)  # fmt: skip
SUFFIXES = {
    "", ".css", ".geojson", ".j2", ".jpg", ".js", ".json", ".lock", ".md", ".mo", ".png", ".po", ".py", ".qml",
    ".safetensors", ".svg", ".tif", ".toml", ".txt", ".xml",
}  # fmt: skip
OLDEST_PYTHON = (3, 9)
"""Of the QGIS versions that the plugin says it runs in."""


@pytest.fixture(scope="module")
def package() -> zipfile.ZipFile:
    subprocess.run(["make", "-s", "package"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (path,) = (ROOT / "dist").glob("orthomask-*.zip")
    assert path.stat().st_size < LARGEST
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_it_holds_the_plugin_and_nothing_else(package: zipfile.ZipFile) -> None:
    names = [PurePosixPath(name) for name in package.namelist() if not name.endswith("/")]
    assert {name.parts[0] for name in names} == {"orthomask"}
    assert {"orthomask/LICENSE", "orthomask/metadata.txt", "orthomask/__init__.py"} <= set(map(str, names))
    parts = {part for name in names for part in name.parts}
    assert not {"tests", "benchmarks", "tutorial", "__pycache__", "__MACOSX"} & parts
    assert [part for part in parts if part.startswith(".") or "\\" in part] == [".bandit"]
    assert {name.suffix for name in names} <= SUFFIXES
    assert {"buildings.safetensors", "farmland.safetensors"} <= {name.name for name in names}


def test_its_metadata_say_what_the_repository_asks(package: zipfile.ZipFile) -> None:
    metadata = ConfigParser(interpolation=None)
    metadata.read_string(package.read("orthomask/metadata.txt").decode())
    general = metadata["general"]
    assert [key for key in REQUIRED if not general.get(key)] == []
    assert general["version"] in general["changelog"].split(" ")[0]
    assert f"## {general['version']}\n" in package.read("orthomask/CHANGELOG.md").decode()
    assert "orthomask/" + general["icon"] in package.namelist()


def test_its_metadata_let_it_into_every_qgis_of_qt_6(package: zipfile.ZipFile) -> None:
    metadata = ConfigParser(interpolation=None)
    metadata.read_string(package.read("orthomask/metadata.txt").decode())
    # QGIS 4 and its repository read the versions (qgis/QGIS#65146); QGIS 3.36 to 3.44 built with Qt 6 also the key.
    assert tuple(map(int, metadata["general"]["qgisMaximumVersion"].split("."))) >= (4, 0)
    assert metadata["general"]["supportsQt6"].upper() in {"TRUE", "YES"}


def test_what_qgis_imports_is_python_of_its_oldest_version(package: zipfile.ZipFile) -> None:
    for name in package.namelist():
        if name.endswith(".py") and PurePosixPath(name).parts[1] in {"__init__.py", "plugin.py", "protocol", "ui"}:
            ast.parse(package.read(name), name, feature_version=OLDEST_PYTHON)
