"""A past run in the panel *Segment* again: filled in for editing, or resumed where it stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

from qgis.core import QgsCoordinateReferenceSystem, QgsProject, QgsRasterLayer, QgsVectorTileLayer

from ...protocol import WINDOW_PX, ErrorCode, Image, OrthomaskError, PredictRequest
from ..client.engine_client import on_chosen_device
from ..layers.images import is_drawn, is_rendered, pixels_of
from ..layers.map_view import ImageChooser
from ..layers.picture_client import FrozenRun
from ..layers.reading import Reading, remember, with_access
from ..layers.sources import extent_region, image_of, is_file, picked_region
from ..models.model_box import ModelBox
from ..runs import folders as run_folders
from ..runs.history import PastRun
from ..toolkit.present import present
from ..toolkit.settings import DEVICE
from ..toolkit.words import tr
from .options_box import OptionsBox
from .region_box import RegionBox

Layer = Union[QgsRasterLayer, QgsVectorTileLayer]

Load = Callable[[str], bool]
"""Whether to add a file that the project lacks."""


class Boxes(NamedTuple):
    """The boxes that hold the panel's choices."""

    layer_chooser: ImageChooser
    region: RegionBox
    model: ModelBox
    options: OptionsBox


def fill(boxes: Boxes, run: PastRun, load: Load) -> list[str]:
    """Fill the boxes with a run's choices; runs nothing. Main thread only.

    Returns:
        A sentence for each choice that could not be restored.
    """
    request = run.request
    if run.run is None or request is None:
        return []
    record, model = run.run.record, run.run.record["model"]
    return [
        *_fill_image(boxes.layer_chooser, request.image, load),
        *_fill_region(boxes.region, request),
        *_fill_model(boxes.model, model["name"], model["sha256"], request.model, float(record["threshold"])),
        *_fill_options(boxes.options, request),
    ]


def begun(boxes: Boxes, run: PastRun) -> FrozenRun:
    """An unfinished run, to resume with exactly its original request; fills the boxes too.

    Main thread only.

    Raises:
        OrthomaskError: what it needs is missing.
    """
    request = present(run.request)  # unreadable runs cannot be resumed
    image = request.image
    require_file(image)
    if on_chosen_device(request) != request:
        sentence = tr("The run was started on the best available device, but the settings now say “{}”.")
        remedy = tr("Choose the best available device in the settings, or repeat the run.")
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence.format(DEVICE.get()), remedy)
    fill(boxes, run, lambda _: False)  # gaps do not matter: the run does not read the boxes
    request = replace(request, image=with_access(image))
    request = run_folders.go_on(request, str(run.folder))
    return FrozenRun(request, request.image)


def layer_of(image: Image) -> Optional[Layer]:
    """The project layer that shows an image, or that a picture was rendered from. Main thread only."""
    return _rendered_layer(image) if image.rendered else _file_layer(image)


def require_file(image: Image) -> None:
    """Raise unless the image is where it was; URLs are not checked.

    Raises:
        OrthomaskError: it is gone.
    """
    missing = list(filter(_is_missing, image.paths))
    if missing:
        sentence = tr("The image “{}” no longer exists.").format(missing[0])
        remedy = tr("Put it back there, or repeat the run with another image.")
        raise OrthomaskError(ErrorCode.IMAGE_UNREADABLE, sentence, remedy)


def _fill_image(chooser: ImageChooser, image: Image, load: Load) -> Iterator[str]:
    found = layer_of(image)
    if found is None and image.rendered is None and not _is_missing(image.path) and load(image.path):
        found = _loaded(image)
    if found is not None:
        chooser.setLayer(found)
        if isinstance(found, QgsRasterLayer) and not is_drawn(found):
            remember(found, Reading(image.bands, image.stretch, image.nodata, image.second))
    elif image.rendered is not None and image.rendered.name == chooser.map_name:
        chooser.choose_map()
        yield tr("The map is taken as it looks now; the run used {}.").format(image.rendered.source)
    elif image.rendered is not None:
        yield tr("The layer “{}” is not in the project: choose an image.").format(image.rendered.name)
    elif _is_missing(image.path):
        yield tr("The image “{}” no longer exists: choose another.").format(image.path)
    else:
        yield tr("The image “{}” is not in the project: choose an image.").format(image.path)


def _fill_region(region: RegionBox, request: PredictRequest) -> Iterator[str]:
    layer = None if request.region else _file_layer(request.image)
    try:
        if request.region is not None:
            region.pick(picked_region(request.region))
        else:  # the whole image
            region.pick(extent_region(layer.extent(), layer.crs()) if layer else None)
    except OrthomaskError as error:
        yield f"{error.sentence} {error.remedy}"


def _fill_model(box: ModelBox, name: str, sha256: str, path: str, threshold: float) -> Iterator[str]:
    known = box.models
    same = next((model for model in known if model.sha256 == sha256), None)
    namesake = next((model for model in known if model.path == path or model.name == name), None)
    if same is not None:
        box.choose(same.path, threshold)
    elif namesake is not None:
        box.choose(namesake.path, threshold)
        yield tr("The model “{}” has changed since that run.").format(namesake.title)
    elif os.path.isfile(path):
        box.choose(path, threshold)
    elif not known:
        yield tr("The engine is not running yet: choose the model “{}” when it is.").format(name)
    else:
        yield tr("The model “{}” no longer exists: choose another.").format(name)


def _fill_options(box: OptionsBox, request: PredictRequest) -> Iterator[str]:
    box.fill(request.image_date, request.polygons, request.whole_objects)
    if request.device != DEVICE.get():
        yield tr("It ran on “{}”; the device is chosen in the settings.").format(request.device)
    if request.window_px != WINDOW_PX:
        yield tr("It used windows of {} px; the panel uses {}.").format(request.window_px, WINDOW_PX)


def _rendered_layer(image: Image) -> Optional[Layer]:
    """The project layer that a picture was rendered from."""
    layers = [layer for layer in _layers() if is_rendered(layer)]
    source = image.rendered.source if image.rendered else ""
    return next((layer for layer in layers if pixels_of(layer).source == source), None)


def _file_layer(image: Image) -> Optional[QgsRasterLayer]:
    """The project layer that shows a file, preferably one in the CRS that was assumed for it."""
    files = [layer for layer in _layers() if isinstance(layer, QgsRasterLayer) and is_file(layer)]
    layers = [layer for layer in files if image_of(layer).path == image.path]
    return min(layers, key=lambda layer: image_of(layer).crs != image.crs, default=None)


def _layers() -> list[Layer]:
    layers = QgsProject.instance().mapLayers().values()
    return [each for each in layers if isinstance(each, (QgsRasterLayer, QgsVectorTileLayer)) and each.isValid()]


def _loaded(image: Image) -> Optional[QgsRasterLayer]:
    """A new project layer of a file; None if QGIS cannot open it."""
    layer = QgsRasterLayer(image.path, Path(image.path).stem)
    if not layer.isValid():
        return None
    if image.crs:
        crs = QgsCoordinateReferenceSystem()
        if crs.createFromUserInput(image.crs):
            layer.setCrs(crs)
    QgsProject.instance().addMapLayer(layer)
    return layer


def _is_missing(path: str) -> bool:
    """Whether it is the path of a missing file; False for URLs, which are not checked."""
    return os.path.isabs(path) and not path.startswith("/vsi") and not os.path.exists(path)
