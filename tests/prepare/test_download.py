"""Downloads from a real HTTP server on loopback that misbehaves."""

import email.utils
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import urllib3

from roadseg.prepare.fetch.download import ATTEMPTS, Session, download
from roadseg.system.errors import InputError
from tests.prepare.http_server import BODY, Answer, Server, serving

WHOLE, CUT = Answer(), Answer(sent=1000)
OTHER = Answer(body=BODY[::-1] + b"x", tag='"v2"')
OTHER = replace(OTHER, body=b"PK" + OTHER.body)


def moved(target: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": target}, body=b"")


def busy(status: int, **headers: str) -> Answer:
    return Answer(status=status, headers=headers, body=b"")


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as running:
        yield running


def got(server: Server, folder: Path, limit: int = 10**6) -> bytes:
    path = folder / "got.zip"
    download(server.url, path, limit, pause=0.001, timeout=(5.0, 0.5))
    assert sorted(p.name for p in folder.iterdir()) == ["got.zip", "got.zip.json"]
    return path.read_bytes()


ARRIVES = {
    "at once": ([WHOLE], 1),
    "without a length": ([Answer(length=None)], 1),
    "closed early": ([CUT, WHOLE], 2),
    "closed early again and again": ([CUT, Answer(sent=2000), Answer(sent=1), CUT, WHOLE], 5),
    "another part of many digits": (
        [CUT, Answer(content_range=f"bytes 1000-{'9' * 5000}/{'9' * 5000}"), WHOLE],
        3,
    ),
    "closed before a byte": ([Answer(sent=0), WHOLE], 2),
    "silence": ([Answer(sent=1000, stall=2), WHOLE], 2),
    "silence before the body": ([Answer(sent=0, stall=2), WHOLE], 2),
    "too much": ([Answer(body=BODY + b"more", length=str(len(BODY)))], 1),
    "length of more": ([Answer(length=str(len(BODY) + 5)), WHOLE], 2),
    "a range is ignored": ([CUT, Answer(ranges=False)], 2),
    "another file meanwhile": ([CUT, OTHER], 2),
    "another file, and ranges all the same": ([CUT, Answer(status=206), WHOLE], 3),
    "another place than asked": ([CUT, Answer(content_range="bytes 5-9/10242"), WHOLE], 3),
    "a range of nonsense": ([CUT, Answer(content_range="bytes"), WHOLE], 3),
    "no tag": ([replace(CUT, tag=None), Answer(tag=None)], 2),
    "a weak tag": ([replace(CUT, tag='W/"1"'), Answer(tag='W/"1"')], 2),
    "a shorter file, range beyond": ([Answer(sent=9000), busy(416), WHOLE], 3),
    "408": ([busy(408), WHOLE], 2),
    "425": ([busy(425), WHOLE], 2),
    "429": ([busy(429), WHOLE], 2),
    "500": ([busy(500), CUT, busy(500), WHOLE], 4),
    "502": ([busy(502), WHOLE], 2),
    "503": ([busy(503), WHOLE], 2),
    "504": ([busy(504), WHOLE], 2),
    "503 and wait": ([busy(503, **{"Retry-After": "0"}), WHOLE], 2),
    "503 and a date": (
        [busy(503, **{"Retry-After": email.utils.formatdate(0, usegmt=True)}), WHOLE], 2
    ),
    "503 and nonsense": ([busy(503, **{"Retry-After": "soon"}), WHOLE], 2),
    "301": ([moved("/moved.zip", 301), WHOLE], 2),
    "302 to another host": ([moved("{url}", 302), WHOLE], 2),
    "307": ([moved("../x", 307), WHOLE], 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", ARRIVES)
def test_what_is_served_arrives_whole(server: Server, tmp_path: Path, kind: str):
    answers, requests = ARRIVES[kind]
    for answer in answers:
        if answer.headers.get("Location") == "{url}":
            answer.headers["Location"] = server.url.replace("127.0.0.1", "localhost")
    server.answers = answers
    assert got(server, tmp_path) == answers[-1].body[: len(answers[-1].body)][:20_000].removesuffix(
        b"more"
    )
    assert len(server.asked) == requests


def test_only_what_is_missing_is_asked_for(server: Server, tmp_path: Path):
    server.answers = [CUT, Answer(sent=500), WHOLE]
    assert got(server, tmp_path) == BODY
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert [asked.get("If-Range") for asked in server.asked] == [None, '"v1"', '"v1"']
    assert {asked["Accept-Encoding"] for asked in server.asked} == {"identity"}


def test_a_date_tells_versions_apart_where_there_is_no_tag(server: Server, tmp_path: Path):
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    dated = Answer(tag=None, headers={"Last-Modified": date})
    server.answers = [replace(dated, sent=1000), dated]
    assert got(server, tmp_path) == BODY
    assert server.asked[1]["If-Range"] == date


STAYS_AWAY = {
    "400": ([busy(400)], "the server answers 400; check the URL", 1),
    "401": ([busy(401)], "the server answers 401: permission denied", 1),
    "403": ([busy(403)], "the server answers 403: permission denied", 1),
    "404": ([busy(404)], "the server answers 404; check the URL", 1),
    "410": ([busy(410)], "the server answers 410; check the URL", 1),
    "204": ([busy(204)], "the server answers 204; check the URL", 1),
    "304": ([busy(304)], "the server answers 304; check the URL", 1),
    "416 at once": ([busy(416)], "the server answers 416; check the URL", 1),
    "500 again and again": ([busy(500)], f"failed {ATTEMPTS} times, .* answers 500", ATTEMPTS),
    "503 again and again": ([busy(503)], f"failed {ATTEMPTS} times, .* answers 503", ATTEMPTS),
    "closed early": ([CUT], f"failed {ATTEMPTS} times, .*; check the network and the proxy", None),
    "silence": ([Answer(sent=0, stall=2)], "failed 5 times, .*timed out", ATTEMPTS),
    "a page": (
        [Answer(body=b"<html>log in</html>", headers={"Content-Type": "text/html"})],
        "the server sent text/html, not a zip archive; download the zip in a browser", 1,
    ),
    "nothing at all": ([Answer(body=b"")], None, None),
    "more than allowed": ([Answer(body=BODY * 100)], "has 1,024,200 bytes, but data.max", 1),
    "more than allowed, unsaid": (
        [Answer(body=BODY * 100, length=None)], "has more bytes, but data.max_gigabytes", 1
    ),
    "a length beyond all disks": ([Answer(length="9" * 18)], "data.max_gig", 1),
    "a redirect to a file": (
        [moved("file:///etc/passwd")],
        "No connection adapters were found", 1,
    ),
    "a redirect to ftp": (
        [moved("ftp://127.0.0.1/x")],
        "No connection adapters were found", 1,
    ),
    "a redirect to data": (
        [moved("data:,PK")], "No connection adapters were found", 1
    ),
    "redirects in a circle": (
        [moved("/data.zip")], "Exceeded 10 redirects", 11,
    ),
    "a redirect to no address": (
        [moved("http://[::1/x")], "cannot be downloaded: Invalid IPv6 URL", 1
    ),
    "a redirect to odd signs": (
        [moved("http://a\xe2\x84\x80b/x")], "cannot be downloaded", None
    ),
    "a wait of many digits": ([busy(503, **{"Retry-After": "9" * 5000})], "cannot be", 1),
    "a wait until no year": (
        [busy(503, **{"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"})], "503|cannot be", None
    ),
    "another part each time": (
        [CUT, Answer(content_range="bytes 5-6/7")] * 20, "failed 5 times", None
    ),
    "a redirect to nowhere": (
        [moved("http://")], "cannot be downloaded", None
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", STAYS_AWAY)
def test_what_does_not_arrive_is_never_taken_for_whole(server: Server, tmp_path: Path, kind: str):
    server.answers, message, requests = STAYS_AWAY[kind]
    old = tmp_path / "got.zip"
    if message is None:
        download(server.url, old, 10**6, pause=0.001)  # an empty file is whole; no zip, says unpack
        assert old.read_bytes() == b""
        return
    with pytest.raises(InputError, match=message) as caught:
        download(server.url, old, 10**6, pause=0.001, timeout=(5.0, 0.3))
    assert str(caught.value).startswith(server.url)
    assert "\n" not in str(caught.value)
    assert requests in (None, len(server.asked))
    assert not old.exists()


@pytest.mark.parametrize("target", ["http://example.invalid/a.zip", "HTTP://x.invalid/a.zip"])
def test_https_is_never_redirected_to_http(target: str):
    response = requests.Response()
    response.url, response.status_code = "https://example.invalid/a.zip", 302
    response.raw = urllib3.HTTPResponse()
    response.headers["Location"] = target
    with pytest.raises(InputError, match=r"redirects from https to .*refused"):
        Session().get_redirect_target(response)
    for allowed in ("https://elsewhere.invalid/a.zip", "//elsewhere.invalid/a.zip", "/b.zip"):
        response.headers["Location"] = allowed
        assert Session().get_redirect_target(response) == allowed


def test_a_redirects_body_is_not_read(server: Server, tmp_path: Path):
    endless = replace(moved("/data.zip"), body=bytes(50 << 20))
    server.answers = [endless, WHOLE]
    tracemalloc.start()
    assert got(server, tmp_path) == BODY
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_first_byte_alone_is_waited_with(tmp_path: Path, server):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            connection, _ = listening.accept()
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nP")
            time.sleep(0.2)
            connection.sendall(b"K and more")
            connection.close()

        threading.Thread(target=talk, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.zip"
        download(url, tmp_path / "got.zip", 10**6, pause=0.001)
    assert (tmp_path / "got.zip").read_bytes() == b"PK and more"


def test_a_whole_is_used_again_if_the_server_still_has_it(server: Server, tmp_path: Path):
    assert got(server, tmp_path) == BODY
    assert got(server, tmp_path) == BODY
    assert server.asked[-1]["Range"] == f"bytes={len(BODY)}-"
    server.answers = [OTHER]
    assert got(server, tmp_path) == OTHER.body


def test_the_next_run_goes_on_where_this_one_ended(server: Server, tmp_path: Path):
    server.answers = [CUT, busy(404)]
    with pytest.raises(InputError):
        got(server, tmp_path)
    assert (tmp_path / "got.zip.part").stat().st_size == 1000
    server.answers = [WHOLE] * 4
    assert got(server, tmp_path) == BODY
    assert server.asked[-1]["Range"] == "bytes=1000-"


def test_a_part_that_lacks_nothing_is_the_whole(server: Server, tmp_path: Path):
    server.answers = [CUT, busy(404)]
    with pytest.raises(InputError):
        got(server, tmp_path)
    (tmp_path / "got.zip.part").write_bytes(BODY)
    server.answers = [WHOLE] * 4
    assert got(server, tmp_path) == BODY
    assert server.asked[-1]["Range"] == f"bytes={len(BODY)}-"


@pytest.mark.parametrize("facts", [None, "", "[]", '{"sha256": 3}'])
def test_a_part_of_something_else_is_not_used(server: Server, tmp_path: Path, facts: str | None):
    (tmp_path / "got.zip.part").write_bytes(b"PK of another archive")
    if facts is not None:
        (tmp_path / "got.zip.json").write_text(facts)
    assert got(server, tmp_path) == BODY
    assert "Range" not in server.asked[0]


def test_a_server_that_is_not_there_is_named(server: Server, tmp_path: Path):
    server.server_close()
    with pytest.raises(
        InputError, match=rf"{server.url}: failed 5 times, .*refused; check the net"
    ):
        got(server, tmp_path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://nowhere.invalid/a.zip", "check the network and the proxy"),
        ("http://[::1/a.zip", "cannot be downloaded"),
        ("http:///a.zip", "cannot be downloaded"),
        ("http://a..b/a.zip", "cannot be downloaded|check the network"),
        ("http://127.0.0.1:99999/a.zip", "cannot be downloaded"),
        ("http://\u2764" + "x" * 80 + "/a.zip", "cannot be downloaded|check the network"),
    ],
)
def test_an_address_that_is_none_is_named(tmp_path: Path, url: str, message: str, server):
    with pytest.raises(InputError, match=message) as caught:
        download(url, tmp_path / "got.zip", 10**6, pause=0.001)
    assert str(caught.value).startswith(url)


def test_a_proxy_is_used_and_named_when_it_is_not_there(server: Server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/data.zip"))
    monkeypatch.setenv("no_proxy", "")
    download("http://example.invalid/x.zip", tmp_path / "got.zip", 10**6, pause=0.001)
    assert (tmp_path / "got.zip").read_bytes() == BODY
    assert server.paths == ["http://example.invalid/x.zip"]
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=r"x.zip: failed 5 times, .*refused.*\(HTTPS_PROXY\)"):
        download("http://example.invalid/x.zip", tmp_path / "b.zip", 10**6, pause=0.001)


def test_a_server_that_speaks_no_http_is_named(tmp_path: Path, server):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            for _ in range(ATTEMPTS):
                connection, _ = listening.accept()
                connection.sendall(b"220 ready\r\n")
                connection.close()

        threading.Thread(target=talk, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.zip"
        with pytest.raises(InputError, match=re.escape(url)):
            download(url, tmp_path / "got.zip", 10**6, pause=0.001)
