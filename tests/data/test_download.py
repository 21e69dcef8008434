"""A real HTTP server on loopback that misbehaves."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from src.data.download import ATTEMPTS, download
from src.files import InputError

BODY = bytes(range(256)) * 40


class Server(HTTPServer):
    """Answers the n-th request with the n-th of `answers`, the last one again and again."""

    answers: tuple[str, ...] = ("whole",)
    requests = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        answers = self.server.answers
        answer = answers[min(self.server.requests, len(answers) - 1)]
        self.server.requests += 1
        if answer.isdecimal():
            self.send_response(int(answer))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        if answer != "no length":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000] if answer == "breaks off" else BODY)

    def log_message(self, *args: object) -> None:
        """Say nothing on the test's terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/data.zip"


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        (("whole",), 1),
        (("no length",), 1),
        (("breaks off", "breaks off", "whole"), 3),
        (("503", "whole"), 2),
        (("500", "breaks off", "429", "whole"), 4),
    ],
)
def test_what_is_served_arrives_whole(server, tmp_path, answers, requests):
    server.answers = answers
    download(url(server), tmp_path / "got.zip", pause=0.001)
    assert (tmp_path / "got.zip").read_bytes() == BODY
    assert server.requests == requests


@pytest.mark.parametrize(
    ("answers", "message", "requests"),
    [
        (("404",), "the server answers 404", 1),
        (("breaks off",), f"broke off {ATTEMPTS} times", ATTEMPTS),
        (("503",), "cannot be reached: too many 503 error responses", ATTEMPTS),
    ],
)
def test_what_does_not_arrive_leaves_nothing(server, tmp_path: Path, answers, message, requests):
    server.answers = answers
    old = tmp_path / "got.zip"
    old.write_bytes(b"old")
    with pytest.raises(InputError, match=message) as caught:
        download(url(server), old, pause=0.001)
    assert url(server) in str(caught.value)
    assert server.requests == requests
    assert [path.name for path in tmp_path.iterdir()] == ["got.zip"]
    assert old.read_bytes() == b"old"


def test_a_server_that_is_not_there_is_named(server, tmp_path):
    address = url(server)
    server.server_close()
    with pytest.raises(InputError, match=f"{address}: cannot be reached: .*refused"):
        download(address, tmp_path / "got.zip", pause=0.001)
