"""A server for tests, in a process of its own: one file, by parts, for those who know user and password.

Arguments: the file, and `user:password`; empty for an open one. The port is printed first.
"""

from __future__ import annotations

import base64
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DATA = Path(sys.argv[1]).read_bytes()
WANTED = f"Basic {base64.b64encode(sys.argv[2].encode()).decode()}" if sys.argv[2] else None


class Locked(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != WANTED or not self.path.endswith(Path(sys.argv[1]).name):
            self.send_error(401 if self.headers.get("Authorization") != WANTED else 404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), min(int(asked[2]), len(DATA) - 1)) if asked else (0, len(DATA) - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(DATA[first : last + 1])

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Locked)
print(server.server_port, flush=True)
server.serve_forever()
