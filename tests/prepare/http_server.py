"""A real HTTP server on loopback that misbehaves on request."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = b"PK" + bytes(range(256)) * 40


@dataclass
class Answer:
    """The answer to one request."""

    status: int | None = None
    """None: 200, or 206 if a range is requested and `ranges` is set."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = BODY
    sent: int | None = None
    """Bytes after which the connection is closed; None: all."""
    ranges: bool = True
    length: str | None = "right"
    """Content-Length: right, a number, or None for no header."""
    tag: str | None = '"v1"'
    stall: float = 0.0
    """Seconds without data at the end."""
    content_range: str | None = None
    """Content-Range instead of the right one."""


class Server(ThreadingHTTPServer):
    """Answers request n with `answers`[n], and further requests with the last of them."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer | Callable[[dict[str, str]], Answer]] = [Answer()]
        self.requests: list[dict[str, str]] = []
        """Headers of each request."""
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data.zip"

    def handle_error(self, *_: object) -> None:
        """Print nothing if a client disconnects."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        number = min(len(self.server.requests), len(self.server.answers) - 1)
        answer = self.server.answers[number]
        self.server.requests.append(dict(self.headers))
        self.server.paths.append(self.path)
        body, status, headers = answer.body, answer.status or 200, dict(answer.headers)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, answer.tag)
        if answer.status is None and wanted and answer.ranges and same:
            start = int(wanted[1])
            status = 206 if start < len(body) else 416
            place = f"{start}-{len(body) - 1}" if start < len(body) else "*"
            headers["Content-Range"] = answer.content_range or f"bytes {place}/{len(body)}"
            body = body[start:]
        self.send_response(status)
        if answer.tag:
            headers["ETag"] = answer.tag
        if answer.length:
            headers["Content-Length"] = (
                str(len(body)) if answer.length == "right" else answer.length
            )
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: answer.sent])
        self.wfile.flush()
        time.sleep(answer.stall)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()
