"""One clone pushes, another pulls all results, and no stage runs again."""

import filecmp
import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.dvc_repository import (
    commit,
    copy_finished,
    environment,
    results,
    run,
    stages_run,
    succeeds,
)
from tests.remotes.servers import Store, needs_sshd, s3_store, ssh_store

MODEL = "models/best.safetensors"
SERVERS = {"s3": s3_store, "ssh": ssh_store}


@pytest.fixture(scope="module", params=["s3", pytest.param("ssh", marks=needs_sshd)])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as store:
        yield store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    return copy_finished(tmp_path_factory, worker_id, tmp_path_factory.mktemp("remotes") / "repo")


@pytest.fixture(scope="module")
def pusher(finished: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished repository that has pushed its results."""
    folder = add_remote(finished, store, tmp_path_factory.mktemp("pusher") / "repo")
    succeeds(folder, "dvc", "push")
    return folder


def add_remote(finished: Path, store: Store, folder: Path) -> Path:
    """Copy a repository and commit the settings of the remote."""
    shutil.copytree(finished, folder, symlinks=True)
    store.add_to(folder)
    store.add_secrets(folder)
    commit(folder, "store")
    return folder


def clone_repository(origin: Path, folder: Path, store: Store, **secrets: str) -> Path:
    succeeds(origin, "git", "clone", "-q", str(origin), str(folder))
    store.add_secrets(folder, **secrets)
    return folder


def dvc_files(folder: Path) -> dict[str, bytes]:
    """Results that are not in git."""
    listed = succeeds(folder, "git", "ls-files").splitlines()
    return {name: data for name, data in results(folder).items() if name not in listed}


def pushed_object(store: Store, path: Path) -> Path:
    """The file in which the server keeps the content of `path`."""
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    return store.objects / digest[:2] / digest[2:]


def test_second_clone_pulls_everything_and_runs_no_stage(
    pusher: Path, store: Store, tmp_path: Path
):
    clone = clone_repository(pusher, tmp_path / "clone", store)
    succeeds(clone, "dvc", "pull")
    theirs = results(pusher)
    for lock in ("models/epochs.lock", "data/.prepared.lock"):  # no outs
        theirs.pop(lock)
    assert results(clone) == theirs
    assert {MODEL, "data/split.json", "plots/predictions/hardest.png"} < set(theirs)
    assert "up to date" in succeeds(clone, "dvc", "status")
    assert stages_run(succeeds(clone, "dvc", "repro")) == []
    assert results(clone) == theirs
    assert succeeds(clone, "git", "status", "--porcelain") == ""
    assert not [name for name in store.secrets if name in (clone / ".dvc/config").read_text()]


@pytest.mark.parametrize("store", ["s3"], indirect=True)  # only S3 has them
def test_multipart_transfer_keeps_the_content(
    pusher: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """DVC splits files above 50 MiB, such as the default network's weights."""
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")  # docs/remotes.md
    large = pusher / "large"
    large.write_bytes(np.random.default_rng(0).bytes(50 * 2**20 + 1))
    succeeds(pusher, "dvc", "add", "-q", "large")
    succeeds(pusher, "dvc", "push", "large.dvc")
    clone = clone_repository(pusher, tmp_path / "clone", store)
    shutil.copy(pusher / "large.dvc", clone)
    succeeds(clone, "dvc", "pull", "large.dvc")
    assert filecmp.cmp(clone / "large", large, shallow=False)


@pytest.mark.parametrize("store", ["s3"], indirect=True)  # DVC does the same for each remote
def test_damaged_objects_are_not_checked_out(pusher: Path, store: Store, tmp_path: Path):
    model = pushed_object(store, pusher / MODEL)
    image = pushed_object(store, next((pusher / "data/prepared/images").iterdir()))
    whole = {path: path.read_bytes() for path in (model, image)}
    for path in whole:
        path.chmod(0o600)
    model.write_bytes(whole[model][:5000] + b"?" + whole[model][5001:])
    image.write_bytes(whole[image][:-1])
    clone = clone_repository(pusher, tmp_path / "clone", store)
    result = run(clone, "dvc", "pull")
    assert result.returncode == 1
    assert "Checkout failed" in result.stderr
    assert MODEL in result.stderr
    assert "data/prepared" in result.stderr
    for name, data in dvc_files(clone).items():
        assert data == (pusher / name).read_bytes(), name
    assert not (clone / MODEL).exists()
    for path, data in whole.items():
        path.write_bytes(data)
    succeeds(clone, "dvc", "pull")
    assert dvc_files(clone).items() <= dvc_files(pusher).items()
    assert "up to date" in succeeds(clone, "dvc", "status")


def test_wrong_secrets_give_no_access(pusher: Path, store: Store, tmp_path: Path):
    clone = clone_repository(pusher, tmp_path / "clone", store, **store.wrong)
    result = run(clone, "dvc", "pull")
    assert result.returncode == 1
    assert "failed to connect" in result.stderr
    assert dvc_files(clone) == {}
    pushed = set(store.objects.rglob("*"))
    store.add_secrets(pusher, **store.wrong)
    assert run(pusher, "dvc", "push").returncode != 0
    store.add_secrets(pusher)
    assert set(store.objects.rglob("*")) == pushed


def test_killed_push_is_completed_by_the_next(finished: Path, store: Store, tmp_path: Path):
    shutil.rmtree(store.objects, ignore_errors=True)
    pusher = add_remote(finished, store, tmp_path / "pusher")  # DVC remembers what it has pushed
    push = subprocess.Popen(
        ["dvc", "push", "-j", "1"],
        cwd=pusher,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(store.objects.glob("*/*"))) < 5:
        assert push.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    push.kill()
    assert push.wait() == -9
    clone = clone_repository(pusher, tmp_path / "clone", store)
    assert run(clone, "dvc", "pull").returncode == 1
    for name, data in dvc_files(clone).items():
        assert data == (pusher / name).read_bytes(), name
    assert "pushed" in succeeds(pusher, "dvc", "push")
    succeeds(clone, "dvc", "pull")
    assert stages_run(succeeds(clone, "dvc", "repro")) == []
