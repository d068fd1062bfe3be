"""The folder of packages for computers without internet."""

import json
import re
import zipfile

import pytest
from click.testing import CliRunner

from orthomask.cli import commands, wheelhouse
from orthomask.protocol import OrthomaskError

TABLE = json.loads((wheelhouse.ENGINE / "builds.json").read_text())
LOCK = (wheelhouse.ENGINE / "engine.lock").read_text()


def row(name):
    return next(row for row in TABLE["builds"] if row["name"] == name)


def pins(name, target, minor):
    return wheelhouse.pins(row(name), wheelhouse.TARGETS[target], minor, LOCK, TABLE["gpu_packages"])


@pytest.mark.parametrize("minor", TABLE["pythons"])
@pytest.mark.parametrize(
    ("name", "target"), [("cpu", "linux"), ("cu130", "windows"), ("mac", "macos"), ("cu130", "linux")]
)
def test_every_package_is_named_once_with_its_version(name, target, minor):
    lines = pins(name, target, minor)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+]+", line) for line in lines)
    names = [line.split("==")[0] for line in lines]
    assert len(set(names)) == len(names)
    assert {"torch", "rasterio", "numpy", "lightning"} <= set(names)
    assert ("tomli" in names) is (minor == "3.10")
    assert ("colorama" in names) is (target == "windows")
    assert ("nvidia-cudnn-cu13" in names) is (name == "cu130" and target == "linux")


def test_the_torch_is_the_builds_own():
    assert "torch==2.13.0+cpu" in pins("cpu", "linux", "3.12")
    assert "torch==2.13.0+cu130" in pins("cu130", "windows", "3.12")


def write_wheel(folder, name, tag):
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Where pip finds packages in these tests: no network."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for name in ("pip", "tiny", "part"):
        write_wheel(folder, name, "py3-none-any")
    for tag in ("cp312-cp312-win_amd64", "cp312-cp312-manylinux_2_28_x86_64", "cp311-abi3-macosx_11_0_arm64"):
        write_wheel(folder, "compiled", tag)
        write_wheel(folder, "torch", tag)
    table = {**TABLE, "pip": "pip==1.0", "builds": [{**row, "index": {}} for row in TABLE["builds"]]}
    for build in table["builds"]:
        build["torch"] = dict.fromkeys(build["torch"], "torch==1.0")
    (folder / "builds.json").write_text(json.dumps(table))
    (folder / "engine.lock").write_text(
        "tiny==1.0\ncompiled==1.0\nwindowed==1.0 ; sys_platform == 'none'\ntorch==1.0\n"
    )
    (folder / "onnx.lock").write_text("part==1.0\n")
    monkeypatch.setattr(wheelhouse, "ENGINE", folder)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


@pytest.mark.parametrize(("platform", "word"), [("windows", "win"), ("linux", "linux"), ("macos", "macos")])
def test_a_folder_for_any_platform_holds_its_wheels_and_says_so(shop, tmp_path, platform, word):
    out = tmp_path / "out"
    command = ["wheelhouse", str(out), "--platform", platform, "--python", "3.12", "--json"]
    done = CliRunner().invoke(commands, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout[done.stdout.index("{") :])["files"] == 5
    names = sorted(path.name for path in out.glob("*.whl"))
    assert [name.split("-")[0] for name in names] == ["compiled", "part", "pip", "tiny", "torch"]
    assert word in names[0]
    said = json.loads((out / wheelhouse.DESCRIPTION).read_text())
    assert (said["platform"], said["python"]) == (platform, "3.12")
    assert said["lock"] == wheelhouse.digest((shop / "engine.lock").read_text())


def test_a_folder_that_is_not_whole_does_not_say_what_it_holds(shop, tmp_path):
    (shop / "tiny-1.0-py3-none-any.whl").unlink()
    done = CliRunner().invoke(commands, ["wheelhouse", str(tmp_path), "--platform", "windows", "--python", "3.12"])
    assert done.exit_code == 4
    assert "pip could not download" in done.output
    assert not (tmp_path / wheelhouse.DESCRIPTION).exists()


@pytest.mark.parametrize(("target", "minor", "build"), [("linux", "3.9", None), ("windows", "3.12", "mac")])
def test_what_there_is_not_is_refused_before_anything_is_fetched(tmp_path, target, minor, build):
    with pytest.raises(OrthomaskError, match="There are no packages"):
        wheelhouse.fetch(tmp_path / "new", target, minor, build)
    assert not (tmp_path / "new").exists()
