"""`orthomask:exportchips`: cut an image and its labels into chips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from ...protocol import ChipsRequest, ChipsResult, Split
from ..label.export_options import CATALOGUES, FORMATS, numbers_in
from ..label.sources import Rendering
from ..toolkit.help import Section
from ..toolkit.words import in_digits, mark, time_in_words, tr, tr_n
from .base import Group, Paths, Values
from .exporting import REAL, WHOLE, ExportAlgorithm


class ExportChipsAlgorithm(ExportAlgorithm):
    """A folder of chips with their manifest."""

    NAME = "exportchips"
    TITLE = mark("Export chips")
    HELP = mark(
        "Cuts an image and its labels into chips of equal size, and describes each in manifest.json: its location, "
        "split and classes. Chips of different splits never touch. Without areas, spatial blocks are assigned to the "
        "splits. Empty, faulty and constant chips are left out by rule, and counted. A map service is rendered around "
        "the areas, at the given resolution."
    )
    EXAMPLE = mark(
        "To train in another program: image, labels and areas, chips of 512 pixels that overlap by half (stride 256), "
        "as PNG with world file and the COCO catalogue."
    )
    TAGS = mark("tiles,patches,coco,classified tiles,arcgis,dataset,training data,hdf5,npz")
    GROUP = Group.LABEL
    SECTION = Section.EXPORT

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        """Declare parameters and outputs."""
        self.add_labels()
        self.add_reading()
        self.add(
            QgsProcessingParameterEnum("FORMAT", tr("Format"), [tr(name) for name in FORMATS.values()], defaultValue=0),
            tr("How chips are stored; HDF5 is one file for each split, with the arrays img and mask."),
        )
        for name, title, value, help_ in (
            ("SIZE", tr("Size (px)"), 256, tr("Side length of a chip.")),
            (
                "STRIDE",
                tr("Stride (px)"),
                256,
                tr("Distance from chip to chip; chips overlap if it is less than their size."),
            ),
        ):
            self.add(QgsProcessingParameterNumber(name, title, WHOLE, value, minValue=1, maxValue=8192), help_)
        self.add(
            QgsProcessingParameterString("GSD", tr("Resolution (m)"), optional=True),
            tr(
                "Metres per pixel; several values, as in 0.15, 0.3, give a batch for each. Leave empty for the "
                "resolution of the image."
            ),
        )
        self.add(
            QgsProcessingParameterString("ROTATIONS", tr("Rotation (°)"), "0"),
            tr("Degrees clockwise; several values, as in 0, 45, give a batch for each."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterEnum(
                "CATALOGUES", tr("Catalogues"), list(CATALOGUES.values()), allowMultiple=True, optional=True
            ),
            tr("Descriptions that other programs read."),
        )
        self._add_rules()
        self.add_existing(tr("If the folder already contains chips"), resumable=False)
        self.add(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder for the chips")),
            tr("The folder of these chips."),
        )
        self.addOutput(QgsProcessingOutputFile("MANIFEST", tr("Manifest")))
        self.addOutput(QgsProcessingOutputNumber("CHIPS", tr("Number of chips")))
        self.addOutput(QgsProcessingOutputString("COUNTS", tr("Chips of each split, as JSON")))
        self.addOutput(QgsProcessingOutputString("LEFT_OUT", tr("Chips left out, by reason, as JSON")))

    def request(self, parameters: Values, context: QgsProcessingContext) -> Callable[[Paths], Any]:
        """What writes the layers and makes the request."""
        shares = [self.parameterAsDouble(parameters, f"SHARE_{split.name}", context) for split in _SHARED]
        catalogues = self.parameterAsEnums(parameters, "CATALOGUES", context)
        options: dict[str, Any] = {
            "format": list(FORMATS)[self.parameterAsEnum(parameters, "FORMAT", context)],
            "catalogues": tuple(list(CATALOGUES)[index] for index in catalogues),
            "chip_px": self.parameterAsInt(parameters, "SIZE", context),
            "stride_px": self.parameterAsInt(parameters, "STRIDE", context),
            "gsd_m": numbers_in(self.parameterAsString(parameters, "GSD", context)),
            "rotations": numbers_in(self.parameterAsString(parameters, "ROTATIONS", context)) or (0.0,),
            "empty_share": self.parameterAsDouble(parameters, "EMPTY", context),
            "max_unknown_share": self.parameterAsDouble(parameters, "UNKNOWN", context),
            "shares": tuple(shares),
            "seed": self.parameterAsInt(parameters, "SEED", context),
            "existing": self.existing(parameters, context),
        }
        rendering = Rendering(min(options["gsd_m"], default=0.0), options["chip_px"])
        return self.prepared(
            parameters,
            context,
            lambda data, classes, paths: ChipsRequest((data,), paths["OUTPUT"], classes=classes, **options),
            rendering,
        )

    def results(self, answer: ChipsResult, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> Values:
        """The manifest, and how many chips there are."""
        for warning in answer.warnings:
            feedback.pushWarning(warning)
        total = sum(answer.counts.values())
        words = tr_n("{} chip in {}.", "{} chips in {}.", total)
        feedback.pushInfo(words.format(in_digits(total), time_in_words(answer.seconds)))
        return {
            "OUTPUT": str(Path(answer.manifest_path).parent),
            "MANIFEST": answer.manifest_path,
            "CHIPS": total,
            "COUNTS": json.dumps(answer.counts),
            "LEFT_OUT": json.dumps(answer.left_out),
        }

    def _add_rules(self) -> None:
        empty = tr("Chips without objects to keep, as a share of those with objects.")
        unknown = tr("Chips with a larger share of unknown or missing pixels are left out.")
        for name, title, value, help_ in (
            ("EMPTY", tr("Share of empty chips"), 1.0, empty),
            ("UNKNOWN", tr("Maximum share of unknown pixels"), 0.5, unknown),
            ("SHARE_TRAIN", tr("Share for training"), 0.7, tr("Share of the blocks, if there are no areas.")),
            ("SHARE_VALIDATION", tr("Share for validation"), 0.15, tr("Share of the blocks, if there are no areas.")),
            ("SHARE_TEST", tr("Share for test"), 0.15, tr("Share of the blocks, if there are no areas.")),
        ):
            number = QgsProcessingParameterNumber(name, title, REAL, value, minValue=0, maxValue=1)
            self.add(number, help_, advanced=True)
        self.add(
            QgsProcessingParameterNumber("SEED", tr("Seed"), WHOLE, 1),
            tr("The same seed assigns the same blocks."),
            advanced=True,
        )


_SHARED = (Split.TRAIN, Split.VALIDATION, Split.TEST)
