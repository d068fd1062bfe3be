"""A finished collection as layers: its label project, and below it a mosaic of the images of each batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from osgeo import gdal
from qgis.core import QgsLayerMetadata, QgsLayerTreeGroup, QgsMapLayer, QgsProject, QgsRasterLayer, QgsVectorLayer

from ...protocol import SOURCES_TABLE, CollectResult
from ..label.project import LabelProject, open_project, read_classes
from ..layers.vector_snapshot import text_of
from ..toolkit.present import present
from ..toolkit.words import tr

LABEL_SOURCES, IMAGE_SOURCES = "labels", "imagery"


class Source(NamedTuple):
    """A row of the label project's table of sources, all as text."""

    kind: str
    source: str
    attribution: str
    licence: str
    date: str
    collected_at: str


def add_collection(project: QgsProject, result: CollectResult) -> LabelProject:
    """Add the label project and the images to the layer tree, with licence, attribution and date in their metadata.

    Raises:
        OrthomaskError: the label project cannot be read.
    """
    read_classes(result.project_path)  # raises before anything is added
    sources, root = read_sources(result.project_path), project.layerTreeRoot()
    if result.images:
        group = QgsLayerTreeGroup(tr("Images of {}").format(Path(result.project_path).parent.name))
        for mosaic in image_layers(result.images):
            credit(mosaic, [source for source in sources if source.kind == IMAGE_SOURCES])
            project.addMapLayer(mosaic, addToLegend=False)
            present(group.addLayer(mosaic)).setExpanded(False)
        root.insertChildNode(0, group)
        for expanded in (False, True):  # QGIS's legend takes notice of a change alone
            group.setExpanded(expanded)
    labelled = open_project(project, result.project_path)  # on top of the images
    for layer in (labelled.labels, labelled.areas):
        credit(layer, [source for source in sources if source.kind == LABEL_SOURCES])
    return labelled


def image_layers(paths: Iterable[str]) -> list[QgsRasterLayer]:
    """A mosaic for each batch, written beside the folder of its images; of each CRS, if they have several."""
    batches: dict[tuple[Path, str], list[str]] = {}
    for path in paths:
        batches.setdefault((Path(path).parent, _projection(path)), []).append(path)
    layers, names = [], {folder: 0 for folder, _ in batches}
    for (folder, _), images in batches.items():
        names[folder] += 1
        name = folder.name if names[folder] == 1 else f"{folder.name}_{names[folder]}"
        target = str(folder.with_name(f"{name}.vrt"))
        mosaic = gdal.BuildVRT(target, images)
        if mosaic is not None:
            del mosaic  # writes it
            layers.append(QgsRasterLayer(target, name.replace("_", " ")))
    return layers


def read_sources(path: str) -> list[Source]:
    """Where the data of a label project come from; empty if it does not say."""
    table = QgsVectorLayer(f"{path}|layername={SOURCES_TABLE}", SOURCES_TABLE, "ogr")
    if not table.isValid():
        return []
    columns = [table.fields().lookupField(name) for name in Source._fields]
    return [
        Source(*(text_of(feature.attribute(column)) if column >= 0 else "" for column in columns))
        for feature in table.getFeatures()
    ]


def credit(layer: QgsMapLayer, sources: Sequence[Source]) -> None:
    """Write attribution, licence and date into the layer's metadata."""
    metadata: QgsLayerMetadata = layer.metadata()
    metadata.setRights(_each(source.attribution for source in sources))
    metadata.setLicenses(_each(source.licence for source in sources))
    metadata.setHistory(_each(_history(source) for source in sources))
    layer.setMetadata(metadata)
    layer.setAttribution(" · ".join(metadata.rights()))


def _history(source: Source) -> str:
    collected = tr("Collected on {} from {}").format(source.collected_at[:10], source.source)
    return tr("{}; data of {}").format(collected, source.date) if source.date else collected


def _each(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def _projection(path: str) -> str:
    try:
        return str(gdal.Open(path).GetProjection())
    except (AttributeError, RuntimeError):  # gone: the mosaic has a hole there
        return ""
