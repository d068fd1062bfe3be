"""Servers for tests: of tiles and of OpenStreetMap, in the test's own process, that misbehave in turn when told to.

Where GDAL is the one who asks they run in processes of their own, since it holds Python's lock.
"""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import numpy as np
import rasterio.io
import shapely

from orthomask.engine.progress import Progress
from orthomask.training.collect.web import Clock

TESTS = Path(__file__).resolve().parents[1]
LOGIN = b"<!DOCTYPE html><html><title>Hotel</title>Log in</html>"
META = '<meta osm_base="2026-11-29T20:00:00Z"/>'


class Reply(NamedTuple):
    """`cut`: bytes that are announced, but never sent; `hangs`: nothing is sent until the server ends."""

    content: bytes
    status: int = 200
    kind: str = "application/octet-stream"
    headers: tuple[tuple[str, str], ...] = ()
    cut: int = 0
    hangs: bool = False


class Asked(NamedTuple):
    path: str
    query: str
    agent: str
    authorization: str


@dataclass
class Server:
    """`usual` answers, after the `replies` that come first."""

    usual: Callable[[str], Reply]
    replies: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(usual: Callable[[str], Reply]) -> Iterator[Server]:
    found, over = Server(usual), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            query = parse_qs(body).get("data", [""])[0]
            headers = self.headers
            asked = Asked(self.path, query, headers.get("User-Agent", ""), headers.get("Authorization", ""))
            found.asked.append(asked)
            reply = found.replies.pop(0) if found.replies else found.usual(self.path)
            if reply.hangs:
                over.wait()
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.content) + reply.cut))
            self.end_headers()
            self.wfile.write(reply.content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        over.set()
        server.shutdown()


@contextmanager
def running(script: str, *arguments: str) -> Iterator[str]:
    """The port of a server in a process of its own."""
    command = [sys.executable, str(TESTS / script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


class FakeClock(Clock):
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.time, self.slept = 1000.0, list[float]()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float, progress: Progress) -> None:
        progress.check_cancelled()
        if seconds > 0:
            self.time += seconds
            self.slept.append(round(seconds, 3))


def picture(driver: str = "PNG", side: int = 256, bands: int = 3, value: int = 100) -> bytes:
    """An encoded picture; its first pixel row differs from the others."""
    pixels = np.full((bands, side, side), value, np.uint8)
    pixels[:, 0] = value + 50
    with rasterio.io.MemoryFile() as file:
        with file.open(driver=driver, count=bands, height=side, width=side, dtype="uint8") as dataset:
            dataset.write(pixels)
        return bytes(file.read())


def tile_reply(path: str) -> Reply:
    """Each tile has a grey of its own."""
    x, y = (int(part.partition(".")[0]) for part in path.split("/")[-2:])
    return Reply(picture(value=grey(x, y)), kind="image/png")


def grey(x: int, y: int) -> int:
    return (x * 7 + y * 13) % 150 + 20


def osm_xml(polygons: Sequence[shapely.Polygon], tags: Sequence[dict[str, str]], more: str = "") -> bytes:
    """A file of OpenStreetMap: ways, and multipolygons for polygons with holes."""
    nodes, ways, relations = io.StringIO(), io.StringIO(), io.StringIO()
    number = 0

    def way(points: Sequence[tuple[float, float]], told: str) -> int:
        nonlocal number
        first = number + 1
        is_ring = points[0] == points[-1]
        for x, y in points[: -1 if is_ring else None]:
            number += 1
            nodes.write(f'<node id="{number}" lat="{y:.9f}" lon="{x:.9f}"/>\n')
        refs = [*range(first, number + 1), *([first] if is_ring else [])]
        number += 1
        ways.write(f'<way id="{number}">{"".join(f"<nd ref={chr(34)}{n}{chr(34)}/>" for n in refs)}{told}</way>\n')
        return number

    for polygon, given in zip(polygons, tags):
        told = "".join(f'<tag k="{key}" v="{value}"/>' for key, value in given.items())
        if not polygon.interiors:
            way(list(polygon.exterior.coords), told)
            continue
        members = [(way(list(polygon.exterior.coords), ""), "outer")]
        members += [(way(list(ring.coords), ""), "inner") for ring in polygon.interiors]
        number += 1
        listed = "".join(f'<member type="way" ref="{ref}" role="{role}"/>' for ref, role in members)
        relations.write(f'<relation id="{number}">{listed}<tag k="type" v="multipolygon"/>{told}</relation>\n')
    inside = f"{META}{nodes.getvalue()}{ways.getvalue()}{relations.getvalue()}{more}"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<osm version="0.6" generator="test">\n{inside}</osm>\n'.encode()
