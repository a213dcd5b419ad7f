"""A web server on the loopback that serves a folder, knows byte ranges, and breaks in the ways servers
break."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Web:
    """A running server.

    Args:
        url: its address, with a slash at the end.
        asked: path and Range header of each request so far.
        tokens: their Authorization headers.
        cut_at: bytes after which the next answers break off, one an answer; empty for whole answers.
        ranges: whether it knows byte ranges.
        hold: answers wait while it is cleared.
    """

    url: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    cut_at: list[int] = field(default_factory=list)
    ranges: bool = True
    hold: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(folder: Path) -> Iterator[Web]:
    """Serve a folder for as long as the context is open."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            web.asked.append((self.path, wanted))
            web.tokens.append(self.headers.get("Authorization"))
            web.hold.wait(20)
            file = folder / self.path.lstrip("/")
            if not file.is_file():
                self.send_error(404, "not here")
                return
            content = file.read_bytes()
            start = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted and web.ranges else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            whole = content[start:]
            cut = web.cut_at.pop(0) if web.cut_at and file.suffix == ".zip" else len(whole)
            self.wfile.write(whole[:cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_address[1]}/")
    web.hold.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
