"""Which bands a model reads: the names that imagery comes with, against choices written down by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from conftest import UTM, scene
from orthomask.engine import check, predict
from orthomask.engine.images import bands
from orthomask.engine.images.grid import Window
from orthomask.engine.images.raster import open_image, open_reader
from orthomask.engine.progress import Progress
from orthomask.protocol import CheckRequest, ErrorCode, Image, Level, OrthomaskError, PredictRequest

RGB = ["red", "green", "blue"]
GREY = {"photometric": "MINISBLACK"}
NAMES = {
    "red": ["red", "R", "rot", "Rouge", "rojo", "红", "红光波段", "B04", "Band 4 - Red", "B4 (665 nm)", "red_mean"],
    "green": ["green", "G", "grün", "Grün", "vert", "Verde", "绿", "绿色", "B03", "Band 3 - Green", "560 nm"],
    "blue": ["blue", "B", "blau", "bleu", "azul", "蓝", "蓝色波段", "B02", "Blue reflectance", "0.45 - 0.52 µm"],
    "nir": [
        "nir", "NIR", "Near Infrared", "near_infrared", "nahes Infrarot", "proche infrarouge", "infrarrojo cercano",
        "近红外", "B08", "NIR1", "infrared",
    ],
}  # fmt: skip
OTHERS = ["B8A", "B05", "B11", "green_i", "coastal_blue", "RedEdge", "NDVI", "rouge/vert", "thermal infrared"]


@pytest.fixture
def described(make_raster: Callable[..., Path]) -> Callable[..., Path]:
    """A raster of bands of these descriptions, all 10 times their number; tags of each band."""

    def make(
        *names: str, tags: Sequence[dict[str, str]] = (), about: dict[str, str] | None = None, **options: object
    ) -> Path:
        pixels = np.broadcast_to(10 * np.arange(1, len(names) + 1, dtype=np.uint8)[:, None, None], (len(names), 8, 9))
        path = make_raster(pixels, **options)
        with rasterio.open(path, "r+") as dataset:
            for number, name in enumerate(names, 1):
                if name:
                    dataset.set_band_description(number, name)
            for number, each in enumerate(tags, 1):
                dataset.update_tags(number, **each)
            dataset.update_tags(**(about or {}))
        return path

    return make


def chosen(path: Path, wanted: Sequence[str] = RGB, asked: tuple[str, ...] = ()) -> bands.Choice:
    with open_image(Image(str(path), bands=asked)) as source:
        return source.choose(wanted)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (("B08", "B04", "B03", "B02"), (2, 3, 4)),
        (("B02", "B03", "B04", "B08"), (3, 2, 1)),
        (("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"), (4, 3, 2)),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), (4, 3, 2)),
        (("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"), (6, 4, 2)),
        (("blue", "green", "red", "nir"), (3, 2, 1)),
        (("Red", "Green", "Blue", "Near Infrared"), (1, 2, 3)),
        (("N", "R", "G", "B"), (2, 3, 4)),
        (("Blau", "Grün", "Rot"), (3, 2, 1)),
        (("bleu", "vert", "rouge"), (3, 2, 1)),
        (("azul", "verde", "rojo"), (3, 2, 1)),
        (("蓝", "绿", "红"), (3, 2, 1)),
        (("B08-min", "B04-min", "B03-min", "B02-min"), (2, 3, 4)),
        (("490 nm", "560 nm", "665 nm", "842 nm"), (3, 2, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("options", [GREY, {}], ids=["no colours", "GDAL's own colours"])
def test_descriptions_say_which_band_is_which_whatever_colours_say(
    described: Callable[..., Path], names: tuple[str, ...], numbers: tuple[int, ...], options: dict[str, str]
) -> None:
    assert chosen(described(*names, **options)) == (numbers, "")


@pytest.mark.parametrize(
    "tags",
    [
        [{"WAVELENGTH": value, "WAVELENGTH_UNIT": "nm"} for value in ("490", "531", "565", "665")],
        [{"wavelength": value, "wavelength_units": "Micrometers"} for value in ("0.49", "0.531", "0.565", "0.665")],
        [{"CENTRAL_WAVELENGTH_UM": value} for value in ("0.49", "0.531", "0.565", "0.665")],
        [{"DESCRIPTION": value} for value in ("blue", "green_i", "green", "red")],
    ],
)
def test_metadata_of_bands_says_it_too(described: Callable[..., Path], tags: list[dict[str, str]]) -> None:
    assert chosen(described("", "", "", "", tags=tags)) == ((4, 3, 1), "")


def test_wavelengths_are_read_from_gdals_own_domain(described: Callable[..., Path]) -> None:
    path = described("", "", "", **GREY)
    with rasterio.open(path, "r+") as dataset:
        for number, value in enumerate(("0.49", "0.56", "0.665"), 1):
            dataset.update_tags(number, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=value)
    assert chosen(path) == ((3, 2, 1), "")


@pytest.mark.parametrize(
    ("names", "about", "numbers", "assumed"),
    [
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4"), {}, (4, 3, 2), "“SR_B4” is red"),
        (("B4", "B3", "B2"), {}, (1, 2, 3), "“B4” is red"),
        (("SR_B4", "SR_B3", "SR_B2", "SR_B1"), {"SPACECRAFT_ID": "LANDSAT_5"}, (2, 3, 4), ""),
        (("SR_B4", "SR_B3", "SR_B2", "SR_B1"), {"SPACECRAFT_ID": "LANDSAT_9"}, (1, 2, 3), ""),
        (("B4", "B3", "B2"), {"PRODUCT": "S2A_MSIL2A_20200101"}, (1, 2, 3), ""),
    ],
)
def test_numbers_of_landsat_are_taken_for_granted_only_where_the_satellite_is_known(
    described: Callable[..., Path],
    names: tuple[str, ...],
    about: dict[str, str],
    numbers: tuple[int, ...],
    assumed: str,
) -> None:
    choice = chosen(described(*names, about=about, **GREY))
    assert choice.numbers == numbers
    assert assumed in choice.assumption
    assert bool(assumed) == bool(choice.assumption)


def lights(image: Image, model: Path) -> dict[str, tuple[Level, str]]:
    result = check.run(CheckRequest(image, str(model)), Progress())
    return {light.name: (light.level, light.reason) for light in result.lights}


def test_the_light_is_green_only_where_the_bands_are_known(described: Callable[..., Path], tiny: Path) -> None:
    named = described("B08", "B04", "B03", "B02")
    level, reason = lights(Image(str(named)), tiny)["bands"]
    assert level is Level.GREEN
    assert "red from band 2 (B04)" in reason
    guessed = described("", "", "", **GREY)
    level, reason = lights(Image(str(guessed)), tiny)["bands"]
    assert level is Level.AMBER
    assert "red from band 1, green from band 2, blue from band 3" in reason
    assert "choose the bands" in reason
    assert lights(Image(str(guessed), bands=("3", "2", "1")), tiny)["bands"][0] is Level.GREEN
    ambiguous = described("SR_B4", "SR_B3", "SR_B2")
    assert lights(Image(str(ambiguous)), tiny)["bands"][0] is Level.AMBER


def test_a_run_says_what_it_assumed(described: Callable[..., Path], tiny: Path, tmp_path: Path) -> None:
    path = described("", "", "", **GREY)
    result = predict.run(PredictRequest(Image(str(path)), str(tiny), str(tmp_path / "run")), Progress())
    assert "assumed by their order" in result.warnings[0]


def test_a_model_is_never_fed_what_is_called_otherwise(described: Callable[..., Path], tiny: Path) -> None:
    path = described("B08-min", "B04-min", "B03-min")
    with pytest.raises(OrthomaskError, match=r"B08-min \(nir\), B04-min \(red\)") as caught:
        chosen(path)
    assert caught.value.code is ErrorCode.IMAGE_BANDS
    assert lights(Image(str(path)), tiny)["bands"][0] is Level.RED
    assert chosen(path, asked=("1", "2", "3")) == ((1, 2, 3), "")


def test_bands_can_be_asked_for_by_what_they_mean(described: Callable[..., Path]) -> None:
    path = described("B08", "B04", "B03", "B02")
    assert chosen(path, asked=("nir", "Red", "3")).numbers == (1, 2, 3)
    with pytest.raises(OrthomaskError, match="were requested"):
        chosen(path, asked=("swir1", "red", "green"))


def test_a_band_without_name_is_the_one_that_is_missing(described: Callable[..., Path]) -> None:
    choice = chosen(described("", "blue", "green", "red", **GREY), ["red", "green", "blue", "nir"])
    assert choice.numbers == (4, 3, 2, 1)
    assert "nir from band 1" in choice.assumption


def test_a_model_of_numbers_asks_for_nothing_else(described: Callable[..., Path]) -> None:
    assert chosen(described("", "", "", **GREY), ["1", "2", "3"]) == ((1, 2, 3), "")


def test_bands_of_different_types_are_refused_in_a_sentence(
    make_raster: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    whole, parts = make_raster((20, 30)), []
    for number, kind in enumerate(("Byte", "Byte", "Float32", "UInt16"), 1):
        source = f"<SourceFilename>{whole}</SourceFilename><SourceBand>{min(number, 3)}</SourceBand>"
        parts.append(
            f"<VRTRasterBand dataType='{kind}' band='{number}'><SimpleSource>{source}</SimpleSource></VRTRasterBand>"
        )
    path = tmp_path / "mixed.vrt"
    path.write_text(
        f"<VRTDataset rasterXSize='30' rasterYSize='20'><SRS>{UTM}</SRS>"
        f"<GeoTransform>500000, 0.3, 0, 3000000, 0, -0.3</GeoTransform>{''.join(parts)}</VRTDataset>"
    )
    assert lights(Image(str(path)), tiny)["pixel type"][0] is Level.RED
    request = PredictRequest(Image(str(path)), str(tiny), str(tmp_path / "run"))
    with pytest.raises(OrthomaskError, match="different pixel types: float32 and uint8"):
        predict.run(request, Progress())
    assert lights(Image(str(path), bands=("1", "2", "1")), tiny)["pixel type"][0] is Level.GREEN


@pytest.mark.parametrize("gsd_m", [0.3, 0.6])
def test_near_infrared_that_gdal_flags_as_transparency_is_a_band(
    make_raster: Callable[..., Path], gsd_m: float
) -> None:
    pixels = scene(40, 60, bands=4)
    pixels[3, :, :30] = 0  # water
    path = make_raster(pixels)
    with rasterio.open(path, "r+") as dataset:
        assert dataset.colorinterp[3] is ColorInterp.alpha, "GDAL does so for each fourth band of bytes"
        dataset.descriptions = ("red", "green", "blue", "nir")
    with open_image(Image(str(path))) as source:
        assert source.pictured() == [*RGB, "nir"]
        lattice = source.lattice(gsd_m, 512, 0)
        with open_reader(source, lattice, source.bands(["nir", "red"])) as reader:
            found, valid = reader.read(Window(0, 0, lattice.width_px, lattice.height_px))
    assert valid.all()
    step = round(gsd_m / 0.3)
    blocks = pixels[[3, 0]].reshape(2, 40 // step, step, 60 // step, step).mean(axis=(2, 4))
    np.testing.assert_allclose(found[:, 2:-2, 2:-2], blocks[:, 2:-2, 2:-2], atol=0 if step == 1 else 60)


@given(st.data())
def test_any_order_of_any_names_is_read_as_numpy_would(data: st.DataObject) -> None:
    """The oracle: a dictionary from the names to the pixels."""
    named = {colour: data.draw(st.sampled_from(names)) for colour, names in NAMES.items()}
    others = data.draw(st.lists(st.sampled_from(OTHERS), unique=True, max_size=4))
    order = data.draw(st.permutations([*named.items(), *((other, other) for other in others)]))
    wanted = data.draw(st.permutations(list(NAMES)))[: data.draw(st.integers(1, 4))]
    pixels = np.random.default_rng(len(order)).integers(0, 255, (len(order), 3, 4), np.uint8)
    expected = np.stack([pixels[[kind for kind, _ in order].index(colour)] for colour in wanted])
    with MemoryFile(ext=".tif") as memory:
        with memory.open(
            driver="GTiff", count=len(order), height=3, width=4, dtype="uint8", crs=UTM,
            transform=rasterio.Affine(0.3, 0, 5e5, 0, -0.3, 3e6),
        ) as dataset:  # fmt: skip
            dataset.write(pixels)
            dataset.descriptions = tuple(name for _, name in order)
        with open_image(Image(memory.name)) as source:
            choice = source.choose(wanted)
            assert choice.assumption == ""
            with open_reader(source, source.lattice(0.3, 64, 0), choice.numbers) as reader:
                found, valid = reader.read(Window(0, 0, 4, 3))
    np.testing.assert_array_equal(found, expected)
    assert valid.all()
