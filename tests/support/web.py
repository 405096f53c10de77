"""A small web on loopback: a good page, one that hangs, one that is missing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD = """<html><head><title>The lighthouse of Arvik</title></head><body><article>
<h1>The lighthouse of Arvik</h1>
<p>The lighthouse of Arvik was lit for the first time in 1847 and stands on a rock of granite
in front of the harbour. Its lamp was changed to electricity in 1931.</p>
<p>The tower is 31 metres high and its light is seen from a distance of eighteen sea miles. The
last keeper, Solveig Brandt, left the island in the autumn of 1979.</p>
</article></body></html>"""


@dataclass(frozen=True)
class Web:
    port: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def serve_web() -> Iterator[Web]:
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/hangs":
                closing.wait(60)
                return
            found = self.path == "/good"
            body = GOOD.encode() if found else b"not here"
            self.send_response(200 if found else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Web(server.server_address[1])
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
