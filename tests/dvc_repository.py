"""A small repository with this working tree's files, and the real dvc in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import ROOT, write_params
from tests.shared_folder import make_once

STAGES = [
    "check",
    "fetch",
    "remap",
    "split",
    "weights",
    "plan",
    "train",
    "evaluate",
    "render",
    "card",
]
SMALL = {
    "sample__num_train": 8,
    "sample__num_test": 2,
    "sample__height": 36,
    "sample__width": 64,
    "render__num_pictures": 2,
    "model__kernels": "torch",  # numba would compile the others in each new repository, for 4 s
}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run `command` with this environment's programs, as the Makefile does."""
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {key: v for key, v in os.environ.items() if key != "DVC_ROOT"} | {"PATH": path}


def succeeds(folder: Path, *command: str) -> str:
    """Run `command`, assert that it succeeds, and return its standard output."""
    result = run(folder, *command)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def stages_run(output: str) -> list[str]:
    return [name for name in STAGES if f"Running stage '{name}'" in output]


def create_repository(folder: Path, **params: object) -> Path:
    """This working tree's files and small parameters, committed; no stage has run."""
    copy_working_tree(folder)
    (folder / "dvc.lock").unlink(missing_ok=True)
    write_params(folder / "params.yaml", **{**SMALL, **params})
    commit(folder, "start")
    return folder


def copy_finished(factory: pytest.TempPathFactory, worker_id: str, folder: Path) -> Path:
    """Copy the repository of `create_repository` in which the pipeline has run, committed."""
    finished = make_once(factory, worker_id, "finished", run_pipeline)
    return shutil.copytree(finished, folder, symlinks=True)


def run_pipeline(folder: Path) -> None:
    """Create a repository at `folder`, run the pipeline and commit its results."""
    create_repository(folder)
    assert stages_run(succeeds(folder, "dvc", "repro")) == STAGES
    commit(folder, "run")


def copy_working_tree(folder: Path) -> None:
    """Copy the files of this working tree that Git does not ignore."""
    names = succeeds(ROOT, "git", "ls-files", "-co", "--exclude-standard").splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def commit(folder: Path, message: str) -> None:
    if not (folder / ".git").exists():
        succeeds(folder, "git", "init", "-q", "-b", "main")
    succeeds(folder, "git", "add", "-A")
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    succeeds(folder, "git", *identity, "commit", "-q", "--no-verify", "-m", message)


def results(folder: Path) -> dict[str, bytes]:
    """Content of every file that stages write, and of dvc.lock if it exists."""
    files = list(folder.glob("dvc.lock"))
    for name in ("data", "models", "metrics", "plots"):
        files += [path for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
