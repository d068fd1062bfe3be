"""Which Python, which build of PyTorch, which packages, through which proxy."""

import json
import re
import sys
from pathlib import Path

import pytest
from qgis.core import QgsNetworkAccessManager, QgsSettings
from qgis.PyQt.QtNetwork import QNetworkProxy

from orthomask.ui.client import network
from orthomask.ui.client.network import Network
from orthomask.ui.installer import builds, managed, pythons
from orthomask.ui.installer.builds import Gpu
from orthomask.ui.installer.progress import Downloads

ROOT = Path(__file__).resolve().parents[3]
LOCK = builds.LOCK.read_text()
NEW, OLD = Gpu("RTX 4070", 580.65, 8.9), Gpu("RTX 4070", 550.12, 8.9)


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("system", "gpu", "name", "words"),
    [
        ("linux", None, "cpu", "No NVIDIA driver"),
        ("linux", NEW, "cu130", "RTX 4070"),
        ("windows", NEW, "cu130", "driver 580.65"),
        ("windows", OLD, "cu126", "550.12"),
        ("linux", Gpu("GTX 1080", 580.65, 6.1), "cu126", "GTX 1080"),
        ("linux", Gpu("RTX 5090", 570.0, 12.0), "cpu", "this generation or type of GPU"),
        ("linux", Gpu("RTX 2060", 470.2, 7.5), "cpu", "525 or newer"),
        ("windows", Gpu("K80", 450.0, 0.0), "cpu", "528 or newer"),
        ("macos", None, "mac", "Mac"),
    ],
)
def test_the_build_fits_the_driver_and_the_gpu(system, gpu, name, words):
    build, why = builds.choose(builds.builds(system), gpu, "x86_64")
    assert build.name == name
    assert words in why
    assert build.download_mb < build.disk_mb


def test_arm_computers_get_the_build_without_cuda():
    assert builds.choose(builds.builds("linux"), NEW, "aarch64")[0].name == "cpu"


def test_the_lock_pins_what_the_project_depends_on():
    needed = re.findall(
        r'^    "([a-z0-9]+)', (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]")[0], re.M
    )
    pinned = set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))
    assert len(needed) > 10
    assert set(needed) <= pinned
    assert not {"pytest", "ruff", "mypy"} & pinned
    torch = next(line for line in LOCK.splitlines() if line.startswith("torch=="))
    assert all(build.torch.startswith(torch) for name in ("linux", "windows", "macos") for build in builds.builds(name))


def test_only_the_default_build_for_linux_takes_nvidias_packages_from_the_lock():
    for system in ("linux", "windows", "macos"):
        for build in builds.builds(system):
            lines = builds.requirements(build, LOCK)
            assert any(line.startswith("nvidia-") for line in lines) is (system == "linux" and build.name == "cu130")
            assert [line for line in lines if line.startswith("torch==")] == [build.torch]
            assert any(line.startswith("rasterio==") for line in lines)


@pytest.mark.parametrize("system", ["linux", "windows", "macos"])
def test_everything_is_fetched_once_and_pytorchs_index_is_asked_for_nothing_else(system, monkeypatch):
    monkeypatch.setattr(builds, "platform_name", lambda: system)
    for build in builds.builds(system):
        lines = builds.requirements(build, LOCK)
        calls = builds.fetches(build, lines)
        named = [word for call in calls for word in call if "==" in word]
        unlocked = build.name == "cu126" and system == "linux"
        assert sorted(named) == sorted((*lines, build.torch) if unlocked else lines)
        for call in calls:
            assert "--extra-index-url" not in call or [word for word in call if "==" in word] == [build.torch]
        assert calls[0][-1] == build.torch
        assert ("--no-deps" in calls[-1]) is not unlocked


def test_locks_with_the_same_packages_have_the_same_name():
    assert builds.digest("a==1\nb==2\n") == builds.digest("# note\nb==2\n\na==1\n")
    assert builds.digest("a==1\n") != builds.digest("a==2\n")


def nvidia(monkeypatch, tmp_path, text):
    path = program(tmp_path / "nvidia-smi", text)
    monkeypatch.setattr(builds.shutil, "which", lambda name: path if name == "nvidia-smi" else None)


def test_the_driver_tells_of_its_gpus_and_the_most_capable_counts(monkeypatch, tmp_path):
    nvidia(monkeypatch, tmp_path, 'echo "Quadro P400, 580.65.06, 6.1"; echo "NVIDIA RTX A4000, 580.65.06, 8.6"')
    assert builds.find_gpu() == Gpu("NVIDIA RTX A4000", 580.65, 8.6)


def test_an_old_driver_does_not_know_the_capability(monkeypatch, tmp_path):
    text = 'case "$1" in *compute_cap*) exit 2;; esac; echo "GeForce GTX 960, 470.199.02"'
    nvidia(monkeypatch, tmp_path, text)
    assert builds.find_gpu() == Gpu("GeForce GTX 960", 470.199)


@pytest.mark.parametrize("text", ["exit 9", "echo 'NVIDIA-SMI has failed'", "echo 'No devices were found'"])
def test_a_driver_that_does_not_work_is_no_gpu(monkeypatch, tmp_path, text):
    nvidia(monkeypatch, tmp_path, text)
    assert builds.find_gpu() is None


def answer(executable="/opt/python", version=(3, 12, 1), bits=64, kind="CPython", venv=True):
    facts = [executable, list(version), bits, "x86_64", kind, venv, True]
    return f"echo 'banner of a shop'; echo 'orthomask {json.dumps(facts)}'"


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({}, ""),
        ({"version": (3, 9, 18)}, "3.10 or newer"),
        ({"version": (3, 15, 0)}, "no packages for this version"),
        ({"bits": 32}, "it is 32-bit"),
        ({"kind": "PyPy"}, "PyPy"),
        ({"venv": False}, "venv and ensurepip"),
        ({"venv": False, "executable": "/usr/bin/python3"}, "python3.12-venv"),
    ],
)
def test_a_python_that_does_not_fit_says_why(tmp_path, facts, problem):
    python = pythons.probe(program(tmp_path / "python", answer(**facts)), ["3.10", "3.12"])
    assert problem in python.problem
    assert bool(python.problem) is bool(problem)


@pytest.mark.parametrize("text", ["exit 9", "echo hello", "echo orthomask nonsense", "sleep 0; echo 'orthomask []'"])
def test_what_is_no_python_is_passed_over(tmp_path, text):
    assert pythons.probe(program(tmp_path / "python", text)) is None
    assert pythons.probe(str(tmp_path / "not there")) is None


def test_pythons_that_fit_come_first_in_the_order_of_the_wish(monkeypatch, tmp_path):
    versions = [(3, 9, 1), (3, 13, 1), (3, 12, 1), (3, 11, 1)]
    paths = [program(tmp_path / f"p{v[1]}", answer(f"/opt/{v[1]}", v)) for v in versions]
    monkeypatch.setattr(pythons, "candidates", lambda wanted: iter([*paths, *paths]))
    assert [python.version[1] for python in pythons.find(["3.12", "3.11", "3.13"])] == [12, 11, 13, 9]


def test_this_python_is_found():
    assert pythons.qgis_python() == sys.executable
    assert pythons.probe(sys.executable).version == sys.version_info[:3]


def test_a_python_is_fetched_where_none_fits(monkeypatch, tmp_path):
    base, commands = tmp_path / "base", []
    fetched = program(tmp_path / "python", answer())

    def run(command, variables):
        commands.append(" ".join(command))
        assert not variables or variables["UV_PYTHON_INSTALL_DIR"] == str(base / "python")
        return f"{fetched}\n" if "find" in command else ""

    monkeypatch.setattr(managed.shutil, "which", lambda _: None)
    assert managed.python("/qgis/python", base, run).version == (3, 12, 1)
    assert commands[0].startswith("/qgis/python -m pip install")
    assert commands[1].endswith("python install 3.12")


@pytest.fixture
def _proxy():
    yield
    QgsSettings().remove("proxy")
    QgsNetworkAccessManager.instance().setupDefaultProxyAndCache()


def set_proxy(**values):
    for name, value in {"Enabled": True, "Host": "proxy.corp", "Port": "8080", **values}.items():
        QgsSettings().setValue(f"proxy/proxy{name}", value)
    QgsNetworkAccessManager.instance().setupDefaultProxyAndCache()


@pytest.mark.usefixtures("_proxy", "qgis_app")
def test_the_proxy_of_qgis_is_used_with_its_password(tmp_path):
    set_proxy(Type="HttpProxy", User="me@corp", Password="p:w d")
    QgsSettings().setValue("proxy/noProxyUrls", ["http://intra.corp/"])
    QgsNetworkAccessManager.instance().setupDefaultProxyAndCache()
    found = network.of_qgis()
    assert found.proxy == "http://me%40corp:p%3Aw%20d@proxy.corp:8080"
    variables = found.variables(tmp_path)
    assert variables["HTTPS_PROXY"] == variables["https_proxy"] == found.proxy
    assert variables["NO_PROXY"] == "intra.corp,localhost,127.0.0.1,::1"
    assert "p%3A" not in repr(found)


@pytest.mark.usefixtures("_proxy", "qgis_app")
def test_without_a_proxy_nothing_is_set(tmp_path):
    set_proxy(Enabled=False)
    assert network.of_qgis().proxy == ""
    assert Network().variables(tmp_path) == {}


def test_a_socks_proxy_resolves_names_itself():
    proxy = QNetworkProxy(QNetworkProxy.ProxyType.Socks5Proxy, "socks.corp", 1080)
    assert network.proxy_url(proxy) == "socks5h://socks.corp:1080"


def test_certificates_of_the_person_reach_pip_and_uv(tmp_path):
    variables = Network(certificates="-----BEGIN CERTIFICATE-----\n").variables(tmp_path)
    assert Path(variables["PIP_CERT"]).read_text().startswith("-----BEGIN")
    assert variables["SSL_CERT_FILE"] == variables["PIP_CERT"]


PIP = """Collecting numpy==2.4.6 (from -r requirements.txt (line 3))
  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl (16.9 MB)
Progress 0 of 16900000
Progress 8000000 of 16900000
Progress 16900000 of 16900000
Collecting torch==2.13.0
  Downloading torch-2.13.0-cp311.whl (183.1 MB)
Progress 0 of 183100000
Progress 100000000 of 183100000"""


def test_bytes_are_counted_from_what_pip_prints():
    downloads = Downloads(expected_mb=200, packages=2)
    told = [downloads.read(line) for line in PIP.splitlines()]
    assert downloads.done_mb == pytest.approx(116.9)
    assert downloads.fraction == pytest.approx(116.9 / 200)
    assert downloads.name == "torch 2.13.0"
    assert told.count(True) == 5
    assert not downloads.installing
    assert not downloads.read("Installing collected packages: numpy, torch")
    assert downloads.installing


def test_what_was_fetched_before_counts_again():
    downloads = Downloads(expected_mb=200, packages=2, there_mb=120)
    assert downloads.fraction == pytest.approx(0.6)
    downloads.read("File was already downloaded /profile/wheels/torch-2.13.0-cp311.whl")
    assert downloads.done_mb == pytest.approx(120)


def test_more_than_was_expected_is_not_more_than_all():
    downloads = Downloads(expected_mb=1, packages=2)
    for line in PIP.splitlines():
        downloads.read(line)
    assert downloads.fraction == 1


def test_packages_of_a_folder_count_by_their_number():
    downloads = Downloads(expected_mb=200, packages=4)
    for name in ("a", "b"):
        downloads.read(f"Processing c:\\wheels\\{name}-1.0-py3-none-any.whl")
    assert downloads.fraction == pytest.approx(0.5)
    assert downloads.name == "b 1.0"
