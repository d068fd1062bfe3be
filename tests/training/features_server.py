"""A service of OGC API Features for tests, in a process of its own: GDAL holds Python's lock while it reads.

Arguments: a GeoJSON file of features in WGS 84, a key that each address must hold (empty for none), and perhaps the
collection's name. The port is printed first. It answers two features at a time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

FEATURES = json.loads(Path(sys.argv[1]).read_text())["features"]
KEY, NAME = (*sys.argv[2:], "parcels")[:2]
PAGE = 2


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        address, host = urlsplit(self.path), f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        if KEY and not address.path.startswith(f"/{KEY}"):
            self.send_error(403)
            return
        root, asked = f"{host}/{KEY}".rstrip("/"), parse_qs(address.query)
        collection = {
            "id": NAME, "title": NAME, "itemType": "feature",
            "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}},
            "links": [{"rel": "items", "type": "application/geo+json", "href": f"{root}/collections/{NAME}/items"}],
        }  # fmt: skip
        if address.path.endswith("/items"):
            answer = items(root, asked)
        elif address.path.endswith(f"/{NAME}"):
            answer = collection
        elif address.path.endswith("/collections"):
            answer = {"collections": [collection], "links": []}
        else:
            answer = {"links": [{"rel": "data", "type": "application/json", "href": f"{root}/collections"}]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/geo+json" if "features" in answer else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def points(coordinates: list[Any]) -> Iterator[list[float]]:
    if isinstance(coordinates[0], float):
        yield coordinates
    else:
        for part in coordinates:
            yield from points(part)


def items(root: str, asked: dict[str, list[str]]) -> dict[str, Any]:
    start, found = int(asked.get("offset", ["0"])[0]), FEATURES
    if "bbox" in asked:
        left, bottom, right, top = map(float, asked["bbox"][0].split(","))
        found = [
            each for each in FEATURES
            if any(left <= x <= right and bottom <= y <= top for x, y in points(each["geometry"]["coordinates"]))
        ]  # fmt: skip
    links = []
    if start + PAGE < len(found):
        query = urlencode({**{name: values[0] for name, values in asked.items()}, "offset": start + PAGE})
        href = f"{root}/collections/{NAME}/items?{query}"
        links = [{"rel": "next", "type": "application/geo+json", "href": href}]
    return {"type": "FeatureCollection", "features": found[start : start + PAGE], "links": links}


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
