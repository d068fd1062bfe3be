"""Read OpenStreetMap files with GDAL, which assembles multipolygons: the objects that tag rules give a class."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import shapely

from ...engine.shapes.vector_files import NOT_READ
from ...protocol import ErrorCode, OrthomaskError, TagRule
from ...protocol.words import tr
from .features import Features

LAYER = "multipolygons"


def read(path: Path, rules: Sequence[TagRule], boxes: np.ndarray) -> Features:
    """Objects of an OpenStreetMap file that meet a rule and touch boxes `(N, 4)`, in WGS 84.

    Raises:
        OrthomaskError: the file is missing, damaged or something else.
    """
    keys = sorted({rule.key for rule in rules})
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "osm.ini"
        config.write_text(_config(keys), encoding="utf-8")
        indexing = "YES" if path.suffix == ".pbf" else "NO"  # fast, but only for ids as they are on the server
        before = pyogrio.get_gdal_config_option("CPL_TMPDIR")
        pyogrio.set_gdal_config_options({"CPL_TMPDIR": folder})  # not where the user happens to be
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # on each ring that is not closed; these are left out
                meta, _, wkb, data = pyogrio.raw.read(
                    path, layer=LAYER, mask=shapely.multipolygons(shapely.box(*boxes.T)).buffer(0),
                    where=" OR ".join(f'"{key}" IS NOT NULL' for key in keys),
                    CONFIG_FILE=str(config), USE_CUSTOM_INDEXING=indexing,
                )  # fmt: skip
        except NOT_READ as error:
            raise _unreadable(path, error) from error
        finally:
            pyogrio.set_gdal_config_options({"CPL_TMPDIR": before})
    columns = dict(zip(meta["fields"], data))
    tags = [{key: columns[key][n] for key in keys if columns[key][n]} for n in range(len(wkb))]
    found = [class_of(of_one, rules) for of_one in tags]
    ids = [_identity(*pair) for pair in zip(columns["osm_id"], columns["osm_way_id"])]
    drawn = shapely.from_wkb(wkb, on_invalid="fix")
    every = Features(drawn, [name or "" for name in found], ids, [json.dumps(of, ensure_ascii=False) for of in tags])
    return every.taken(np.flatnonzero([name is not None for name in found]))


def class_of(tags: dict[str, str], rules: Sequence[TagRule]) -> str | None:
    """The class of an object with these tags: that of the first rule it meets; empty to cut it out, None for none."""
    for rule in rules:
        value = tags.get(rule.key)
        if value and (value in rule.values if rule.values else value != "no"):
            return rule.class_name
    return None


def _config(keys: Sequence[str]) -> str:
    """GDAL's description of the layers: only the keys asked for, each an attribute of its own name."""
    return (
        f"closed_ways_are_polygons={','.join(keys)}\nattribute_name_laundering=no\n"
        f"[{LAYER}]\nosm_id=yes\nother_tags=no\nattributes={','.join(keys)}\n"
    )


def _identity(relation: str | None, way: str | None) -> str:
    return f"way/{way}" if way else f"relation/{relation}"


def _unreadable(path: Path, error: Exception) -> OrthomaskError:
    missing = not os.path.exists(path)
    return OrthomaskError(
        ErrorCode.LABELS_UNREADABLE,
        (tr("“{}” does not exist.") if missing else tr("“{}” is not a complete OpenStreetMap file.")).format(path.name),
        tr("Check the path.") if missing else tr("Download the extract again, as .osm or .osm.pbf."),
        str(error),
    )
