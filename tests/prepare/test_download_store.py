"""Archives are downloaded once; a real HTTP server on loopback counts the requests."""

import contextlib
import hashlib
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roadseg.prepare.downloads.download_store import DownloadStore
from roadseg.prepare.fetch.archive import ARCHIVE
from roadseg.prepare.fetch.file_patterns import KITTI
from roadseg.prepare.fetch.source import fetch
from roadseg.system.errors import InputError
from stages import fetch as stage
from tests.factories import LIMITS, ROOT, write_images, write_params
from tests.prepare.http_server import Answer, Server
from tests.prepare.test_download import server, status
from tests.prepare.test_source import SAMPLE, make_zip, tree

__all__ = ["server"]
HUGE = 10**9


@pytest.fixture
def body(server: Server, raw_images: Path, tmp_path: Path) -> bytes:
    """An archive, which the server serves."""
    body = make_zip(raw_images, tmp_path / "data.zip").read_bytes()
    server.answers = [Answer(body=body)]
    return body


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fetch_url(
    url: str, folder: Path, sha256: str | None = None, max_bytes: int = HUGE, **limits: int
) -> dict[str, Any]:
    store = DownloadStore(folder / ".downloads", max_bytes, ARCHIVE)
    limits = replace(LIMITS, **limits)
    return fetch(url, sha256, KITTI, limits, SAMPLE, folder / "raw", store, set())


def archives(folder: Path) -> set[str]:
    return {path.stem for path in (folder / ".downloads").glob("*.zip")}


def test_second_fetch_sends_no_request_and_writes_the_same(
    server: Server, body: bytes, raw_images: Path, tmp_path: Path, capsys
):
    manifest = fetch_url(server.url, tmp_path)
    first = tree(tmp_path / "raw")
    assert first == {**tree(raw_images), "manifest.json": first["manifest.json"]}
    assert "using" not in capsys.readouterr().out
    fetch_url("sample", tmp_path)
    assert tree(tmp_path / "raw") != first
    assert fetch_url(server.url, tmp_path) == manifest
    assert tree(tmp_path / "raw") == first
    assert len(server.requests) == 1
    path = tmp_path / ".downloads" / f"{sha256_of(body)}.zip"
    assert f"using {path}; delete that file to download it again" in capsys.readouterr().out
    path.unlink()
    fetch_url(server.url, tmp_path)
    assert len(server.requests) == 2


def test_archive_with_a_known_hash_is_found_for_any_url(
    server: Server, body: bytes, tmp_path: Path
):
    fetch_url(server.url, tmp_path)
    other = server.url.replace("data.zip", "other.zip")
    manifest = fetch_url(other, tmp_path, sha256=sha256_of(body))
    assert (manifest.source, manifest.sha256) == (other, sha256_of(body))
    assert len(server.requests) == 1
    fetch_url(other, tmp_path)
    assert len(server.requests) == 2


def test_experiment_in_a_copy_uses_the_store_of_the_main_repository(
    server: Server, body: bytes, tmp_path: Path, monkeypatch
):
    paths = ["--params", "params.yaml", "--splits", "splits", "--out", "raw"]
    paths += ["--downloads", ".downloads"]
    main, copy = tmp_path / "main", tmp_path / "copy"
    monkeypatch.setenv("DVC_ROOT", str(main))
    for folder in (main, copy):
        folder.mkdir()
        write_params(folder / "params.yaml", data__source=server.url)
        monkeypatch.chdir(folder)
        stage.main([*paths, "--pipeline", str(ROOT / "dvc.yaml")])
    assert len(server.requests) == 1
    assert tree(copy / "raw") == tree(main / "raw")
    assert archives(main) == {sha256_of(body)}
    assert not (copy / ".downloads").exists()


@pytest.mark.parametrize("sha256", [False, True])
def test_damaged_archive_is_downloaded_again(
    server: Server, body: bytes, tmp_path: Path, capsys, sha256: bool
):
    fetch_url(server.url, tmp_path)
    path = tmp_path / ".downloads" / f"{sha256_of(body)}.zip"
    path.write_bytes(body[:-1] + b"x")
    fetch_url(server.url, tmp_path, sha256_of(body) if sha256 else None)
    assert capsys.readouterr().err == f"fetch: {path} is damaged; downloading it again\n"
    assert len(server.requests) == 2
    assert path.read_bytes() == body


@pytest.mark.parametrize("facts", ["", "[]", '{"sha256": 3}', '{"sha256": "../../data"}'])
def test_damaged_metadata_is_ignored(server: Server, body: bytes, tmp_path: Path, facts: str):
    fetch_url(server.url, tmp_path)
    (path,) = (tmp_path / ".downloads").glob("*.json")
    path.write_text(facts)
    fetch_url(server.url, tmp_path)
    assert len(server.requests) == 2
    assert json.loads(path.read_text())["sha256"] == sha256_of(body)
    assert (tmp_path / "data.zip").exists()


def test_least_recently_used_archives_are_removed_above_the_limit(server: Server, tmp_path: Path):
    urls, sums = [], []
    for number in range(3):
        images = write_images(tmp_path / str(number), num_train=8 + number)
        data = make_zip(images, tmp_path / f"{number}.zip").read_bytes()
        urls.append(server.url.replace("data", str(number)))
        sums.append(sha256_of(data))
        server.answers = [Answer(body=data)]
        fetch_url(urls[number], tmp_path)
    size = sum((tmp_path / f"{number}.zip").stat().st_size for number in range(3))
    foreign = tmp_path / ".downloads" / "mine.zip"
    foreign.write_bytes(b"x" * size)
    fetch_url(urls[0], tmp_path)  # now 1 is the least recently used
    fetch_url(urls[2], tmp_path, max_bytes=size)
    assert archives(tmp_path) == {*sums, "mine"}
    fetch_url(urls[2], tmp_path, max_bytes=size - 1)
    assert archives(tmp_path) == {sums[0], sums[2], "mine"}
    fetch_url(urls[0], tmp_path, max_bytes=1)
    assert archives(tmp_path) == {sums[0], "mine"}
    assert len(server.requests) == 3


def test_interrupted_download_is_resumed(
    server: Server, body: bytes, raw_images: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server.answers = [Answer(body=body, sent=500), status(404)]
    with pytest.raises(InputError, match="answered 404"):
        fetch_url(server.url, tmp_path)
    assert not (tmp_path / "raw").exists()
    server.answers = [Answer(body=body)] * 4
    fetch_url(server.url, tmp_path)
    assert server.requests[-1]["Range"] == "bytes=500-"
    found = tree(tmp_path / "raw")
    assert found == {**tree(raw_images), "manifest.json": found["manifest.json"]}


def test_download_that_was_killed_before_it_was_renamed_is_resumed(
    server: Server, body: bytes, tmp_path: Path, monkeypatch
):
    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr("roadseg.prepare.downloads.download_store.file_sha256", raise_interrupt)
        fetch_url(server.url, tmp_path)
    fetch_url(server.url, tmp_path)
    assert server.requests[-1]["Range"] == f"bytes={len(body)}-"


def raise_interrupt(path: Path) -> str:
    raise KeyboardInterrupt


def test_archive_above_a_limit_is_kept(server: Server, body: bytes, tmp_path: Path):
    with pytest.raises(InputError, match=r"data.max_files allows 2"):
        fetch_url(server.url, tmp_path, files=2)
    fetch_url(server.url, tmp_path)
    with pytest.raises(InputError, match=rf"has {len(body):,} bytes, but data.max"):
        fetch_url(server.url, tmp_path, bytes=9)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("change", "sha256", "message"),
    [
        (lambda body: body, "0" * 64, r"data.sha256: .* expected 0000"),
        (lambda body: body[:-5] + b"12345", None, "{url}: not a complete zip"),
        (lambda body: b"", None, "{url}: not a complete zip"),
    ],
)
def test_damaged_or_wrong_archive_is_not_kept(
    server: Server, body: bytes, tmp_path: Path, change, sha256, message: str
):
    server.answers = [Answer(body=change(body))]
    with pytest.raises(InputError, match=message.format(url=server.url)):
        fetch_url(server.url, tmp_path, sha256)
    assert archives(tmp_path) == set()
    assert not (tmp_path / "raw").exists()


def test_archive_with_another_hash_than_the_hugging_face_hub_states_is_not_kept(
    server: Server, body: bytes, tmp_path: Path
):
    headers = {"Location": "/storage.zip", "X-Linked-ETag": f'"{sha256_of(body)}"'}
    redirect = Answer(status=302, headers=headers, body=b"")
    server.answers = [redirect, Answer(body=body[:-1] + b"x"), redirect, Answer(body=body)]
    with pytest.raises(InputError, match=f"but the server states {sha256_of(body)}"):
        fetch_url(server.url, tmp_path)
    assert archives(tmp_path) == set()
    assert fetch_url(server.url, tmp_path).sha256 == sha256_of(body)


@pytest.mark.slow
def test_second_process_waits_for_the_download_of_the_first(
    server: Server, body: bytes, tmp_path: Path, capsys
):
    server.answers = [Answer(body=body, sent=1000, stall=1.5), Answer(body=body)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".downloads").symlink_to(tmp_path / "shared")
    (tmp_path / "shared").mkdir()
    first = threading.Thread(target=fetch_url, args=(server.url, tmp_path / "a"))
    first.start()
    while not server.requests:
        time.sleep(0.01)
    manifest = fetch_url(server.url, tmp_path / "b")
    first.join()
    assert (
        f"process {os.getpid()} is using {tmp_path}/b/.downloads; waiting"
        in capsys.readouterr().err
    )
    assert [headers.get("Range") for headers in server.requests] == [None, "bytes=1000-"]
    assert manifest.sha256 == sha256_of(body)
    assert tree(tmp_path / "a/raw") == tree(tmp_path / "b/raw")
