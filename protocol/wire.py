"""Requests and results as plain JSON values, and back."""

from __future__ import annotations

import enum
import json
import typing
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar

from . import (
    change,
    collecting,
    evaluation,
    explaining,
    ground_truth,
    growing,
    interop,
    label_quality,
    learning,
    prediction,
    publishing,
    training,
    training_check,
)
from .errors import ErrorCode, OrthomaskError, require
from .words import tr

T = TypeVar("T")

REQUESTS: dict[str, tuple[type, type]] = {
    "predict": (prediction.PredictRequest, prediction.PredictResult),
    "scale": (prediction.ScaleRequest, prediction.PredictResult),
    "block": (prediction.BlockRequest, prediction.BlockResult),
    "mosaic": (prediction.MosaicRequest, prediction.MosaicResult),
    "polygonize": (prediction.PolygonizeRequest, prediction.PolygonizeResult),
    "check": (prediction.CheckRequest, prediction.CheckResult),
    "calibrate": (prediction.CalibrateRequest, prediction.CalibrateResult),
    "info": (prediction.InfoRequest, prediction.InfoResult),
    "models": (prediction.ModelsRequest, prediction.ModelsResult),
    "copy_model": (evaluation.CopyModelRequest, prediction.ModelSummary),
    "ensemble": (evaluation.EnsembleRequest, prediction.ModelSummary),
    "onnx": (interop.OnnxRequest, interop.OnnxFacts),
    "import_model": (interop.ImportModelRequest, prediction.ModelSummary),
    "export_model": (interop.ExportModelRequest, interop.ExportModelResult),
    "project": (ground_truth.ProjectRequest, ground_truth.ProjectResult),
    "areas": (ground_truth.AreasRequest, ground_truth.AreasResult),
    "mask": (ground_truth.MaskRequest, ground_truth.MaskResult),
    "chips": (ground_truth.ChipsRequest, ground_truth.ChipsResult),
    "train": (training.TrainRequest, training.TrainResult),
    "check_training": (training_check.CheckTrainingRequest, training_check.CheckTrainingResult),
    "suggest": (learning.SuggestRequest, learning.SuggestResult),
    "learn": (learning.LearnRequest, learning.LearnResult),
    "check_learning": (learning.CheckLearningRequest, learning.CheckLearningResult),
    "compare": (learning.CompareRequest, learning.CompareResult),
    "versions": (learning.VersionsRequest, learning.VersionsResult),
    "inspect": (label_quality.InspectRequest, label_quality.InspectResult),
    "grow": (growing.GrowRequest, growing.GrowResult),
    "square": (growing.SquareRequest, growing.SquareResult),
    "changes": (change.ChangesRequest, change.ChangesResult),
    "explain": (explaining.ExplainRequest, explaining.ExplainResult),
    "uncertainty": (explaining.UncertaintyRequest, explaining.UncertaintyResult),
    "page": (publishing.PageRequest, publishing.PageResult),
    "export_run": (publishing.ExportRunRequest, publishing.ExportRunResult),
    "model_item": (publishing.ModelItemRequest, publishing.ModelItemResult),
    "search": (training.SearchRequest, training.SearchResult),
    "collect": (collecting.CollectRequest, collecting.CollectResult),
    "evaluate": (evaluation.EvaluateRequest, evaluation.EvaluateResult),
}
"""The JSON-RPC methods of the worker: request and result of each."""


def to_json(message: object) -> dict[str, Any]:
    """A request or result as plain JSON values, without the passwords in it: for records and settings."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(message, dict_factory=_recorded)))  # type: ignore[call-overload]
    return plain


def to_wire(request: object) -> dict[str, Any]:
    """A request as plain JSON values, with all that the engine needs to answer it: for the engine only."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(request, dict_factory=_needed)))  # type: ignore[call-overload]
    return plain


def _needed(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a dataclass, without those of an image or a class value that have their usual values."""
    ordinary: tuple[tuple[str, Any], ...] = (
        ("rendered", None), ("access", {}), ("nodata", None), ("stretch", ()), ("second", None), ("called", ""),
    )  # fmt: skip
    return {name: value for name, value in items if (name, value) not in ordinary}


def _recorded(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a dataclass that are recorded: no secrets."""
    return {name: value for name, value in _needed(items).items() if name != "access"}


def from_json(kind: type[T], data: object) -> T:
    """The request or result that `to_json` wrote.

    Raises:
        OrthomaskError: a field is unknown, missing, or of another type.
    """
    try:
        built: T = _build(kind, data)
        return built
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST,
            tr("This is not a valid {}.").format(kind.__name__),
            tr("Use the same version of Orthomask on both sides."),
            str(error),
        ) from error


def _build(kind: Any, data: Any) -> Any:
    """`data` as an instance of `kind`: a dataclass, enum, Optional, tuple, dict or scalar."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Union:
        return None if data is None else _build(arguments[0], data)
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in _expect(list, data))
    if origin is dict:
        return dict(_expect(dict, data))
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = {f.name for f in fields(kind)}
        given = _expect(dict, data)
        if not names.issuperset(given):
            raise TypeError(f"unknown fields {sorted(set(given) - names)}")
        return kind(**{name: _build(hints[name], value) for name, value in given.items()})  # type: ignore[operator]
    if kind is Any:
        return data
    if issubclass(kind, enum.Enum):
        return kind(data)
    if kind is float and type(data) is int:
        return float(data)
    return _text(data) if kind is str else _expect(kind, data)


def _text(data: Any) -> str:
    """A text that can be written to files and be a path.

    Raises:
        OrthomaskError: it holds a NUL, or bytes that are not Unicode.
    """
    text = _expect(str, data)
    plain = text.encode("utf-8", "replace").decode()
    require(
        text == plain and "\0" not in text,
        tr("“{}” contains characters that are not valid text.").format(plain.replace("\0", "?")),
        tr("Rename the file or folder."),
    )
    return text


def _expect(kind: type[T], data: Any) -> T:
    if type(data) is not kind:
        raise TypeError(f"{data!r} is not of type {kind.__name__}")
    return data
