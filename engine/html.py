"""Pages of one file: templates in `resources/`, and pictures inside the page."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

RESOURCES = Path(__file__).resolve().parents[1] / "resources"


def render(template: str, filters: dict[str, Callable[..., Any]] | None = None, /, **values: Any) -> str:
    """A page from a template in `resources/`; all values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(RESOURCES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= filters or {}
    return environment.get_template(template).render(values)


def data_uri(kind: str, content: bytes) -> str:
    """Content of a media type as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
