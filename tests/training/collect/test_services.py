"""Layers and images that GDAL reads from servers: each in a process of its own, since GDAL holds Python's lock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import rasterio.warp
import shapely
from collect_servers import FakeClock, running

from orthomask.engine.progress import Progress
from orthomask.protocol import (
    Areas,
    CollectRequest,
    ErrorCode,
    Imagery,
    OrthomaskError,
    VectorLabels,
)
from orthomask.training.collect.collect import collected

X, Y, SIDE = 32.5, 0.35, 5e-5
"""Degrees."""


@pytest.fixture
def areas(tmp_path: Path) -> Areas:
    path = tmp_path / "areas.gpkg"
    squares = [shapely.box(X - 1e-5, Y, X + 5.2e-4, Y + 1e-4), shapely.box(X + 7e-4, Y, X + 8.8e-4, Y + 1e-4)]
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(squares, object)), [], [], layer="areas", driver="GPKG",
        geometry_type="Polygon", crs="EPSG:4326",
    )  # fmt: skip
    return Areas(str(path))


def refusal(request: CollectRequest) -> OrthomaskError:
    with pytest.raises(OrthomaskError) as caught:
        collected(request, Progress(), FakeClock())
    return caught.value


@pytest.fixture(params=[int, lambda number: f"DE{number}AL{chr(97 + number)}"], ids=["numbers", "texts"])
def parcels(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A file of nine parcels, eight of them in the areas; their ids are numbers or texts."""
    features = [
        {
            "type": "Feature", "id": request.param(number), "properties": {"use": "barn" if number % 2 else "house"},
            "geometry": shapely.geometry.mapping(shapely.box(x, Y, x + SIDE, Y + SIDE)),
        }
        for number, x in enumerate(X + 1e-4 * np.arange(9))
    ]  # fmt: skip
    file = tmp_path / "parcels.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(file)


def test_a_feature_service_is_asked_around_each_area_page_by_page(areas: Areas, parcels: str, tmp_path: Path) -> None:
    with running("training/features_server.py", parcels, "s3cret") as port:
        address = f"OAPIF:http://127.0.0.1:{port}/{{key}}"
        source = VectorLabels(address, class_field="use", access={"key": "s3cret"}, licence="dl-de/by-2-0")
        result = collected(CollectRequest(str(tmp_path / "out"), areas, vectors=(source,)), Progress(), FakeClock())
        assert result.labels == {"barn": 4, "house": 4}
        assert b"s3cret" not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
        wrong = VectorLabels(address, access={"key": "guessed"})
        error = refusal(CollectRequest(str(tmp_path / "b"), areas, vectors=(wrong,)))
        assert (error.code, error.sentence) == (ErrorCode.SERVER, "127.0.0.1 refused access.")
        assert "guessed" not in json.dumps(error.to_json())
        missing = VectorLabels(address, "roads", access={"key": "s3cret"})
        assert (
            "Choose one of: parcels." in refusal(CollectRequest(str(tmp_path / "c"), areas, vectors=(missing,))).remedy
        )


def test_wfs_counts_each_object_once_however_the_service_numbers_it(areas: Areas, parcels: str, tmp_path: Path) -> None:
    near = Areas(str(tmp_path / "near.gpkg"))
    boxes = [shapely.box(X, Y, X + 4.2e-4, Y + 1e-4), shapely.box(X + 3.8e-4, Y, X + 7e-4, Y + 1e-4)]
    pyogrio.raw.write(
        near.path, shapely.to_wkb(np.array(boxes, object)), [], [], layer="areas", driver="GPKG",
        geometry_type="Polygon", crs="EPSG:4326",
    )  # fmt: skip
    with running("training/map_services.py", parcels) as port:
        source = VectorLabels(f"WFS:http://127.0.0.1:{port}/wfs", class_field="use", licence="dl-de/zero-2-0")
        apart = collected(CollectRequest(str(tmp_path / "a"), areas, vectors=(source,)), Progress(), FakeClock())
        beside = collected(CollectRequest(str(tmp_path / "b"), near, vectors=(source,)), Progress(), FakeClock())
    assert apart.labels == {"barn": 4, "house": 4}
    assert beside.labels == {"barn": 3, "house": 5}  # the one in both areas has a part in each


@pytest.mark.parametrize("kind", ["WMS", "WMTS"])
def test_pictures_of_map_services_lie_where_they_should(areas: Areas, parcels: str, kind: str, tmp_path: Path) -> None:
    world = ",".join(f"{sign}20037508.342789244" for sign in ("-", "-", "", ""))
    asked = f"SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=photo&STYLES=&SRS=EPSG:3857&FORMAT=image/png&BBOX={world}"
    with running("training/map_services.py", parcels) as port:
        host = f"http://127.0.0.1:{port}"
        urls = {"WMS": f"WMS:{host}/wms?{asked}", "WMTS": f"WMTS:{host}/wmts,layer=photo,tilematrixset=mercator"}
        source = Imagery(urls[kind], "CC0", gsds_m=(0.3,))
        result = collected(CollectRequest(str(tmp_path / "out"), areas, imagery=source), Progress(), FakeClock())
    assert len(result.images) == 2
    for path in result.images:
        with rasterio.open(path) as image:
            middle = image.width // 2, image.height // 2
            lon, lat = rasterio.warp.transform(image.crs, "EPSG:4326", *([value] for value in image.xy(*middle[::-1])))
            found = image.read()[:, middle[1], middle[0]]
        assert found == pytest.approx([(lon[0] - X) * 1e5, (lat[0] - Y) * 1e5, 7], abs=1.5)


def test_a_raster_on_a_server_with_a_password(areas: Areas, tmp_path: Path) -> None:
    path = tmp_path / "ortho.tif"
    transform = rasterio.transform.from_origin(X - 1e-4, Y + 2e-4, 2e-6, 2e-6)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=120, width=500, dtype="uint8", crs="EPSG:4326", transform=transform,
        tiled=True, blockxsize=64, blockysize=64,
    ) as dataset:  # fmt: skip
        dataset.write(np.full((3, 120, 500), 90, np.uint8))
    with running("engine/locked_server.py", str(path), "me:hush") as port:
        url = f"http://127.0.0.1:{port}/ortho.tif"
        strange = CollectRequest(str(tmp_path / "a"), areas, imagery=Imagery(url, "CC0"))
        assert refusal(strange).sentence == "127.0.0.1 refused access."
        source = Imagery(url, "CC0", gsds_m=(1.0, 0.1), access={"GDAL_HTTP_USERPWD": "me:hush"})
        asked, clock = CollectRequest(str(tmp_path / "out"), areas, imagery=source), FakeClock()
        result = collected(asked, Progress(), clock)
        assert clock.slept == [0.25] * 4
        assert len(result.images) == 4
        assert "keep that" in result.warnings[0]
        with rasterio.open(result.images[0]) as coarse, rasterio.open(result.images[2]) as own:
            assert (coarse.read() == 90).all()
            assert own.width / coarse.width == pytest.approx(1 / 0.2224, rel=0.05)
            assert own.crs == coarse.crs == "EPSG:4326"
    gone = refusal(CollectRequest(str(tmp_path / "b"), areas, imagery=source))
    assert gone.code is ErrorCode.NETWORK
