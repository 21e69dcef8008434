"""Archives are downloaded once, from a real HTTP server on loopback that counts its requests."""

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

from roadseg.prepare.fetch.download_store import DownloadStore
from roadseg.prepare.fetch.file_patterns import KITTI
from roadseg.prepare.fetch.source import fetch
from roadseg.system.errors import InputError
from stages import fetch as stage
from tests.factories import LIMITS, ROOT, write_images, write_params
from tests.prepare.http_server import Answer, Server
from tests.prepare.test_download import busy, server
from tests.prepare.test_source import SAMPLE, tree, zipped

__all__ = ["server"]
HUGE = 10**9


@pytest.fixture
def body(server: Server, raw_images: Path, tmp_path: Path) -> bytes:
    """An archive, which the server serves."""
    body = zipped(raw_images, tmp_path / "data.zip").read_bytes()
    server.answers = [Answer(body=body)]
    return body


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fetched(
    url: str, folder: Path, sha256: str | None = None, max_bytes: int = HUGE, **limits: int
) -> dict[str, Any]:
    store = DownloadStore(folder / ".downloads", max_bytes)
    limits = replace(LIMITS, **limits)
    return fetch(url, sha256, KITTI, limits, SAMPLE, folder / "raw", store, set())


def archives(folder: Path) -> set[str]:
    return {path.stem for path in (folder / ".downloads").glob("*.zip")}


def test_a_second_fetch_sends_no_request_and_writes_the_same(
    server: Server, body: bytes, raw_images: Path, tmp_path: Path, capsys
):
    manifest = fetched(server.url, tmp_path)
    first = tree(tmp_path / "raw")
    assert first == {**tree(raw_images), "manifest.json": first["manifest.json"]}
    assert "using" not in capsys.readouterr().out
    fetched("sample", tmp_path)
    assert tree(tmp_path / "raw") != first
    assert fetched(server.url, tmp_path) == manifest
    assert tree(tmp_path / "raw") == first
    assert len(server.asked) == 1
    path = tmp_path / ".downloads" / f"{sha256_of(body)}.zip"
    assert f"using {path}; delete that file to download it again" in capsys.readouterr().out
    path.unlink()
    fetched(server.url, tmp_path)
    assert len(server.asked) == 2


def test_a_known_hash_is_found_whatever_the_url(server: Server, body: bytes, tmp_path: Path):
    fetched(server.url, tmp_path)
    other = server.url.replace("data.zip", "other.zip")
    manifest = fetched(other, tmp_path, sha256=sha256_of(body))
    assert (manifest.source, manifest.sha256) == (other, sha256_of(body))
    assert len(server.asked) == 1
    fetched(other, tmp_path)
    assert len(server.asked) == 2


def test_an_experiment_in_a_copy_uses_the_store_of_the_main_repository(
    server: Server, body: bytes, tmp_path: Path, monkeypatch
):
    paths = ["--params", "params.yaml", "--out", "raw", "--downloads", ".downloads"]
    main, copy = tmp_path / "main", tmp_path / "copy"
    monkeypatch.setenv("DVC_ROOT", str(main))
    for folder in (main, copy):
        folder.mkdir()
        write_params(folder / "params.yaml", data__source=server.url)
        monkeypatch.chdir(folder)
        stage.main([*paths, "--pipeline", str(ROOT / "dvc.yaml")])
    assert len(server.asked) == 1
    assert tree(copy / "raw") == tree(main / "raw")
    assert archives(main) == {sha256_of(body)}
    assert not (copy / ".downloads").exists()


@pytest.mark.parametrize("sha256", [False, True])
def test_a_damaged_archive_is_removed_and_downloaded_again(
    server: Server, body: bytes, tmp_path: Path, capsys, sha256: bool
):
    fetched(server.url, tmp_path)
    path = tmp_path / ".downloads" / f"{sha256_of(body)}.zip"
    path.write_bytes(body[:-1] + b"x")
    fetched(server.url, tmp_path, sha256_of(body) if sha256 else None)
    assert capsys.readouterr().err == f"fetch: {path} is damaged; downloading it again\n"
    assert len(server.asked) == 2
    assert path.read_bytes() == body


@pytest.mark.parametrize("facts", ["", "[]", '{"sha256": 3}', '{"sha256": "../../data"}'])
def test_damaged_facts_name_no_archive(server: Server, body: bytes, tmp_path: Path, facts: str):
    fetched(server.url, tmp_path)
    (path,) = (tmp_path / ".downloads").glob("*.json")
    path.write_text(facts)
    fetched(server.url, tmp_path)
    assert len(server.asked) == 2
    assert json.loads(path.read_text())["sha256"] == sha256_of(body)
    assert (tmp_path / "data.zip").exists()


def test_the_least_recently_used_archives_are_removed_beyond_the_limit(
    server: Server, tmp_path: Path
):
    urls, sums = [], []
    for number in range(3):
        pictures = write_images(tmp_path / str(number), num_train=8 + number)
        data = zipped(pictures, tmp_path / f"{number}.zip").read_bytes()
        urls.append(server.url.replace("data", str(number)))
        sums.append(sha256_of(data))
        server.answers = [Answer(body=data)]
        fetched(urls[number], tmp_path)
    size = sum((tmp_path / f"{number}.zip").stat().st_size for number in range(3))
    foreign = tmp_path / ".downloads" / "mine.zip"
    foreign.write_bytes(b"x" * size)
    fetched(urls[0], tmp_path)  # now 1 is the one that was not used for the longest time
    fetched(urls[2], tmp_path, max_bytes=size)
    assert archives(tmp_path) == {*sums, "mine"}
    fetched(urls[2], tmp_path, max_bytes=size - 1)
    assert archives(tmp_path) == {sums[0], sums[2], "mine"}
    fetched(urls[0], tmp_path, max_bytes=1)
    assert archives(tmp_path) == {sums[0], "mine"}
    assert len(server.asked) == 3


def test_a_download_that_broke_off_is_resumed(
    server: Server, body: bytes, raw_images: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server.answers = [Answer(body=body, sent=500), busy(404)]
    with pytest.raises(InputError, match="answers 404"):
        fetched(server.url, tmp_path)
    assert not (tmp_path / "raw").exists()
    server.answers = [Answer(body=body)] * 4
    fetched(server.url, tmp_path)
    assert server.asked[-1]["Range"] == "bytes=500-"
    found = tree(tmp_path / "raw")
    assert found == {**tree(raw_images), "manifest.json": found["manifest.json"]}


def test_a_download_that_was_killed_before_it_was_named_is_resumed(
    server: Server, body: bytes, tmp_path: Path, monkeypatch
):
    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr("roadseg.prepare.fetch.download_store.file_sha256", interrupted)
        fetched(server.url, tmp_path)
    fetched(server.url, tmp_path)
    assert server.asked[-1]["Range"] == f"bytes={len(body)}-"


def interrupted(path: Path) -> str:
    raise KeyboardInterrupt


def test_an_archive_that_is_refused_by_a_limit_is_kept(server: Server, body: bytes, tmp_path: Path):
    with pytest.raises(InputError, match=r"data.max_files allows 2"):
        fetched(server.url, tmp_path, files=2)
    fetched(server.url, tmp_path)
    with pytest.raises(InputError, match=rf"has {len(body):,} bytes, but data.max"):
        fetched(server.url, tmp_path, bytes=9)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("change", "sha256", "message"),
    [
        (lambda body: body, "0" * 64, r"data.sha256: .* expected 0000"),
        (lambda body: body[:-5] + b"12345", None, "{url}: not a whole zip"),
        (lambda body: b"", None, "{url}: not a whole zip"),
    ],
)
def test_what_is_not_the_right_archive_is_not_kept(
    server: Server, body: bytes, tmp_path: Path, change, sha256, message: str
):
    server.answers = [Answer(body=change(body))]
    with pytest.raises(InputError, match=message.format(url=server.url)):
        fetched(server.url, tmp_path, sha256)
    assert archives(tmp_path) == set()
    assert not (tmp_path / "raw").exists()


def test_a_second_process_waits_and_uses_what_the_first_has_downloaded(
    server: Server, body: bytes, tmp_path: Path, capsys
):
    server.answers = [Answer(body=body, sent=1000, stall=1.5), Answer(body=body)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".downloads").symlink_to(tmp_path / "shared")
    (tmp_path / "shared").mkdir()
    first = threading.Thread(target=fetched, args=(server.url, tmp_path / "a"))
    first.start()
    while not server.asked:
        time.sleep(0.01)
    manifest = fetched(server.url, tmp_path / "b")
    first.join()
    assert f"process {os.getpid()} uses {tmp_path}/b/.downloads; waiting" in capsys.readouterr().err
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=1000-"]
    assert manifest.sha256 == sha256_of(body)
    assert tree(tmp_path / "a/raw") == tree(tmp_path / "b/raw")
