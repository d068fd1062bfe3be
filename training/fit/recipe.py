"""Recipes: a training request in a TOML file, and settings given by name."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...protocol import ErrorCode, Existing, OrthomaskError, TrainRequest, from_json, to_json
from ...protocol.words import tr

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load(path: Path, output_dir: str, root: str = "") -> TrainRequest:
    """The training that a recipe asks for, into the run folder `output_dir`.

    Args:
        root: folder that the recipe's relative paths start at; empty for the recipe's own choice.

    Raises:
        OrthomaskError: the file is missing, not TOML, or not a valid recipe.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        sentence = tr("The recipe “{}” cannot be read.").format(path)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Choose a TOML file."), str(error)) from error
    try:
        request = from_json(TrainRequest, {**values, "output_dir": output_dir})
    except OrthomaskError as error:
        sentence = tr("The recipe “{}” is not valid: {}").format(path.name, error.details or error.sentence)
        raise OrthomaskError(
            ErrorCode.BAD_REQUEST, sentence, tr("Correct it and start again."), error.details
        ) from error
    return replace(request, data=replace(request.data, root=root)) if root else request


def digest(request: TrainRequest) -> str:
    """SHA-256 of everything a training depends on besides its data: the request without its folders."""
    bare = replace(request, output_dir="-", existing=Existing.REFUSE, data=replace(request.data, root=""))
    return hashlib.sha256(json.dumps(to_json(bare), sort_keys=True).encode()).hexdigest()


def with_settings(request: TrainRequest, settings: Mapping[str, Any]) -> TrainRequest:
    """The request with other values in fields such as `schedule.learning_rate`.

    Raises:
        OrthomaskError: there is no such field, or it does not take that value.
    """
    values = to_json(request)
    for name, value in settings.items():
        *parents, last = name.split(".")
        part: Any = values
        for parent in parents:
            part = part.get(parent) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            raise _unknown(name, part, values)
        part[last] = value
    try:
        return from_json(TrainRequest, values)
    except OrthomaskError as error:
        given = ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
        sentence = tr("Training does not accept {}: {}").format(given, error.details or error.sentence)
        raise OrthomaskError(ErrorCode.BAD_REQUEST, sentence, tr("Use another value."), error.details) from error


def _unknown(name: str, part: Any, values: dict[str, Any]) -> OrthomaskError:
    known = ", ".join(sorted(part if isinstance(part, dict) else values))
    return OrthomaskError(
        ErrorCode.BAD_REQUEST,
        tr("Training has no setting “{}”.").format(name),
        tr("Choose one of {}; write section.name.").format(known),
    )


def parsed(text: str) -> Any:
    """A value as JSON, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
