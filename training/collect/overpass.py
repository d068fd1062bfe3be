"""Ask an Overpass server for the objects of OpenStreetMap in small boxes, one at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...engine.outputs import writing
from ...protocol import ErrorCode, OpenStreetMap, OrthomaskError, TagRule
from ...protocol.words import tr, tr_n
from . import osm
from .features import Features, joined
from .web import Answer, Client, cut_off, host_of, require_no_page

TIMEOUT_S = 60
MOST_BYTES = 256 << 20
PAUSE_S = 1.0
"""Least time between two requests."""
MOST_KM2 = 25.0
"""Of a box; public servers are for small ones."""
REMARK = re.compile(rb"<remark>\s*(.*?)\s*</remark>", re.DOTALL)
DATE = re.compile(rb'osm_base="([^"]+)"')
RELATION = re.compile(rb'<relation id="(\d+)"[^>]*>(.*?)</relation>', re.DOTALL)
TAG = re.compile(rb'<tag k="([^"]*)" v="([^"]*)"')
SHOWN = 5
"""Most broken outlines that a warning names."""
TAIL = 4096
"""A remark stands in the last bytes of an answer."""


def collect(
    source: OpenStreetMap, boxes: np.ndarray, client: Client, folder: Path
) -> tuple[Features, str, tuple[str, ...]]:
    """The objects in boxes `(N, 4)` of WGS 84, each once; the day of the oldest data; and a warning of broken ones.

    Args:
        folder: for temporary files.

    Raises:
        OrthomaskError: the server cannot be reached, refuses, is busy, gives up, or sends something else.
    """
    parts, dates, broken = [], [], set[str]()

    def check(answer: Answer) -> None:
        require_answer(source.server, answer)

    for number, box in enumerate(boxes):
        client.done = number / len(boxes)
        words = tr("Asking {}: area {} of {}").format(host_of(source.server), number + 1, len(boxes))
        client.progress.report(client.done, words)
        content = client.fetch(f"POST {source.server}", source.server, check, query(source.rules, box))
        if content is None:
            raise _not_overpass(source.server, "404")
        answer = folder / "answer.osm"
        with writing(answer):
            answer.write_bytes(content)
        parts.append(osm.read(answer, source.rules, box[None]))
        broken |= asked_for(content, source.rules) - set(parts[-1].sources)
        dates += [found[1].decode()[:10] for found in DATE.finditer(content[:TAIL])]
    words = tr_n(
        "{} outline of OpenStreetMap is broken there and was left out: {}",
        "{} outlines of OpenStreetMap are broken there and were left out: {}",
        len(broken),
    )
    shown = ", ".join(sorted(broken)[:SHOWN]) + (" …" if len(broken) > SHOWN else "")
    return joined(parts), min(dates, default=""), (words.format(len(broken), shown),) if broken else ()


def asked_for(content: bytes, rules: Sequence[TagRule]) -> set[str]:
    """Ids of the multipolygons of an answer that meet a rule: all of them, also those that cannot be assembled."""
    found = set()
    for number, inside in RELATION.findall(content):
        tags = {key.decode(): value.decode("utf-8", "replace") for key, value in TAG.findall(inside)}
        if tags.get("type") == "multipolygon" and osm.class_of(tags, rules) is not None:
            found.add(f"relation/{int(number)}")
    return found


def query(rules: Sequence[TagRule], box: Sequence[float]) -> str:
    """Overpass's query for the ways and multipolygons that meet a rule in a box: left, bottom, right, top."""
    left, bottom, right, top = box
    wanted = []
    for rule in rules:
        wanted.append(f'way["{rule.key}"{_values(rule)}];')
        wanted.append(f'relation["type"~"^(multipolygon|boundary)$"]["{rule.key}"{_values(rule)}];')
    where = f"[bbox:{bottom:.7f},{left:.7f},{top:.7f},{right:.7f}]"
    return f"[out:xml][timeout:{TIMEOUT_S}]{where};({''.join(wanted)});(._;>;);out body;"


def _values(rule: TagRule) -> str:
    if not rule.values:
        return ""
    return f'~"^({"|".join(re.escape(value) for value in rule.values)})$"'.replace("\\", "\\\\")


def require_answer(server: str, answer: Answer) -> None:
    """Raise unless it is a whole answer of an Overpass server. Status 200 says nothing: failures come as remarks.

    Raises:
        OrthomaskError: with code `network` if asking again may help.
    """
    require_no_page(server, answer)
    remark = REMARK.search(answer.content[-TAIL:])
    if remark:
        told = remark[1].decode("utf-8", "replace")
        raise OrthomaskError(
            ErrorCode.SERVER,
            tr("{} gave up: {}").format(host_of(server), told.rstrip(".") + "."),
            tr("Use smaller areas, or an extract of OpenStreetMap (.osm.pbf)."),
            told,
        )
    if b"<osm" not in answer.content[:TAIL]:
        raise _not_overpass(server, answer.content[:300].decode("utf-8", "replace"))
    if not answer.content.rstrip().endswith(b"</osm>"):
        raise cut_off(server, EOFError())


def _not_overpass(server: str, details: str) -> OrthomaskError:
    return OrthomaskError(
        ErrorCode.SERVER,
        tr("{} is not an Overpass server.").format(server),
        tr("Check its address, which ends in /api/interpreter."),
        details,
    )
