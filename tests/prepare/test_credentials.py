"""User name, password and query of a URL are sent to the server and shown or recorded nowhere."""

import base64
import socket
import time
from pathlib import Path

import pytest
import requests
import urllib3

from roadseg.prepare.downloads.download import Session, download, hide_credentials
from roadseg.prepare.downloads.download_store import DownloadStore
from roadseg.prepare.fetch.archive import ARCHIVE
from roadseg.prepare.fetch.file_patterns import KITTI
from roadseg.prepare.fetch.manifest import read_manifest
from roadseg.prepare.fetch.source import fetch
from roadseg.system.errors import InputError
from tests.factories import LIMITS, write_params
from tests.prepare.http_server import Answer, Server
from tests.prepare.test_download import redirect, server, status
from tests.prepare.test_source import SAMPLE, make_zip
from tests.stage_runner import run_stage

__all__ = ["server"]
SECRETS = ("alice", "s3cret", "t0ken", "fr4gment")
BASIC = "Basic " + base64.b64encode(b"alice:s3cret").decode()


def with_secrets(url: str) -> str:
    scheme, rest = url.split("://")
    return f"{scheme}://alice:s3cret@{rest}?token=t0ken&id=7#fr4gment"


def require_no_secrets(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


def test_no_file_and_no_line_of_check_and_fetch_contains_credentials(
    server: Server, raw_images: Path, tmp_path: Path, capfd
):
    """The other stages know the source from the manifest only."""
    folder = tmp_path / "repository"
    folder.mkdir()
    server.answers = [Answer(body=make_zip(raw_images, tmp_path / "data.zip").read_bytes())]
    params = write_params(folder / "params.yaml", data__source=with_secrets(server.url))
    for stage in ("check", "fetch", "fetch"):
        run_stage(stage, folder)
    assert [headers["Authorization"] for headers in server.requests] == [
        BASIC
    ]  # the second finds it
    assert server.paths == ["/data.zip?token=t0ken&id=7"]
    files = [path for path in folder.rglob("*") if path.is_file() and path != params]
    assert {"manifest.json", "lock"} <= {path.name for path in files}
    for path in files:
        require_no_secrets(path.name)
        require_no_secrets(path.read_bytes().decode("latin-1"))
    for printed in capfd.readouterr():
        require_no_secrets(printed)
    assert read_manifest(folder / "data/raw").source == server.url


FAILURES: dict[str, tuple[list[Answer], str]] = {
    "status": ([status(404)], "{url}: the server answered 404"),
    "denied": ([status(403)], "{url}: the server answered 403"),
    "busy": ([status(503)], "{url}: failed 5 times"),
    "closed early": ([Answer(sent=1000)], "{url}: failed 5 times"),
    "no length": ([Answer(sent=0, stall=2)], "{url}: failed 5 times"),
    "not a zip": ([Answer(body=b"<html>")], "{url}: the server sent"),
    "too large": ([Answer(length="9" * 12)], "{url}: has"),
    "redirects in a circle": ([redirect("/?token=t0ken")], "{url}: cannot be downloaded: Exc"),
    "redirect to ftp": ([redirect("ftp://alice:s3cret@a/b?t0ken")], "No connection adapters"),
    "redirect to an invalid URL": ([redirect("http://alice:s3cret@[::1/b?t0ken")], "Invalid IPv6"),
    "redirect to an invalid port": ([redirect("http://a:s3cret/b?t0ken")], "cannot be downloaded"),
    "redirect to odd characters": (
        [redirect("http://alice:s3cret@a\xe2\x84\x80b/x")], "cannot be downloaded"
    ),
    "redirect to no host": ([redirect("http://alice:s3cret@/b?t0ken")], "cannot be downloaded"),
    "redirect to an unknown host": ([redirect("http://alice:s3cret@x.invalid/b?t0ken")], "{url}: "),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILURES)
def test_no_error_of_a_download_contains_credentials(server: Server, tmp_path: Path, capfd, kind):
    server.answers, message = FAILURES[kind]
    path = tmp_path / "a.zip"
    with pytest.raises(InputError) as caught:
        download(with_secrets(server.url), path, 10**6, ARCHIVE, pause=0.001, timeout=(5.0, 0.3))
    require_no_secrets(str(caught.value))
    assert message.format(url=server.url) in str(caught.value)
    for printed in (
        *capfd.readouterr(),
        *(p.read_bytes().decode("latin-1") for p in tmp_path.iterdir()),
    ):
        require_no_secrets(printed)


@pytest.mark.parametrize(
    "url",
    [
        "http://alice:s3cret@[::1/a.zip?t0ken",
        "http://alice:s3cret@/a.zip?t0ken",
        "http:///a.zip?t0ken",
        "http://alice:s3cret@a..b/a.zip?t0ken",
        "http://alice:s3cret@127.0.0.1:99999/a.zip?t0ken",
        "http://alice:s3cret@127.0.0.1:t0ken/a.zip",
        "http://user:/s3cret@127.0.0.1/a.zip",
        "http://alice:x/s3cret@127.0.0.1/a.zip",
        "http://alice:x#s3cret@127.0.0.1/a.zip",
        "http://alice:x?s3cret@127.0.0.1/a.zip",
        "http://alice:s3 cret@127.0.0.1:1/a.zip",
        "http://alice:s3cret\u2764@127.0.0.1:1/a.zip",
        "http://alice:s3cret@\u2764" + "x" * 80 + "/a.zip",
        "http://alice:s3cret@a\u2100b/a.zip",
        "HTTP://alice:s3cret@127.0.0.1:1/a.zip",
        "htp://alice:s3cret@127.0.0.1/a.zip?t0ken",
        "ftp://alice:s3cret@127.0.0.1/a.zip?t0ken",
    ],
)
def test_no_error_of_an_invalid_url_contains_credentials(
    server: Server, tmp_path: Path, monkeypatch, capfd, url: str
):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_lookup)
    store = DownloadStore(tmp_path / ".downloads", 10**6, ARCHIVE)
    with pytest.raises(InputError) as caught:
        fetch(url, None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", store, set())
    for text in (str(caught.value), *capfd.readouterr()):
        require_no_secrets(text.replace("s3 cret", "s3cret"))


def refuse_lookup(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_errors_of_an_archive_name_its_url_without_credentials(
    server: Server, raw_images: Path, tmp_path: Path
):
    (raw_images / "training/semantic/000001_10.png").unlink()
    server.answers = [Answer(body=make_zip(raw_images, tmp_path / "data.zip").read_bytes())]
    store = DownloadStore(tmp_path / ".downloads", 10**6, ARCHIVE)
    arguments = KITTI, LIMITS, SAMPLE, tmp_path / "raw", store, set()
    for sha256, message in ((None, "000001_10.png has no mask"), ("0" * 64, "data.sha256: ")):
        with pytest.raises(InputError, match=message) as caught:
            fetch(with_secrets(server.url), sha256, *arguments)
        assert server.url in str(caught.value)
        require_no_secrets(str(caught.value))


def test_insecure_redirect_is_refused_without_credentials():
    response = requests.Response()
    response.raw = urllib3.HTTPResponse()
    response.url, response.status_code = with_secrets("https://a.invalid/a.zip"), 302
    response.headers["Location"] = with_secrets("http://b.invalid/b.zip")
    with pytest.raises(InputError) as caught:
        Session().get_redirect_target(response)
    message = "https://a.invalid/a.zip: insecure redirect from https to 'http://b.invalid/b.zip'"
    assert str(caught.value) == message


def test_credentials_can_come_from_a_netrc_file(server: Server, tmp_path: Path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login alice password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    download(server.url, tmp_path / "a.zip", 10**6, ARCHIVE, pause=0.001)
    assert server.requests[0]["Authorization"] == BASIC


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("sample", "sample"),
        ("data/a?b@c#d.zip", "data/a?b@c#d.zip"),
        ("https://host/a.zip", "https://host/a.zip"),
        ("https://host:8080/@v1/a@b.zip", "https://host:8080/@v1/a@b.zip"),
        ("https://u@host?x", "https://host"),
        ("https://u:p@q@host:1/a.zip#x?y", "https://host:1/a.zip"),
        ("HTTPS://u:p@[::1]:8080/a.zip?x", "HTTPS://[::1]:8080/a.zip"),
        ("https://user:p/q@host/a.zip", "https://..."),
    ],
)
def test_hidden_parts_of_a_url(source: str, shown: str):
    assert hide_credentials(source) == shown
