"""Downloads from a real, misbehaving HTTP server on loopback."""

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

from roadseg.prepare.downloads.download import ATTEMPTS, Session, download
from roadseg.prepare.fetch.archive import ARCHIVE
from roadseg.system.errors import InputError
from tests.prepare.http_server import BODY, Answer, Server, serving

WHOLE, CUT = Answer(), Answer(sent=1000)
OTHER = Answer(body=BODY[::-1] + b"x", tag='"v2"')
OTHER = replace(OTHER, body=b"PK" + OTHER.body)


def redirect(target: str, code: int = 302) -> Answer:
    return Answer(status=code, headers={"Location": target}, body=b"")


def status(code: int, **headers: str) -> Answer:
    return Answer(status=code, headers=headers, body=b"")


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as running:
        yield running


def fetch_bytes(server: Server, folder: Path, limit: int = 10**6) -> bytes:
    path = folder / "got.zip"
    download(server.url, path, limit, ARCHIVE, pause=0.001, timeout=(5.0, 0.5))
    assert sorted(p.name for p in folder.iterdir()) == ["got.zip", "got.zip.json"]
    return path.read_bytes()


COMPLETE = {
    "at once": ([WHOLE], 1),
    "without a length": ([Answer(length=None)], 1),
    "closed early": ([CUT, WHOLE], 2),
    "closed early again and again": ([CUT, Answer(sent=2000), Answer(sent=1), CUT, WHOLE], 5),
    "another range of many digits": (
        [CUT, Answer(content_range=f"bytes 1000-{'9' * 5000}/{'9' * 5000}"), WHOLE],
        3,
    ),
    "closed before a byte": ([Answer(sent=0), WHOLE], 2),
    "silence": ([Answer(sent=1000, stall=2), WHOLE], 2),
    "silence before the body": ([Answer(sent=0, stall=2), WHOLE], 2),
    "too much": ([Answer(body=BODY + b"more", length=str(len(BODY)))], 1),
    "length of more": ([Answer(length=str(len(BODY) + 5)), WHOLE], 2),
    "ranges are ignored": ([CUT, Answer(ranges=False)], 2),
    "another version": ([CUT, OTHER], 2),
    "another version, and the wrong status": ([CUT, Answer(status=206), WHOLE], 3),
    "another range than requested": ([CUT, Answer(content_range="bytes 5-9/10242"), WHOLE], 3),
    "an invalid range": ([CUT, Answer(content_range="bytes"), WHOLE], 3),
    "no tag": ([replace(CUT, tag=None), Answer(tag=None)], 2),
    "a weak tag": ([replace(CUT, tag='W/"1"'), Answer(tag='W/"1"')], 2),
    "a shorter file, range beyond": ([Answer(sent=9000), status(416), WHOLE], 3),
    "408": ([status(408), WHOLE], 2),
    "425": ([status(425), WHOLE], 2),
    "429": ([status(429), WHOLE], 2),
    "500": ([status(500), CUT, status(500), WHOLE], 4),
    "502": ([status(502), WHOLE], 2),
    "503": ([status(503), WHOLE], 2),
    "504": ([status(504), WHOLE], 2),
    "503 and wait": ([status(503, **{"Retry-After": "0"}), WHOLE], 2),
    "503 and a date": (
        [status(503, **{"Retry-After": email.utils.formatdate(0, usegmt=True)}), WHOLE], 2
    ),
    "503 and an invalid date": ([status(503, **{"Retry-After": "soon"}), WHOLE], 2),
    "301": ([redirect("/moved.zip", 301), WHOLE], 2),
    "302 to another host": ([redirect("{url}", 302), WHOLE], 2),
    "307": ([redirect("../x", 307), WHOLE], 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", COMPLETE)
def test_download_is_complete(server: Server, tmp_path: Path, kind: str):
    answers, requests = COMPLETE[kind]
    for answer in answers:
        if answer.headers.get("Location") == "{url}":
            answer.headers["Location"] = server.url.replace("127.0.0.1", "localhost")
    server.answers = answers
    assert fetch_bytes(server, tmp_path) == answers[-1].body.removesuffix(b"more")
    assert len(server.requests) == requests


def test_interruptions_after_progress_do_not_add_up(server: Server, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("roadseg.prepare.downloads.download.PROGRESS", 1000)
    server.answers = [CUT] * (ATTEMPTS + 2) + [WHOLE]
    assert fetch_bytes(server, tmp_path) == BODY


def test_wait_is_that_of_the_server_up_to_five_minutes(server: Server, tmp_path: Path, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("roadseg.prepare.downloads.download.time.sleep", waits.append)
    server.answers = [status(503, **{"Retry-After": text}) for text in ("7", "9999")] + [WHOLE]
    assert fetch_bytes(server, tmp_path) == BODY
    assert [wait for wait in waits if wait] == [7, 300]  # the server itself sleeps for 0 s


def test_resumed_download_requests_only_missing_bytes(server: Server, tmp_path: Path):
    server.answers = [CUT, Answer(sent=500), WHOLE]
    assert fetch_bytes(server, tmp_path) == BODY
    assert [headers.get("Range") for headers in server.requests] == [
        None,
        "bytes=1000-",
        "bytes=1500-",
    ]
    assert [headers.get("If-Range") for headers in server.requests] == [None, '"v1"', '"v1"']
    assert {headers["Accept-Encoding"] for headers in server.requests} == {"identity"}


def test_date_identifies_the_version_if_there_is_no_etag(server: Server, tmp_path: Path):
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    dated = Answer(tag=None, headers={"Last-Modified": date})
    server.answers = [replace(dated, sent=1000), dated]
    assert fetch_bytes(server, tmp_path) == BODY
    assert server.requests[1]["If-Range"] == date


FAILED = {
    "400": ([status(400)], "the server answered 400; check the URL", 1),
    "401": ([status(401)], "the server answered 401, permission denied", 1),
    "403": ([status(403)], "the server answered 403, permission denied", 1),
    "404": ([status(404)], "the server answered 404; check the URL", 1),
    "410": ([status(410)], "the server answered 410; check the URL", 1),
    "204": ([status(204)], "the server answered 204; check the URL", 1),
    "304": ([status(304)], "the server answered 304; check the URL", 1),
    "416 at once": ([status(416)], "the server answered 416; check the URL", 1),
    "500 again and again": ([status(500)], f"failed {ATTEMPTS} times, .* answered 500", ATTEMPTS),
    "503 again and again": ([status(503)], f"failed {ATTEMPTS} times, .* answered 503", ATTEMPTS),
    "closed early": ([CUT], f"failed {ATTEMPTS} times, .*; check the network and the proxy", None),
    "silence": ([Answer(sent=0, stall=2)], "failed 5 times, .*timed out", ATTEMPTS),
    "a page": (
        [Answer(body=b"<html>log in</html>", headers={"Content-Type": "text/html"})],
        "sent text/html, not a zip or tar archive; download the file in a browser", 1,
    ),
    "nothing at all": ([Answer(body=b"")], None, None),
    "more than allowed": ([Answer(body=BODY * 100)], "has 1,024,200 bytes, but data.max", 1),
    "more than allowed, without a length": (
        [Answer(body=BODY * 100, length=None)], "has more bytes, but data.max_gigabytes", 1
    ),
    "a length beyond all disks": ([Answer(length="9" * 18)], "data.max_gig", 1),
    "a redirect to a file": (
        [redirect("file:///etc/passwd")],
        "No connection adapters were found", 1,
    ),
    "a redirect to ftp": (
        [redirect("ftp://127.0.0.1/x")],
        "No connection adapters were found", 1,
    ),
    "a redirect to data": (
        [redirect("data:,PK")], "No connection adapters were found", 1
    ),
    "redirects in a circle": (
        [redirect("/data.zip")], "Exceeded 10 redirects", 11,
    ),
    "a redirect to an invalid URL": (
        [redirect("http://[::1/x")], "cannot be downloaded: Invalid IPv6 URL", 1
    ),
    "a redirect to a host with odd characters": (
        [redirect("http://a\xe2\x84\x80b/x")], "cannot be downloaded", None
    ),
    "a wait of many digits": ([status(503, **{"Retry-After": "9" * 5000})], "cannot be", 1),
    "a wait until the year 99999": (
        [status(503, **{"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"})], "503|cannot be", None
    ),
    "another range each time": (
        [CUT, Answer(content_range="bytes 5-6/7")] * 20, "failed 5 times", None
    ),
    "a redirect to nowhere": (
        [redirect("http://")], "cannot be downloaded", None
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILED)
def test_failed_download_names_the_url_and_leaves_no_file(
    server: Server, tmp_path: Path, kind: str
):
    server.answers, message, requests = FAILED[kind]
    old = tmp_path / "got.zip"
    if message is None:
        download(server.url, old, 10**6, ARCHIVE, pause=0.001)  # complete; unpack refuses it
        assert old.read_bytes() == b""
        return
    with pytest.raises(InputError, match=message) as caught:
        download(server.url, old, 10**6, ARCHIVE, pause=0.001, timeout=(5.0, 0.3))
    assert str(caught.value).startswith(server.url)
    assert "\n" not in str(caught.value)
    assert requests in (None, len(server.requests))
    assert not old.exists()


@pytest.mark.parametrize("target", ["http://example.invalid/a.zip", "HTTP://x.invalid/a.zip"])
def test_redirect_from_https_to_http_is_refused(target: str):
    response = requests.Response()
    response.url, response.status_code = "https://example.invalid/a.zip", 302
    response.raw = urllib3.HTTPResponse()
    response.headers["Location"] = target
    with pytest.raises(InputError, match=r"insecure redirect from https to"):
        Session().get_redirect_target(response)
    for allowed in ("https://elsewhere.invalid/a.zip", "//elsewhere.invalid/a.zip", "/b.zip"):
        response.headers["Location"] = allowed
        assert Session().get_redirect_target(response) == allowed


def test_body_of_a_redirect_is_not_read(server: Server, tmp_path: Path):
    endless = replace(redirect("/data.zip"), body=bytes(50 << 20))
    server.answers = [endless, WHOLE]
    tracemalloc.start()
    assert fetch_bytes(server, tmp_path) == BODY
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_zip_signature_that_arrives_in_two_pieces_is_accepted(tmp_path: Path, server):
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
        download(url, tmp_path / "got.zip", 10**6, ARCHIVE, pause=0.001)
    assert (tmp_path / "got.zip").read_bytes() == b"PK and more"


def test_complete_file_is_reused_if_the_server_has_the_same_version(server: Server, tmp_path: Path):
    assert fetch_bytes(server, tmp_path) == BODY
    assert fetch_bytes(server, tmp_path) == BODY
    assert server.requests[-1]["Range"] == f"bytes={len(BODY)}-"
    server.answers = [OTHER]
    assert fetch_bytes(server, tmp_path) == OTHER.body


def test_next_run_resumes_the_download(server: Server, tmp_path: Path):
    server.answers = [CUT, status(404)]
    with pytest.raises(InputError):
        fetch_bytes(server, tmp_path)
    assert (tmp_path / "got.zip.part").stat().st_size == 1000
    server.answers = [WHOLE] * 4
    assert fetch_bytes(server, tmp_path) == BODY
    assert server.requests[-1]["Range"] == "bytes=1000-"


def test_part_file_with_all_bytes_is_accepted(server: Server, tmp_path: Path):
    server.answers = [CUT, status(404)]
    with pytest.raises(InputError):
        fetch_bytes(server, tmp_path)
    (tmp_path / "got.zip.part").write_bytes(BODY)
    server.answers = [WHOLE] * 4
    assert fetch_bytes(server, tmp_path) == BODY
    assert server.requests[-1]["Range"] == f"bytes={len(BODY)}-"


@pytest.mark.parametrize("facts", [None, "", "[]", '{"sha256": 3}'])
def test_part_file_of_another_archive_is_discarded(
    server: Server, tmp_path: Path, facts: str | None
):
    (tmp_path / "got.zip.part").write_bytes(b"PK of another archive")
    if facts is not None:
        (tmp_path / "got.zip.json").write_text(facts)
    assert fetch_bytes(server, tmp_path) == BODY
    assert "Range" not in server.requests[0]


def test_unreachable_server_is_named(server: Server, tmp_path: Path):
    server.server_close()
    with pytest.raises(
        InputError, match=rf"{server.url}: failed 5 times, .*refused; check the net"
    ):
        fetch_bytes(server, tmp_path)


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
def test_invalid_url_is_named(tmp_path: Path, url: str, message: str, server):
    with pytest.raises(InputError, match=message) as caught:
        download(url, tmp_path / "got.zip", 10**6, ARCHIVE, pause=0.001)
    assert str(caught.value).startswith(url)


def test_proxy_is_used_and_mentioned_if_it_is_unreachable(server: Server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/data.zip"))
    monkeypatch.setenv("no_proxy", "")
    download("http://example.invalid/x.zip", tmp_path / "got.zip", 10**6, ARCHIVE, pause=0.001)
    assert (tmp_path / "got.zip").read_bytes() == BODY
    assert server.paths == ["http://example.invalid/x.zip"]
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=r"x.zip: failed 5 times, .*refused.*\(HTTPS_PROXY\)"):
        download("http://example.invalid/x.zip", tmp_path / "b.zip", 10**6, ARCHIVE, pause=0.001)


def test_server_of_another_protocol_is_named(tmp_path: Path, server):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            for _ in range(ATTEMPTS):
                connection, _ = listening.accept()
                connection.sendall(b"220 ready\r\n")
                connection.close()

        threading.Thread(target=talk, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.zip"
        with pytest.raises(InputError, match=re.escape(url)):
            download(url, tmp_path / "got.zip", 10**6, ARCHIVE, pause=0.001)
