"""Versions of a model in Git's tags, as docs/remotes.md describes, and `dvc artifacts get`."""

from pathlib import Path

import pytest

from tests.dvc_repository import commit, copy_finished, succeeds

MODEL = "models/best.safetensors"


def test_version_and_stage_select_the_model(
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@localhost")
    repository = copy_finished(tmp_path_factory, worker_id, tmp_path / "repository")
    succeeds(repository, "dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    commit(repository, "remote")
    succeeds(repository, "gto", "register", "unet", "--version", "v1.0.0")
    succeeds(repository, "gto", "assign", "unet", "--version", "v1.0.0", "--stage", "prod")
    first = (repository / MODEL).read_bytes()

    second = first[:-1] + bytes([first[-1] ^ 1])
    (repository / MODEL).unlink()
    (repository / MODEL).write_bytes(second)
    succeeds(repository, "dvc", "commit", "--force", "train")
    succeeds(repository, "dvc", "exp", "save", "--name", "better")
    succeeds(repository, "dvc", "exp", "branch", "better", "release")
    succeeds(repository, "gto", "register", "unet", "release", "--version", "v1.1.0")
    succeeds(repository, "dvc", "push", "--all-tags")

    def downloaded(*options: str) -> bytes:
        command = ("dvc", "artifacts", "get", str(repository), "unet", "--force", "--out", "model")
        succeeds(tmp_path, *command, *options)
        return (tmp_path / "model").read_bytes()

    assert downloaded() == second
    assert downloaded("--rev", "v1.0.0") == first
    assert downloaded("--stage", "prod") == first
