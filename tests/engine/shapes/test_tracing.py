"""What is held while objects are traced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.io import DatasetReader
from scipy import ndimage

from orthomask.engine.progress import Progress
from orthomask.engine.shapes import tracing
from orthomask.engine.shapes.section import Section

TILE_PX = 32


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "TILE_PX", TILE_PX)
    monkeypatch.setattr(tracing, "BATCH_CORNERS", 1)


def opened(path: Path, band: np.ndarray) -> DatasetReader:
    height, width = band.shape
    with rasterio.open(path, "w", driver="GTiff", count=1, height=height, width=width, dtype="uint8") as dataset:
        dataset.write(band[None])
    return rasterio.open(path)


class Reads(Progress):
    """How many tiles have been read."""

    count = 0

    def report(self, fraction: float, message: str) -> None:
        self.count += 1


@pytest.mark.usefixtures("small_tiles")
def test_what_is_held_grows_with_the_width_alone(tmp_path: Path) -> None:
    held = {}
    for tall, wide in ((4, 4), (16, 4), (4, 16)):
        rows, columns = np.mgrid[0 : tall * TILE_PX, 0 : wide * TILE_PX] + 2
        band = np.where((rows % 8 < 5) & (columns % 8 < 5), 254, 0).astype(np.uint8)  # some across edges of tiles
        reads, whole, most_open = Reads(), 0, 0
        with opened(tmp_path / "p.tif", band) as dataset:
            for objects, pending in tracing.traced(Section(dataset), 0.5, 1, reads):
                assert whole or reads.count <= tracing.TILES_AHEAD + 1  # the first ones come after the first tile
                whole, most_open = whole + len(objects.values), max(most_open, len(pending))
        assert whole == ndimage.label(band)[1]
        held[tall, wide] = most_open
    assert held[16, 4] == held[4, 4]
    assert held[4, 16] < 4.5 * held[4, 4]


@pytest.mark.usefixtures("small_tiles")
def test_an_object_that_is_everywhere_is_one(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:202, 0:152]
    band = np.where((rows % 10 < 2) | (columns % 10 < 2), 100, 0).astype(np.uint8)  # a net of 300 holes
    with opened(tmp_path / "p.tif", band) as dataset:
        (objects,) = (
            objects for objects, _ in tracing.traced(Section(dataset), 0.3, 1, Progress()) if len(objects.values)
        )
    assert objects.pixels.tolist() == [np.count_nonzero(band)]
    assert objects.probabilities.tolist() == [band.sum()]
    (polygon,) = objects.polygons
    assert shapely.is_valid(polygon)
    assert len(polygon.interiors) == 300
    assert polygon.area == np.count_nonzero(band)
    assert shapely.get_num_coordinates(polygon) == 5 * 301
