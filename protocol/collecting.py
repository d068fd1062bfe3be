"""Request and result of collecting: places, labels and imagery from elsewhere, as data to train on."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import urlsplit

from .errors import require
from .ground_truth import require_shares
from .labelled import Areas
from .values import Existing
from .words import mark, tr

COLLECTED_PROJECT = "labels.gpkg"
"""The label project in the output folder: `labels`, `areas`, the classes, and `SOURCES_TABLE`. A label also has the
fields `source` (the object's id there, such as `way/1234`) and `tags`."""
COLLECTED_IMAGES = "images"
"""Folder of a folder for each batch, such as `zoom_17` or `gsd_0.3`, with `area_001.tif` and so on."""
COLLECTION_FILE = "collection.json"
"""The record: request, what was found, versions. No secrets."""
SOURCES_TABLE = "orthomask_sources"
"""A row for each source: `kind` (labels, imagery or weights), `source`, `attribution`, `licence`, `date` of the data,
`collected_at`."""
OVERPASS = "https://overpass-api.de/api/interpreter"
OSM_ATTRIBUTION = "© OpenStreetMap contributors"
OSM_LICENCE = "ODbL 1.0"
ZOOMS = (0, 24)
MOST_TILES = 20_000
FORBIDDEN = ("tile.openstreetmap.org", "tile.osm.org", "openstreetmap.fr", "opentopomap.org")
"""Services that forbid fetching tiles in bulk, with or without a key."""
KEY_NEEDED = (
    "google.com", "googleapis.com", "gstatic.com", "virtualearth.net", "bing.com", "mapbox.com", "arcgisonline.com",
    "here.com", "maptiler.com", "thunderforest.com", "stadiamaps.com", "yandex.net", "planet.com",
)  # fmt: skip
"""Services whose terms bind the fetching of tiles to a contract: only with the user's own key."""

_TAG = re.compile(r"(?P<key>[^=|&,;'\"\\\[\]\s]+)(=(?P<values>[^=&\"\\\[\]]+))?")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_TILE = ("{x}", "{y}", "{-y}", "{z}", "{q}")


@dataclass(frozen=True)
class TagRule:
    """Which objects of OpenStreetMap are of a class.

    Attributes:
        tags: `building` (any value but `no`), `landuse=farmland`, or `landuse=farmland|meadow`.
        class_name: empty to cut what these objects cover out of the labels of all other rules.
    """

    tags: str
    class_name: str = ""

    def __post_init__(self) -> None:
        require(
            _TAG.fullmatch(self.tags) is not None,
            tr("“{}” is not a tag of OpenStreetMap.").format(self.tags),
            tr("Use a key such as building, or key=value such as landuse=farmland|meadow."),
        )

    @property
    def key(self) -> str:
        """The tag's key."""
        return self.tags.partition("=")[0]

    @property
    def values(self) -> tuple[str, ...]:
        """The tag's values; empty for any but `no`."""
        return tuple(value.strip() for value in self.tags.partition("=")[2].split("|") if value.strip())


BUILDINGS = (TagRule("building", "building"),)
FARMLAND = (TagRule("landuse=farmland", "field"), TagRule("landuse=farmyard"))
PRESETS = {"buildings": BUILDINGS, "farmland": FARMLAND}
"""Rules by name; what people see is `PRESET_TITLES`."""
PRESET_TITLES = {"buildings": mark("Buildings"), "farmland": mark("Farmland without farmyards")}


@dataclass(frozen=True)
class OpenStreetMap:
    """Labels from OpenStreetMap, under ODbL: its attribution is recorded with them.

    Attributes:
        rules: an object gets the class of the first one that it meets.
        extract: a file `.osm` or `.osm.pbf`; empty to ask `server`.
        server: URL of an Overpass API.
    """

    rules: tuple[TagRule, ...] = BUILDINGS
    extract: str = ""
    server: str = OVERPASS

    def __post_init__(self) -> None:
        classes = any(rule.class_name for rule in self.rules)
        require(classes, tr("No tag of OpenStreetMap has a class."), tr("Name a tag, such as building."))
        require(
            bool(self.extract) or _is_url(self.server),
            tr("“{}” is not the address of an Overpass server.").format(self.server),
            tr("Use an address such as {}.").format(OVERPASS),
        )


@dataclass(frozen=True)
class VectorLabels:
    """Labels from polygons of any vector file or service, such as a cadastre.

    Attributes:
        path: as GDAL names it: a file, `WFS:https://…`, or `OAPIF:https://…`.
        layer: empty for the first one with polygons.
        class_field: attribute that names the class; empty if all are of `class_name`.
        classes: class names of the attribute's values, as text; values that are missing, or whose class is empty, are
            left out. Empty for a class for each value.
        subtract: what these polygons cover is cut out of all labels.
        crs: to assume where the layer has none.
        name: what the layer is called in the record, where the file is a temporary copy; empty for `path`.
        access: values of placeholders in `path`, such as `key` for `{key}`, and GDAL's options to open it. They are
            secret: never recorded.
    """

    path: str
    layer: str = ""
    class_field: str = ""
    classes: dict[str, str] = field(default_factory=dict, hash=False)
    class_name: str = "object"
    subtract: bool = False
    crs: str = ""
    licence: str = ""
    attribution: str = ""
    date: str = ""
    name: str = ""
    access: dict[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        require(bool(self.path), tr("No labels were given."), tr("Choose a vector file with polygons."))
        named = self.subtract or bool(self.class_field or self.class_name)
        require(named, tr("The labels have no class."), tr("Name their class, or the attribute that holds it."))


@dataclass(frozen=True)
class Imagery:
    """Where images come from, and at which resolutions: each is a batch of its own.

    Attributes:
        url: tiles by their address, with `{z}`, `{x}` and `{y}` (`{-y}` for TMS, `{q}` for quadkeys); or any raster
            that GDAL opens, such as a COG's URL, `WMS:https://…`, `WMTS:https://…` or a file.
        zooms: of web map tiles.
        gsds_m: metres per pixel on the ground. For tiles, the zoom that comes closest at each area. If both are empty,
            the raster's own resolution.
        licence: under which the images may be kept and used for training. To state it is to confirm that they may: it
            is required.
        attribution: the line to show with them.
        date: when the images were taken, if known.
        per_second: most tiles, or images of another server, that are asked for in a second.
        access: as in `VectorLabels`; `GDAL_HTTP_USERPWD`, `GDAL_HTTP_HEADERS` and `GDAL_HTTP_REFERER` also for tiles.
    """

    url: str
    licence: str
    zooms: tuple[int, ...] = ()
    gsds_m: tuple[float, ...] = ()
    attribution: str = ""
    date: str = ""
    per_second: float = 4.0
    access: dict[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        require(bool(self.url), tr("No imagery was given."), tr("Enter the address of tiles, or choose a raster."))
        require(
            bool(self.licence.strip()),
            tr("The licence of the images is not confirmed."),
            tr("Name the licence that lets you keep these images and train with them."),
        )
        self._require_allowed()
        unknown = {part for part in _PLACEHOLDER.findall(self.url) if f"{{{part}}}" not in _TILE} - set(self.access)
        require(
            not (self.are_tiles and unknown),
            tr("The address has no value for {}.").format(", ".join(f"{{{part}}}" for part in sorted(unknown))),
            tr("Write it out, such as a for {}, or enter your key with the address.").format("{s}"),
        )
        low, high = ZOOMS
        require(
            all(low <= zoom <= high for zoom in self.zooms),
            tr("A zoom level is outside {} to {}.").format(low, high),
            tr("Use levels such as 17, 18."),
        )
        require(
            all(0.005 <= gsd <= 1000 for gsd in self.gsds_m),
            tr("A resolution is out of range."),
            tr("Specify the resolution in metres per pixel."),
        )
        require(
            not (self.zooms and self.gsds_m),
            tr("Both zoom levels and resolutions were given."),
            tr("Use one of them."),
        )
        require(
            bool(self.zooms or self.gsds_m) or not self.are_tiles,
            tr("Tiles need a zoom level."),
            tr("Choose zoom levels, such as 17 and 18, or resolutions, such as 0.3 m."),
        )
        require(
            0 < self.per_second <= 50,
            tr("{:g} requests a second are out of range.").format(self.per_second),
            tr("Use 50 or fewer."),
        )

    @property
    def are_tiles(self) -> bool:
        """Whether `url` names tiles."""
        return any(part in self.url for part in _TILE)

    @property
    def batches(self) -> tuple[str, ...]:
        """Folder names of the batches, the coarsest first."""
        if self.zooms:
            return tuple(f"zoom_{zoom}" for zoom in sorted(set(self.zooms)))
        return tuple(f"gsd_{gsd:g}" for gsd in sorted(set(self.gsds_m), reverse=True)) or ("original",)

    def _require_allowed(self) -> None:
        """Raise if the service forbids to fetch images without a key of the user's, or at all."""
        address = self.url.split(":", 1)[1] if self.url.startswith(("WMS:", "WMTS:")) else self.url
        host = (urlsplit(address.removeprefix("/vsicurl/")).hostname or "").lower()
        require(
            not _is_of(host, FORBIDDEN),
            tr("{} does not allow tiles to be fetched in bulk.").format(host),
            tr("Use imagery whose licence allows it, such as open orthophotos of a mapping agency."),
        )
        require(
            bool(self.access) or not _is_of(host, KEY_NEEDED),
            tr("{} allows its images to be fetched only under a contract.").format(host),
            tr("Write {} in the address and enter your own key, or use open imagery.").format("{key}"),
        )


@dataclass(frozen=True)
class Sampled:
    """Square areas at random places.

    Attributes:
        within: polygons that areas lie in: a vector file. Empty for wherever there are weights.
        within_where: only those for which this holds, as in SQL: `iso_a3 = 'FRA'`.
        within_crs: to assume where the file has none.
        weights: raster of which each pixel holds a number, such as of people (WorldPop, GHS-POP): an area's chance is
            proportional to it. Empty for the same chance everywhere on the ground.
        density: the raster holds numbers per area, such as people per km², not per pixel.
        size_px: side length of the images in the coarsest batch; finer ones have more pixels.
        size_m: side length on the ground instead, metres; 0 for `size_px`.
        min_distance_m: between the edges of any two.
        shares: of train, validation and test; the rest up to 1 becomes todo.
        checked: all that there is counts as labelled, so that areas without a label are empty; else they are to do.
    """

    within: str = ""
    within_layer: str = ""
    within_where: str = ""
    within_crs: str = ""
    weights: str = ""
    density: bool = False
    count: int = 10
    size_px: int = 256
    size_m: float = 0.0
    min_distance_m: float = 0.0
    shares: tuple[float, ...] = (0.7, 0.15, 0.15)
    seed: int = 1
    checked: bool = False

    def __post_init__(self) -> None:
        require(
            bool(self.within or self.weights),
            tr("Nothing says where to sample."),
            tr("Choose polygons, such as a country, or a raster of weights."),
        )
        positive = self.count > 0 and self.size_px > 0 and self.size_m >= 0 and self.min_distance_m >= 0
        finite = math.isfinite(self.size_m) and math.isfinite(self.min_distance_m)
        require(
            positive and finite,
            tr("The number, size or distance of the areas is not positive."),
            tr("Use numbers above 0."),
        )
        require_shares(self.shares)


@dataclass(frozen=True)
class CollectRequest:
    """Collect labels and images for areas into a folder: a label project, and georeferenced images of each area.

    Attributes:
        areas: polygons that exist, each an area, whatever their split; or else
        sample: places to find.
        osm: labels from OpenStreetMap.
        vectors: labels from other sources, after those of OpenStreetMap.
        imagery: None for labels only.
        contact: an e-mail or web address that servers are told, so that they can complain; part of the User-Agent.
        most_tiles: an error if more would be fetched.
        existing: with `resume`, images and answers that are there are kept, and missing ones are fetched.
    """

    output_dir: str
    areas: Optional[Areas] = None
    sample: Optional[Sampled] = None
    osm: Optional[OpenStreetMap] = None
    vectors: tuple[VectorLabels, ...] = ()
    imagery: Optional[Imagery] = None
    contact: str = ""
    most_tiles: int = MOST_TILES
    existing: Existing = Existing.REFUSE

    def __post_init__(self) -> None:
        require(bool(self.output_dir), tr("No output folder was given."), tr("Choose a folder."))
        require(
            (self.areas is None) != (self.sample is None),
            tr("There are no places to collect."),
            tr("Choose either a layer of areas, or where to sample them."),
        )
        require(
            bool(self.sample or self.osm or self.vectors or self.imagery),
            tr("Nothing is to be collected."),
            tr("Choose labels, imagery, or both."),
        )
        sized = self.sample is None or self.imagery is not None or self.sample.size_m > 0
        require(sized, tr("The areas have no size."), tr("Give their side length in metres."))
        require(self.most_tiles > 0, tr("The largest number of tiles is not positive."), tr("Use a number above 0."))
        plain = self.contact.isprintable() and self.contact.isascii()
        require(plain, tr("The contact is not plain text."), tr("Use an e-mail or web address."))


@dataclass(frozen=True)
class CollectResult:
    """What was collected.

    Attributes:
        project_path: the label project; its areas are there also when no labels were asked for.
        images: paths of the images, batch by batch.
        recipes: of each batch a recipe for `orthomask train`, if there are labels.
        labels: how many there are of each class.
        tiles: that were needed, `fetched` of them from the server, and `missing` where it has none: nothing is known
            there.
        attributions: lines to show with what is made from these data.
    """

    project_path: str
    images: tuple[str, ...]
    recipes: tuple[str, ...]
    areas: int
    labels: dict[str, int]
    tiles: int = 0
    fetched: int = 0
    missing: int = 0
    attributions: tuple[str, ...] = ()
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def _is_url(text: str) -> bool:
    return text.startswith(("https://", "http://")) and bool(urlsplit(text).hostname)


def _is_of(host: str, services: tuple[str, ...]) -> bool:
    return any(host == service or host.endswith(f".{service}") for service in services)
