import pytest
from qgis.core import QgsApplication, QgsAuthMethodConfig, QgsRasterLayer
from scene import write_raster

from orthomask.protocol import Image, PredictRequest, to_json, to_wire
from orthomask.ui.layers.credentials import keys_apart, public_source, without_access
from orthomask.ui.layers.sources import image_of, is_file

SECRET = "p@ss w/d:x"


@pytest.mark.parametrize(
    "source",
    [
        "type=xyz&url=https%3A%2F%2Ftiles%2F%7Bz%7D%2F%7Bx%7D%2F%7By%7D%3Fkey%3Dhemlig&zmax=20",
        "type=xyz&url=https://tiles/{z}/{x}/{y}?access_token=hemlig&style=x",
        "contextualWMSLegend=0&url=https://server/wms&username=me&password=hemlig&layers=a",
        "PG: dbname='gis' host=server user='me' password='hemlig' table='ortho'",
        "/vsicurl/https://me:hemlig@server/a.tif",
        "type=xyz&url=https://tiles/{z}/{x}/{y}&http-header:Authorization=hemlig&zmin=1",
        "https://blob/a.tif?sv=1&sig=hemlig&sp=r",
        "/vsicurl/https://server/a.tif authcfg='hemlig'",
    ],
)
def test_nothing_secret_is_left_of_a_source(source):
    assert "hemlig" not in public_source(source)
    assert "server" in public_source(source) or "tiles" in public_source(source) or "blob" in public_source(source)


def test_keys_leave_a_place_in_the_address():
    bare, keys = keys_apart("https://tiles/{z}/{x}/{y}?key=hem%20lig&style=a&access_token=too")
    assert bare == "https://tiles/{z}/{x}/{y}?key={key}&style=a&access_token={key2}"
    assert keys == {"key": "hem lig", "key2": "too"}
    assert keys_apart("https://tiles/{z}/{x}/{y}?key={key}") == ("https://tiles/{z}/{x}/{y}?key={key}", {})


def test_what_is_not_secret_is_left_as_it_is():
    source = "crs=EPSG:3857&format=image/png&layers=houses,keys&styles=&url=https://server/wms?map=/data/a.map"
    assert public_source(source) == source
    assert public_source("/data/my photo.tif") == "/data/my photo.tif"


def test_user_and_password_of_an_address_go_apart():
    plain = "/vsicurl/https://server/a.tif"
    opens = {"GDAL_HTTP_USERPWD": f"me:{SECRET}"}
    assert without_access(plain, f"/vsicurl/https://me:{SECRET}@server/a.tif") == (plain, opens)
    written = "/vsicurl/https://me:p%40ss@server/a.tif"
    assert without_access(written, written) == (plain, {"GDAL_HTTP_USERPWD": "me:p@ss"})
    for path in (plain, "/vsizip//data/a.zip/b.tif", "/data/a@b.tif", 'NETCDF:"/data/a.nc":height', "C:\\data\\a.tif"):
        assert without_access(path, path) == (path, {})


@pytest.fixture
def stored(qgis_app, monkeypatch):
    """Access in QGIS's own store, with its id; the store itself is not touched."""
    assert qgis_app
    config = QgsAuthMethodConfig("Basic")
    config.setName("orthos")
    config.setConfig("username", "me")
    config.setConfig("password", SECRET)
    manager = QgsApplication.authManager()
    if not manager.setMasterPassword("for tests alone", True):
        pytest.skip("this profile has a master password")
    done, config = manager.storeAuthenticationConfig(config)
    assert done
    yield config.id()
    manager.removeAuthenticationConfig(config.id())


def test_access_from_qgiss_store_reaches_the_engine_and_no_record(stored):
    layer = QgsRasterLayer(f"/vsicurl/http://127.0.0.1:9/a.tif authcfg='{stored}'", "a")
    monkey = layer.dataProvider()
    assert monkey.dataSourceUri(True) == f"/vsicurl/http://me:{SECRET}@127.0.0.1:9/a.tif"
    layer.isValid = lambda: True  # nobody listens there
    image = image_of(layer)
    request = PredictRequest(image, "buildings", "run")
    assert image.path == "/vsicurl/http://127.0.0.1:9/a.tif"
    assert to_wire(request)["image"]["access"] == {"GDAL_HTTP_USERPWD": f"me:{SECRET}"}
    for written in (str(to_json(request)), repr(request)):
        assert SECRET not in written
        assert stored not in written


def test_files_of_any_kind_go_to_the_engine_as_they_are(tmp_path):
    photo = write_raster(tmp_path / "photo.tif", [1, 2, 3])
    assert image_of(QgsRasterLayer(photo, "photo")) == Image(photo)
    for foreign in ("PG:dbname=gis table=t", "/data/a.ecw", "/data/a.sid"):
        assert not is_file(QgsRasterLayer(foreign, "foreign"))
    for ours in ("/vsizip//data/a.zip/b.tif", 'NETCDF:"/data/a.nc":height', "GPKG:/data/a.gpkg:ortho", "/data/a.jp2"):
        assert is_file(QgsRasterLayer(ours, "ours"))
