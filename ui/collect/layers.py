"""A finished collection as layers: its label project, and in its group a mosaic of the images of each batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from osgeo import gdal
from qgis.core import QgsLayerMetadata, QgsMapLayer, QgsProject, QgsRasterLayer, QgsVectorLayer

from ...protocol import SOURCES_TABLE, CollectResult
from ..label.project import LabelProject, open_project
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


def add_collection(project: QgsProject, result: CollectResult) -> tuple[LabelProject, list[QgsRasterLayer]]:
    """Add the label project with the images in its group, licence, attribution and date in the layers' metadata.

    Returns:
        The label project, and its mosaics, the coarsest first.

    Raises:
        OrthomaskError: the label project cannot be read.
    """
    labelled, sources = open_project(project, result.project_path), read_sources(result.project_path)
    for layer in (labelled.labels, labelled.areas):
        credit(layer, [source for source in sources if source.kind == LABEL_SOURCES])
    mosaics = image_layers(result.images)
    if mosaics:
        above: Any = present(project.layerTreeRoot().findLayer(labelled.labels.id())).parent()
        group = above.addGroup(tr("Images"))
        for mosaic in mosaics:
            credit(mosaic, [source for source in sources if source.kind == IMAGE_SOURCES])
            project.addMapLayer(mosaic, addToLegend=False)
            present(group.insertLayer(0, mosaic)).setExpanded(False)
    return labelled, mosaics


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
        # Between the images nothing is known: alpha says so, or the mask that one of them has.
        mosaic = gdal.BuildVRT(target, images, addAlpha=not any(map(_is_masked, images)))
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
    return str(gdal.Open(path).GetProjection())


def _is_masked(path: str) -> bool:
    dataset = gdal.Open(path)  # a band dies with it
    return bool(dataset.GetRasterBand(1).GetMaskFlags() & gdal.GMF_PER_DATASET)
