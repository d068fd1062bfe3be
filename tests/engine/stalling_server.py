"""A server, in a process of its own, that sends the first bytes of a file, and then nothing more until it is told to.

It is no thread of the tests: rasterio holds Python's lock while it looks for files beside an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from faults import FORKS


@dataclass
class Stalling:
    """Its GDAL path; `stalls` is set once somebody waits for what it does not send, until `goes_on` is."""

    path: str
    stalls: Event
    goes_on: Event


@contextmanager
def stalling(file: Path, served: int) -> Iterator[Stalling]:
    """Serve a file; ranges that begin from byte `served` on have to wait."""
    ports, there = FORKS.Pipe()
    stalls, goes_on = FORKS.Event(), FORKS.Event()
    process = FORKS.Process(target=_serve, args=(file, served, there, stalls, goes_on), daemon=True)
    process.start()
    try:
        yield Stalling(f"/vsicurl/http://127.0.0.1:{ports.recv()}/{file.name}", stalls, goes_on)
    finally:
        process.kill()
        process.join()


def _serve(file: Path, served: int, ports: Connection, stalls: Event, goes_on: Event) -> None:
    content = file.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if self.path != f"/{file.name}":
                self.send_error(404)
                return
            first, last = 0, len(content) - 1
            if given := self.headers.get("Range"):
                begin, end = given.removeprefix("bytes=").split("-")
                first, last = int(begin), min(int(end or last), last)
            if first >= served:
                stalls.set()
                goes_on.wait()
            part = content[first : last + 1]
            self.send_response(206 if given else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(part)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ports.send(server.server_port)
        server.serve_forever()
