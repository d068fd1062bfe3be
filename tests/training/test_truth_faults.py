"""What happens to masks and chips on their way: nothing half-written, a cause in words, the same when repeated."""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import chip_data
import pytest
import shapely
from faults import AtOperation, Ended, Fault, FullAt, KilledAt, PausedAt, Reaching, run_in_child, start_in_child
from hypothesis import settings
from test_faults import damage, wait_until

from orthomask import worker
from orthomask.engine.progress import Progress
from orthomask.protocol import (
    REQUESTS,
    Cancelled,
    Catalogue,
    ChipFormat,
    ChipsRequest,
    ClassInfo,
    ErrorCode,
    Existing,
    Image,
    LabelledImage,
    Labels,
    MaskRequest,
    OrthomaskError,
)

PLACES = 4 if settings.default.max_examples <= 100 else 110
"""At how many changes of a file a run is disturbed: `make fuzz` tries each."""
Files = dict[str, bytes]


class Case(NamedTuple):
    """A request that writes into a folder, and how often Python changes files there for it, at most."""

    request: MaskRequest | ChipsRequest
    folder: Path
    operations: int


def labelled(folder: Path) -> LabelledImage:
    """An image of four chips, with a label in two of them."""
    labels = (shapely.box(10, 10, 40, 30), shapely.box(80, 70, 120, 110))
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    return chip_data.labelled(folder, chip_data.noise(128, 128), labels, **layout)


def mask_case(data: LabelledImage, folder: Path) -> Case:
    return Case(MaskRequest(data.image, data.labels, str(folder / "mask.tif")), folder, 16)


def chips_case(data: LabelledImage, folder: Path, kind: ChipFormat = ChipFormat.GEOTIFF) -> Case:
    catalogues = (Catalogue.COCO, Catalogue.ARCGIS) if kind is ChipFormat.GEOTIFF else ()
    request = ChipsRequest((data,), str(folder / "chips"), chip_data.ONE, kind, catalogues, 64, 64)
    return Case(request, folder, 110 if catalogues else 44)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> LabelledImage:
    """One that no test changes."""
    return labelled(tmp_path_factory.mktemp("town") / "data")


@pytest.fixture(params=["mask", "chips", "hdf5"])
def case(request: pytest.FixtureRequest, town: LabelledImage) -> Case:
    """In the same folder for all tests, whose name is in what is written."""
    folder = Path(town.image.path).parents[1] / "work"
    shutil.rmtree(folder, ignore_errors=True)
    if request.param == "mask":
        return mask_case(town, folder)
    return chips_case(town, folder, ChipFormat.HDF5 if request.param == "hdf5" else ChipFormat.GEOTIFF)


def answered(request: object, progress: Progress | None = None) -> None:
    method = next(name for name, (kind, _) in REQUESTS.items() if isinstance(request, kind))
    worker.answer(method, request, progress or Progress())


def files(folder: Path) -> Files:
    """All files of a folder by their names, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def known() -> dict[str, Files]:
    """What undisturbed runs of the cases left."""
    return {}


@pytest.fixture
def undisturbed(request: pytest.FixtureRequest, case: Case, known: dict[str, Files]) -> Files:
    kind = request.node.callspec.params["case"]
    if kind not in known:
        answered(case.request)
        known[kind] = files(case.folder)
        shutil.rmtree(case.folder)
    return known[kind]


def expect_nothing_half_written(case: Case, undisturbed: Files) -> None:
    """What stands under a final name is whole, and a folder of chips has all of them."""
    found = files(case.folder) if case.folder.exists() else {}
    final = {name: content for name, content in found.items() if not name.startswith(".")}
    assert {name: undisturbed[name] for name in final} == final
    if any(name.startswith("chips") for name in final):
        assert final == undisturbed


def expect_the_same_when_repeated(case: Case, undisturbed: Files) -> None:
    finished = {name for name in files(case.folder) if not name.startswith(".")} == set(undisturbed)
    if not finished:
        answered(case.request)
    assert {name: content for name, content in files(case.folder).items() if not name.startswith(".")} == undisturbed
    if not finished:
        assert [name for name in files(case.folder) if name.startswith(".")] == []


def disturb(case: Case, fault: Fault) -> Ended:
    return run_in_child(fault, case.request)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.8])
def test_killed_at_any_stage(case: Case, undisturbed: Files, fraction: float) -> None:
    ended = disturb(case, KilledAt(fraction))
    assert ended.status == -9
    expect_nothing_half_written(case, undisturbed)
    expect_the_same_when_repeated(case, undisturbed)


@pytest.mark.parametrize("error", [0, errno.ENOSPC])
@pytest.mark.parametrize("place", range(PLACES))
def test_killed_or_no_space_at_any_change_of_a_file(case: Case, undisturbed: Files, place: int, error: int) -> None:
    number = 1 + case.operations * place // PLACES
    ended = disturb(case, AtOperation(number, error, str(case.folder)))
    assert ended.status == -9 or ended.answer
    if "error" in ended.answer:
        assert ended.answer["error"]["code"] == ErrorCode.DISK_FULL, ended
        assert ended.answer["error"]["remedy"]
    expect_nothing_half_written(case, undisturbed)
    expect_the_same_when_repeated(case, undisturbed)


def test_no_case_makes_more_changes_than_are_disturbed(case: Case) -> None:
    assert "result" in disturb(case, AtOperation(case.operations, 0, str(case.folder))).answer


@pytest.mark.parametrize(("fraction", "size"), [(0.0, 2000), (0.3, 0), (0.8, 2000)])
def test_disk_full_at_any_stage(case: Case, undisturbed: Files, fraction: float, size: int) -> None:
    ended = disturb(case, FullAt(fraction, size))
    assert ended.answer["error"]["code"] == ErrorCode.DISK_FULL, ended
    assert "space" in ended.answer["error"]["sentence"]
    expect_nothing_half_written(case, undisturbed)
    expect_the_same_when_repeated(case, undisturbed)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.8])
def test_cancelled_at_any_stage(case: Case, undisturbed: Files, fraction: float) -> None:
    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        answered(case.request, Reaching(fraction, cancel))
    assert files(case.folder) == {}
    expect_the_same_when_repeated(case, undisturbed)


def test_two_that_write_the_same_are_kept_apart(case: Case, undisturbed: Files, tmp_path: Path) -> None:
    pause = tmp_path / "pause"
    process, answers = start_in_child(PausedAt(0.0, pause), case.request)
    wait_until(pause.exists)
    for existing in (Existing.REFUSE, Existing.OVERWRITE):
        with pytest.raises(OrthomaskError) as caught:
            answered(replace(case.request, existing=existing))
        assert caught.value.code is ErrorCode.OUTPUT_IN_USE
        assert caught.value.remedy
    pause.unlink()
    assert "result" in answers.recv()
    process.join()
    assert files(case.folder) == undisturbed


def test_chips_that_are_replaced_are_never_lost(tmp_path: Path) -> None:
    case = chips_case(labelled(tmp_path / "data"), tmp_path / "work")
    again = replace(case.request, existing=Existing.OVERWRITE)
    answered(again)
    before = files(case.folder)
    neither, number = 0, 1
    while run_in_child(AtOperation(number, 0, str(case.folder), ("os.rename",)), again).status == -9:
        left = files(case.folder)
        assert Counter(left.values()) >= Counter(before.values())
        neither += not (case.folder / "chips").exists()
        answered(again)
        assert files(case.folder) == before
        number += 1
    assert neither == 1


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/b", "..", "x" * 300, "a\\b", "<b>&amp;'\""])
def test_names_of_classes_lead_nowhere(tmp_path: Path, name: str) -> None:
    classes = (ClassInfo(1, name, "#ff0000"),)
    data = labelled(tmp_path / "data")
    for case in (mask_case(data, tmp_path / "work"), chips_case(data, tmp_path / "work")):
        before = set(tmp_path.rglob("*"))
        answered(replace(case.request, classes=classes))
        target = case.folder / ("mask.tif" if isinstance(case.request, MaskRequest) else "chips")
        sidecar = target.with_name("mask.tif.aux.xml")
        for path in set(tmp_path.rglob("*")) - before:
            assert path in (case.folder, target, sidecar) or target in path.parents


def test_damage_in_the_middle_of_an_image(tmp_path: Path) -> None:
    case = chips_case(labelled(tmp_path / "data"), tmp_path / "work")
    answered(case.request)
    undisturbed = files(case.folder)
    shutil.rmtree(case.folder)
    image = Path(case.request.data[0].image.path)
    whole = image.read_bytes()
    damage(image)
    with pytest.raises(OrthomaskError) as caught:
        answered(case.request)
    assert caught.value.code is ErrorCode.IMAGE_UNREADABLE
    assert image.name in caught.value.sentence
    assert "row" in caught.value.sentence
    assert files(case.folder) == {}
    image.write_bytes(whole)
    expect_the_same_when_repeated(case, undisturbed)


def test_damage_in_the_middle_of_a_raster_of_labels(tmp_path: Path) -> None:
    pixels = chip_data.noise(bands=1) % 3
    image = chip_data.write_image(tmp_path / "image.tif", chip_data.noise())
    labels = chip_data.write_image(
        tmp_path / "labels.tif", pixels, tiled=True, blockxsize=64, blockysize=64, compress="deflate"
    )
    case = Case(
        MaskRequest(Image(str(image)), (Labels(str(labels)),), str(tmp_path / "work/mask.tif")), tmp_path / "work", 0
    )
    answered(case.request)
    undisturbed = files(case.folder)
    shutil.rmtree(case.folder)
    whole = labels.read_bytes()
    damage(labels)
    with pytest.raises(OrthomaskError) as caught:
        answered(case.request)
    assert caught.value.code is ErrorCode.LABELS_UNREADABLE
    assert labels.name in caught.value.sentence
    assert not case.folder.exists() or files(case.folder) == {}
    labels.write_bytes(whole)
    expect_the_same_when_repeated(case, undisturbed)


def test_damage_in_the_middle_of_a_layer_of_labels(tmp_path: Path) -> None:
    case = mask_case(labelled(tmp_path / "data"), tmp_path / "work")
    labels = Path(case.request.labels[0].path)
    content = labels.read_bytes()
    labels.write_bytes(content[: len(content) // 3] + bytes(range(256)) * (2 * len(content) // 768))
    with pytest.raises(OrthomaskError) as caught:
        answered(case.request)
    assert caught.value.code is ErrorCode.LABELS_UNREADABLE
    assert labels.name in caught.value.sentence
    assert not case.folder.exists() or files(case.folder) == {}
