"""Stand-ins for North Rhine-Westphalia's servers: the tutorial's own picture and buildings, as the state publishes its.

An aerial photograph as JPEG 2000 with four bands of 0.1 m in EPSG:25832, of which the fourth is no infrared but green
again; and buildings by OGC API Features, in longitude and latitude, as multipolygons with their function.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from collect_servers import running
from shapely.geometry import mapping

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial"
CRS = "EPSG:25832"
PLACE = Affine(0.1, 0, 357_000, 0, -0.1, 5_646_000)
PHOTOGRAPHS, FEATURES = "https://www.opengeodata.nrw.de", "https://ogc-api.nrw.de"
NAME = "dop10rgbi_32_357_5645_1_nw_2025.jp2"
LOSSY = {"QUALITY": "10", "REVERSIBLE": "NO", "BLOCKXSIZE": "1024", "BLOCKYSIZE": "1024"}


@contextmanager
def nrw(folder: Path) -> Iterator[dict[str, str]]:
    """Addresses to use instead of the real ones."""
    with rasterio.open(TUTORIAL / "kampala.tif") as dataset:
        inverse = ~dataset.transform
        _write_photograph(folder / NAME, dataset.read())
    file = folder / "buildings.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": _buildings(PLACE @ inverse)}))
    with (
        running("engine/locked_server.py", str(folder / NAME), "") as photographs,
        running("training/features_server.py", str(file), "lika/v1", "gebaeude_bauwerk") as features,
    ):
        yield {PHOTOGRAPHS: f"http://127.0.0.1:{photographs}", FEATURES: f"http://127.0.0.1:{features}"}


def _write_photograph(path: Path, pixels: np.ndarray) -> None:
    bands, height, width = pixels.shape
    with rasterio.open(
        path.with_suffix(".tif"), "w", driver="GTiff", count=bands + 1, height=height, width=width, dtype="uint8",
        crs=CRS, transform=PLACE, photometric="RGB", alpha="unspecified",
    ) as dataset:  # fmt: skip
        dataset.write(np.concatenate([pixels, pixels[1:2]]))
    rasterio.shutil.copy(path.with_suffix(".tif"), path, driver="JP2OpenJPEG", **LOSSY)


def _buildings(moved: Affine) -> list[dict[str, object]]:
    """The buildings, moved; the larger ones have a courtyard."""
    _, _, drawn, _ = pyogrio.raw.read(TUTORIAL / "kampala-buildings.gpkg", columns=[])
    placed = shapely.transform(shapely.from_wkb(drawn), lambda xy: np.stack(moved @ tuple(xy.T), axis=1))
    placed = shapely.buffer(placed, 0)
    large = shapely.area(placed) > 300
    placed[large] = shapely.difference(placed[large], shapely.buffer(shapely.centroid(placed[large]), 3))
    degrees = pyproj.Transformer.from_crs(CRS, "OGC:CRS84", always_xy=True)
    several = [shapely.MultiPolygon(list(shapely.get_parts(polygon))) for polygon in placed]
    return [
        {"type": "Feature", "id": number, "properties": {"funktion": "Wohngebäude"}, "geometry": mapping(polygon)}
        for number, polygon in enumerate(shapely.transform(several, degrees.transform, interleaved=False))
    ]
