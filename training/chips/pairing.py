"""Match masks to pictures by their names, ignoring one word that says what a file is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ...protocol import ErrorCode, OrthomaskError
from ...protocol.words import tr
from .formats import ARRAYS

PICTURE_WORDS = (
    "image", "images", "img", "imgs", "picture", "photo", "rgb", "sat", "satellite", "ortho", "tile", "patch", "chip",
)  # fmt: skip
MASK_WORDS = (
    "mask", "masks", "msk", "label", "labels", "lbl", "gt", "groundtruth", "ground_truth", "truth", "seg",
    "segmentation", "annotation", "annotations", "target", "targets", "class", "classes",
    "boundary", "boundaries", "border", "borders", "edge", "edges", "line", "lines",
)  # fmt: skip
"""Prefixes and suffixes of file names in known data sets: pictures, and masks or lines."""


def partners(pictures: Sequence[Path], others: Sequence[Path], folder: str, *, whole: bool) -> list[Path]:
    """For each picture the file with its name, else with its name but for one prefix or suffix word on either.

    `image_7` and `mask_7` match, and so do `a_1` and `a_1-label`; `tyrol_1` and `vienna_1` do not.

    Args:
        others: masks, or lines.
        folder: of the others, for messages.
        whole: these are all the pictures, so no mask may be left over.

    Raises:
        OrthomaskError: a picture has no partner or several, two share one, or one is left over.
    """
    stems, cores = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
    for other in others:
        stems[other.stem].append(other)
        for core in _cores(other, MASK_WORDS):
            cores[core].append(other)
    found = []
    for picture in pictures:
        similar = [other for core in _cores(picture, PICTURE_WORDS) for other in cores[core]]
        named = stems[picture.stem] if picture.suffix.lower() in ARRAYS or picture not in others else []
        found.append(named or [other for other in dict.fromkeys(similar) if other != picture])
    _refuse_doubtful(pictures, found, folder)
    chosen = [several[0] for several in found]
    left = sorted(set(others) - set(chosen))
    if whole and left:
        raise _refusal(
            tr("The mask “{}” has no image.").format(left[0].name),
            tr("Give it the name of its image, or remove it."),
            f"{len(left)} without a picture: {', '.join(path.name for path in left)}",
        )
    return chosen


def is_named_mask(file: Path) -> bool:
    """Whether a file is a mask by its name."""
    return len(_cores(file, MASK_WORDS)) > 1


def _refuse_doubtful(pictures: Sequence[Path], found: Sequence[Sequence[Path]], folder: str) -> None:
    """Raise unless each picture has exactly one partner of its own."""
    missing = [picture.name for picture, several in zip(pictures, found) if not several]
    if missing:
        raise _refusal(
            tr("“{}” has no mask in “{}”.").format(missing[0], folder),
            tr("Give each mask the name of its image, or remove the image."),
            f"{len(missing)} without a mask: {', '.join(missing)}",
        )
    taken: dict[Path, Path] = {}
    for picture, several in zip(pictures, found):
        if len(several) > 1:
            raise _refusal(
                tr("“{}” could have the mask “{}” or “{}”.").format(picture.name, several[0].name, several[1].name),
                tr("Keep one mask for each image."),
            )
        if several[0] in taken and picture.suffix.lower() not in ARRAYS:
            raise _refusal(
                tr("“{}” and “{}” could both have the mask “{}”.").format(
                    taken[several[0]].name, picture.name, several[0].name
                ),
                tr("Give each mask the name of its image."),
            )
        taken[several[0]] = picture


def _cores(file: Path, words: Sequence[str]) -> list[str]:
    """The stem in lower case, and the stem without one of the words as prefix or suffix."""
    stem, word = file.stem.casefold(), "|".join(words)
    before = re.fullmatch(rf"(?:{word})(?:[_\-. ]+|(?=\d))(.+)", stem)
    behind = re.fullmatch(rf"(.+?)(?:[_\-. ]+|(?<=\d))(?:{word})", stem)
    return list(dict.fromkeys([stem, *(match[1] for match in (before, behind) if match)]))


def _refusal(sentence: str, remedy: str, details: str = "") -> OrthomaskError:
    return OrthomaskError(ErrorCode.LABELS_UNREADABLE, sentence, remedy, details)
