"""As much of a Hugging Face server as publishing and getting bundles asks for."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """A running server.

    Args:
        url: its address.
        files: content by ``OWNER/NAME/FILE``.
        asked: method, path and authorization of each request so far.
        head: the commit that a new one must name as its parent, if it names one.
        told: the commit that is said to be the last one; None: ``head``.
        sent_on: address that a file's request is sent on to, by ``OWNER/NAME/FILE``.
    """

    url: str
    sent_on: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    head: str = "0" * 40
    told: str | None = None


@contextmanager
def hub() -> Iterator[Hub]:
    """Run the server for as long as the context is open."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            pass

        def answer(self, content: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                content = b""
                while size := int(self.rfile.readline(), 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return content
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def note(self) -> str:
            running.asked.append((self.command, self.path, self.headers.get("Authorization")))
            return self.path.split("?")[0]

        def do_GET(self) -> None:
            path = self.note()
            if path.startswith("/api/models/"):
                repository = "/".join(path.split("/")[3:5])
                known = [name for name in running.files if name.startswith(f"{repository}/")]
                siblings = [{"rfilename": name.removeprefix(f"{repository}/")} for name in known]
                self.answer(
                    json.dumps(
                        {"id": repository, "sha": running.told or running.head, "siblings": siblings}
                    ).encode()
                )
                return
            name = path.lstrip("/").replace("/resolve/main", "")
            if name in running.sent_on:
                self.send_response(302)
                self.send_header("Location", running.sent_on[name])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = running.files.get(name)
            self.answer(content if content is not None else b"{}", 200 if content is not None else 404)

        def do_POST(self) -> None:
            path, content = self.note(), self.body()
            if path == "/api/repos/create":
                wanted = json.loads(content)
                name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
                self.answer(json.dumps({"url": f"{running.url}/{name}", "id": name}).encode())
            elif path.endswith("/preupload/main"):
                files = json.loads(content)["files"]
                rows = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                    for f in files
                ]
                self.answer(json.dumps({"files": rows}).encode())
            elif path.endswith("/commit/main"):
                repository = "/".join(path.split("/")[3:5])
                rows = [json.loads(line) for line in content.splitlines()]
                header = next(row["value"] for row in rows if row["key"] == "header")
                if header.get("parentCommit", running.head) != running.head:
                    self.answer(b'{"error": "a commit has happened since"}', 412)
                    return
                for row in rows:
                    if row["key"] == "file":
                        name = f"{repository}/{row['value']['path']}"
                        running.files[name] = base64.b64decode(row["value"]["content"])
                done = {
                    "success": True,
                    "commitOid": running.head,
                    "commitUrl": f"{running.url}/{repository}/commit/0",
                }
                self.answer(json.dumps(done).encode())
            else:
                self.answer(b"{}", 404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
