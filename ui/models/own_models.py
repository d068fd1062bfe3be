"""The user's own models: bundles in a folder of the QGIS profile."""

from __future__ import annotations

import enum
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from qgis.core import QgsApplication

from ...protocol import ClassInfo, ErrorCode, ModelSummary, OrthomaskError, from_json
from ..toolkit.settings import MODEL_FILES
from ..toolkit.trash import moved_to_trash
from ..toolkit.words import tr

T = TypeVar("T")

EMBEDDED_DIR = Path(__file__).resolve().parents[2] / "resources" / "models"
SUFFIX = ".safetensors"
CARD = "orthomask"
"""Key of the card in a bundle's header, as in `engine/models/bundle.py`."""


class Origin(enum.Enum):
    """Where a model comes from, which decides which actions it allows."""

    EMBEDDED = "embedded"
    OWN = "own"
    FILE = "file"


def gsd_of(model: str) -> float:
    """The resolution, in metres, of an embedded model by name or of a bundle by path; 0 if there is none."""
    return _from_card(model, lambda card: float(card["gsd_m"]), 0.0)


def bands_of(model: str) -> tuple[str, ...]:
    """The names of the bands that a model reads; none if there is no such model."""
    return _from_card(model, lambda card: tuple(str(band["name"]) for band in card["bands"]), ())


def classes_of(model: str) -> tuple[ClassInfo, ...]:
    """The classes of a model; none if there is no such model."""
    return _from_card(model, lambda card: tuple(from_json(ClassInfo, entry) for entry in card["classes"]), ())


def title_of(model: str) -> str:
    """The title of an embedded model by name, in the user's language, or of a bundle by path; empty if none."""
    title = _from_card(model, lambda card: str(card["title"]), "")
    return tr(title) if title and (EMBEDDED_DIR / f"{model}{SUFFIX}").exists() else title


def base_of(model: str) -> str:
    """What the next learning starts from: the base that this model learnt on top of, or else the model itself.

    Raises:
        OrthomaskError: that base is gone.
    """
    base: dict[str, Any] = _from_card(model, lambda card: dict(card["training"]["learning"]["base"]), {})
    if not base:
        return model
    name, path = str(base.get("name", "")), str(base.get("path", ""))
    if Path(path).is_file():
        return path
    if name in {found.stem for found in EMBEDDED_DIR.glob(f"*{SUFFIX}")}:
        return name
    sentence = tr("“{}”, on which “{}” was built, no longer exists.").format(path, title_of(model))
    raise OrthomaskError(
        ErrorCode.BUNDLE_UNREADABLE, sentence, tr("Put it back there, or review a run of another model.")
    )


def _from_card(model: str, taken: Callable[[dict[str, Any]], T], default: T) -> T:
    """Something of the card in a bundle's header, so the engine need not run; the default if it cannot be read."""
    embedded = EMBEDDED_DIR / f"{model}{SUFFIX}"
    try:
        with open(embedded if embedded.exists() else model, "rb") as file:
            head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return taken(json.loads(head["__metadata__"][CARD]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError, OrthomaskError):
        return default


def choices() -> dict[str, str]:
    """All models that the panel lists, without asking the engine: its name in scripts, and what the engine opens.

    Embedded and own models go by their files' names; files elsewhere, and an own model named like an embedded one, by
    their paths.
    """
    embedded = sorted(path.stem for path in EMBEDDED_DIR.glob(f"*{SUFFIX}") if not path.name.startswith("."))
    found = {name: name for name in embedded}
    for path in (*sorted(own_folder().glob(f"*{SUFFIX}")), *map(Path, remembered_files())):
        is_named = path.parent == own_folder() and path.stem not in embedded
        if gsd_of(str(path)):  # else the engine cannot read it, either
            found[path.stem if is_named else str(path)] = str(path)
    return found


def own_folder() -> Path:
    """The folder of own models; it may not exist yet."""
    return Path(QgsApplication.qgisSettingsDirPath()) / "orthomask" / "models"


def origin_of(path: str) -> Origin:
    """Whether the bundle came with the plugin, is an own one, or is elsewhere."""
    folder = Path(path).parent.resolve()
    if folder == EMBEDDED_DIR:
        return Origin.EMBEDDED
    return Origin.OWN if folder == own_folder().resolve() else Origin.FILE


def titles_of(models: Sequence[ModelSummary]) -> list[str]:
    """The models' names in a list; those with the same title also show their file names."""
    count = Counter(model.title for model in models)
    names = (tr("{} ({})").format(model.title, Path(model.path).stem) for model in models)
    return [model.title if count[model.title] == 1 else name for model, name in zip(models, names)]


def remembered_files() -> list[str]:
    """Paths of models elsewhere that were added and still exist."""
    paths = json.loads(MODEL_FILES.get() or "[]")
    return [path for path in paths if Path(path).is_file()]


def remember_files(paths: Sequence[str]) -> None:
    """Remember only these for the next start of QGIS."""
    MODEL_FILES.set(json.dumps(list(paths)))


def free_path(name: str) -> Path:
    """An unused path among the own models, named after `name`."""
    stem = re.sub(r"[^\w.-]+", "_", name).strip("._") or "model"
    numbers = iter(range(2, 10_000))
    path = own_folder() / f"{stem}{SUFFIX}"
    while path.exists():
        path = own_folder() / f"{stem}-{next(numbers)}{SUFFIX}"
    return path


def make_folder() -> None:
    """Make the folder of own models if it is missing.

    Raises:
        OrthomaskError: it cannot be made.
    """
    try:
        own_folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(own_folder(), error) from error


def adopt(bundle: Path) -> Path:
    """Copy a bundle to the own models; a failure leaves no partial copy.

    Raises:
        OrthomaskError: it cannot be read, or there is no space.
    """
    make_folder()
    path = free_path(bundle.stem)
    partial = path.with_name(path.name + ".partial")
    try:
        shutil.copyfile(bundle, partial)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error
    return path


def discard(path: Path) -> None:
    """Move a bundle to the trash, or delete it if there is no trash.

    Raises:
        OrthomaskError: it is open in another program, or may not be deleted.
    """
    if moved_to_trash(path):
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OrthomaskError:
    sentence = tr("“{}” cannot be written or deleted.").format(path)
    remedy = tr("Check that there is free space, and that you can write to its folder.")
    return OrthomaskError(ErrorCode.OUTPUT_UNWRITABLE, sentence, remedy, str(error))
