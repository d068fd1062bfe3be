"""`manifest.json`: the chips of an export and where each comes from."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from ...protocol import ChipsRequest, ClassInfo, ErrorCode, LabelledImage, OrthomaskError, Split, from_json, to_json
from ...protocol.words import tr

MANIFEST = "manifest.json"
LAYOUT = 1
"""Version of the manifest; a reader refuses a later one."""
LONGEST_STEM = 80


@dataclass(frozen=True)
class Chip:
    """A chip of an export.

    Attributes:
        image, mask: its files, relative to the manifest; the same one for NPZ and HDF5.
        index: its position in its HDF5 file; 0 in other formats.
        source: path of the image it was cut from.
        crs: `EPSG:n`, or WKT if it has no code.
        transform: pixel to CRS coordinates, as the six numbers a, b, c, d, e, f of `x = a column + b row + c` and
            `y = d column + e row + f`.
        rotation: degrees clockwise from the unrotated grid.
        pixels: number of pixels of each value of its mask.
        image_sha256, mask_sha256: hashes of the arrays `(bands, H, W)` and `(H, W)` as stored, little-endian.
    """

    name: str
    split: Split
    image: str
    mask: str
    index: int
    source: str
    place: str
    crs: str
    transform: tuple[float, ...]
    gsd_m: float
    rotation: float
    pixels: dict[str, int]
    image_sha256: str
    mask_sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything about an export of chips.

    Attributes:
        layout: version of this file.
        version: of Orthomask.
        nodata: value of pixels without image, as text; empty if the images had none.
        counts: chips by split.
        left_out: chips not written, by reason.
    """

    layout: int
    version: str
    request: ChipsRequest
    classes: tuple[ClassInfo, ...]
    bands: tuple[str, ...]
    dtype: str
    nodata: str
    counts: dict[str, int]
    left_out: dict[str, int]
    warnings: tuple[str, ...]
    chips: tuple[Chip, ...]

    @property
    def nodata_value(self) -> float | None:
        """The value of pixels without image; None if the images had none."""
        return float(self.nodata) if self.nodata else None


def nodata_text(value: float | None) -> str:
    """A nodata value as text, since JSON has no NaN."""
    return "" if value is None else "nan" if math.isnan(value) else repr(float(value))


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON."""
    return json.dumps(to_json(manifest), ensure_ascii=False, indent=1).encode()


def load_manifest(folder: Path) -> Manifest:
    """The manifest in a folder of chips.

    Raises:
        OrthomaskError: there is none, or this version cannot read it.
    """
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        manifest = from_json(Manifest, content) if content["layout"] <= LAYOUT else None
    except (OSError, ValueError, LookupError, TypeError, OrthomaskError) as error:
        raise OrthomaskError(
            ErrorCode.TRAINING_DATA,
            tr("“{}” contains no Orthomask chips.").format(folder),
            tr("Choose the export folder that contains {}.").format(MANIFEST),
            str(error),
        ) from error
    if manifest is None:
        raise OrthomaskError(
            ErrorCode.TRAINING_DATA,
            tr("The chips in “{}” were written by a newer version of Orthomask.").format(folder),
            tr("Update Orthomask, or export them again."),
        )
    return manifest


def stem_of(path: str) -> str:
    """A file's stem, reduced to characters safe in file names."""
    return re.sub(r"[^\w-]+", "_", Path(path).stem)[:LONGEST_STEM]


def image_place(data: LabelledImage) -> str:
    """Where an image is, for tables of scores."""
    return data.place or stem_of(data.image.path)
