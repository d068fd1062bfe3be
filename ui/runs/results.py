"""A finished run as layers: one group, styled from the run's own record. Nothing else in the project changes."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsLayerNotesUtils,
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtXml import QDomDocument

from ...protocol import ClassInfo, ErrorCode, OrthomaskError, from_json
from ..toolkit.present import present
from ..toolkit.words import briefly, in_digits, tr
from . import correcting, generations
from .generations import POLYGONS
from .naming import Naming, read_naming

STYLES_DIR = Path(__file__).resolve().parents[2] / "resources" / "styles"
CLASSES, PROBABILITIES = "classes.tif", "probabilities.tif"
LAYERS = (POLYGONS, CLASSES, PROBABILITIES)
RECORD = "run.json"
RASTER_ALPHA = 150
RUN = "orthomask/run"
"""Custom property of a run's polygons: its folder."""


@dataclass(frozen=True)
class Run:
    """A run's folder, its record, `run.json`, and what a person named it."""

    folder: Path
    record: dict[str, Any]
    naming: Naming = Naming()

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The foreground classes of its model."""
        return tuple(from_json(ClassInfo, info) for info in self.record["model"]["classes"])

    def at(self, threshold: float) -> Run:
        """The same run, as titles and facts tell of its polygons at another threshold."""
        return replace(self, record={**self.record, "threshold": threshold})

    @property
    def image(self) -> str:
        """A short name of its image."""
        rendered = self.record["source"].get("rendered")
        return str(rendered["name"] if rendered else Path(self.record["source"]["path"]).stem)

    @property
    def title(self) -> str:
        """Its name if it has one, model and threshold, local time, image: what differs most comes first."""
        return " · ".join(filter(None, (self.naming.name, self._made, self.image)))

    @property
    def short_title(self) -> str:
        """Its name, or else model, threshold and local time."""
        return self.naming.name or self._made

    @property
    def _made(self) -> str:
        model, threshold = self.record["model"]["name"], briefly(self.record["threshold"])
        return f"{model} {threshold} · {_local(self.record['time'])}"

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The results' provenance: names and values in words."""
        model, source, version = self.record["model"], self.record["source"], self.record["versions"]["orthomask"]
        return [
            *_source_facts(source),
            (tr("Image date"), self.record["image_date"] or tr("unknown")),
            (tr("Model"), f"{model['title']} ({model['sha256'][:12]})"),
            (tr("Threshold"), briefly(self.record["threshold"])),
            (tr("Created"), tr("{} with Orthomask {}").format(_local(self.record["time"]), version)),
            (tr("Run id"), self.record["run_id"]),
        ]

    @property
    def provenance(self) -> str:
        """The provenance in plain text, a line for each fact."""
        return "\n".join(f"{name}: {value}" for name, value in self.facts)


def read_run(folder: Path) -> Run:
    """The run whose results are in `folder`.

    Raises:
        OrthomaskError: the folder holds no finished run.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sentence = tr("The folder {} contains no finished run.").format(folder)
        remedy = tr("Choose a folder with a run.json, or run again.")
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy, str(error)) from error
    return Run(folder, record, read_naming(folder))


def layer_name(kind: str, run: Run) -> str:
    """The name of a layer: what it shows, and of which run."""
    return f"{kind} · {run.short_title}"


def add_run(project: QgsProject, run: Run) -> QgsLayerTreeGroup:
    """Add the results on top of the layer tree: polygons shown, the rasters below them hidden."""
    group = QgsLayerTreeGroup(run.title)
    for layer in [polygon_layer(run), class_layer(run), *probability_layers(run)]:
        project.addMapLayer(layer, addToLegend=False)
        node = present(group.addLayer(layer))
        node.setItemVisibilityChecked(isinstance(layer, QgsVectorLayer))
        node.setExpanded(isinstance(layer, QgsVectorLayer))
    project.layerTreeRoot().insertChildNode(0, group)
    for expanded in (False, True):  # QGIS's legend takes notice of a change alone, and shows a new group collapsed
        group.setExpanded(expanded)
    return group


def polygon_layer(run: Run) -> QgsVectorLayer:
    """The polygons as they are now, coloured by class."""
    path = generations.newest(run.folder)
    run = run.at(generations.made(path, run.record).threshold)
    layer = QgsVectorLayer(polygons_uri(path), layer_name(tr("Polygons"), run), "ogr")
    style_polygons(layer, run)
    layer.setCustomProperty(RUN, str(run.folder))
    return layer


def polygons_uri(path: Path) -> str:
    """What a layer of the polygons in this GeoPackage is made from."""
    return f"{path}|layername=polygons"


def class_layer(run: Run) -> QgsRasterLayer:
    """The class raster, in the colours of the classes, background transparent."""
    layer = QgsRasterLayer(str(run.folder / CLASSES), layer_name(tr("Classes"), run))
    style_classes(layer, run)
    return layer


def probability_layers(run: Run) -> list[QgsRasterLayer]:
    """One heat map for each class."""
    layers = []
    for band, info in enumerate(run.classes, start=1):
        name = layer_name(tr("Probability of {}").format(info.name), run)
        layer = QgsRasterLayer(str(run.folder / PROBABILITIES), name)
        style_probabilities(layer, run, band)
        layers.append(layer)
    return layers


def style_polygons(layer: QgsVectorLayer, run: Run) -> None:
    """Outline and a light fill in the class colour; readable names for the fields; ready to be corrected."""
    layer.loadNamedStyle(str(STYLES_DIR / "polygons.qml"))
    template = layer.renderer().symbol()
    categories = []
    for info in run.classes:
        symbol = template.clone()
        symbol.setColor(_fill(info.color, template.color().alpha()))
        symbol.symbolLayer(0).setStrokeColor(QColor(info.color))
        categories.append(QgsRendererCategory(info.value, symbol, info.name))
    categories.append(QgsRendererCategory(None, template.clone(), tr("no class")))
    layer.setRenderer(QgsCategorizedSymbolRenderer("class_value", categories))
    correcting.prepare(layer, run.classes, run.record["run_id"])
    describe_polygons(layer, run)


def describe_polygons(layer: QgsVectorLayer, run: Run) -> None:
    """Tell of run and threshold in the layer's notes and metadata."""
    _describe(layer, run, tr("Outlines of the objects found, with class, mean confidence and area."))


def style_classes(layer: QgsRasterLayer, run: Run) -> None:
    """Palette and names of the classes."""
    values = [
        QgsPalettedRasterRenderer.Class(info.value, _fill(info.color, RASTER_ALPHA), info.name) for info in run.classes
    ]
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, values))
    _describe(layer, run, tr("The class of each pixel: the most probable one that reaches the threshold."))


def style_probabilities(layer: QgsRasterLayer, run: Run, band: int = 1) -> None:
    """A heat map of one class: from transparent at zero through yellow to dark red."""
    style = QDomDocument()
    text = (STYLES_DIR / "probabilities.qml").read_text(encoding="utf-8")
    style.setContent(text.replace('band="1"', f'band="{band}"'))
    layer.importNamedStyle(style)
    name = run.classes[band - 1].name
    _describe(layer, run, tr("The probability that each pixel is {}, from 0 to 1, before the threshold.").format(name))


def _source_facts(source: dict[str, Any]) -> list[tuple[str, str]]:
    """The image, and how it was rendered if it is not a file."""
    rendered = source.get("rendered")
    if not rendered:
        return [(tr("Source"), source["path"])]
    words = tr("{} at {} m per pixel, {} of {} tiles missing")
    missing, tiles = (in_digits(rendered[name]) for name in ("missing", "tiles"))
    how = words.format(_local(rendered["time"]), briefly(rendered["gsd_m"], 3), missing, tiles)
    return [(tr("Source"), f"{rendered['name']} ({rendered['source']})"), (tr("Rendered"), how)]


def _local(time: str) -> str:
    """A time of the record, to the minute, in local time."""
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"


def _describe(layer: QgsMapLayer, run: Run, meaning: str) -> None:
    """Add the layer's meaning and provenance as notes; the latter in its metadata too."""
    metadata = layer.metadata()
    metadata.setTitle(run.title)
    metadata.setAbstract(run.provenance)
    metadata.setLicenses([run.record["model"]["licence"]])
    layer.setMetadata(metadata)
    facts = "<br>".join(f"<b>{html.escape(name)}</b>: {html.escape(value)}" for name, value in run.facts)
    QgsLayerNotesUtils.setLayerNotes(layer, f"<p>{html.escape(meaning)}</p><p>{facts}</p>")


def _fill(color: str, alpha: int) -> QColor:
    filled = QColor(color)
    filled.setAlpha(alpha)
    return filled
