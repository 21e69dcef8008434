"""Rerun of the committed pipeline in a clean copy, compared with the committed dvc.lock."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadseg.config.params import load_params
from roadseg.experiments.git import run_git
from roadseg.experiments.lock_file import LOCK, read_lock, stage_inputs
from roadseg.experiments.output_differences import Difference, compare_files
from roadseg.experiments.revisions import hash_files_at_revision, read_at_revision
from roadseg.system.errors import InputError

GUIDE = "docs/pipeline.md#what-repeats-exactly"
_SOURCES = {"fetch": "data.source", "weights": "model.weights"}
"""Stages that read data which no dependency in dvc.yaml describes, and the parameters of these."""
INPUTS = "inputs"
_NOT_WRITTEN = "not written by this run"
RERUN = ("dvc", "repro", "--force", "--no-run-cache", "--no-commit")
_DOWNLOADS = ".downloads"
"""Files that fetch and weights keep; they verify their SHA-256 before they use them again."""


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    stage: str
    name: str
    """Path of an output, path and key of a metric, or INPUTS."""
    difference: Difference | None
    """None: identical bytes."""


@contextlib.contextmanager
def copy_commit(commit: str) -> Iterator[Path]:
    """Yield a temporary clone of the repository in the working directory at `commit`.

    It contains no results but those in Git, no checkpoints and an empty DVC cache. Its path repeats
    that of the repository, so that a relative path such as ../photos.zip in params.yaml can be
    linked inside the temporary directory.

    Raises:
        InputError: Git fails, the working directory is not the root of the repository, or the
            commit has no dvc.lock.
    """
    if above := run_git("rev-parse", "--show-cdup"):
        raise InputError(f"this is not the root of the Git repository; first: cd {above}")
    root = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="roadseg-verify-") as folder:
        copy = Path(folder) / root.relative_to(root.anchor)
        run_git("clone", "--quiet", "--shared", "--no-checkout", str(root), str(copy))
        run_git("checkout", "--quiet", "--detach", commit, folder=copy)
        if not (copy / LOCK).is_file():
            raise InputError(f"{LOCK} is not in commit {commit[:7]}; run dvc repro and commit it")
        try:
            _link_inputs(root, copy, Path(folder))
            yield copy
        except InputError as error:
            raise InputError(str(error).replace(f"{copy}/", "")) from None


def _link_inputs(root: Path, copy: Path, folder: Path) -> None:
    """Link what params.yaml names by a relative path and Git does not have, such as the data.

    No link is made outside of `folder`, which contains `copy`.
    """
    params = load_params(copy / "params.yaml")
    paths = (params.data.source, params.remap.classes, params.split.val_ids_file)
    for name in filter(None, (*paths, params.train.start, params.model.weights_path, _DOWNLOADS)):
        link = Path(os.path.normpath(copy / name))
        is_inside = link.is_relative_to(folder)
        if is_inside and (root / name).exists() and not os.path.lexists(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((root / name).resolve())


def rerun(copy: Path) -> None:
    """Run the stages in `copy`, up to the first that fails, with the output of DVC.

    After an interrupt, the stage that runs is stopped, and ends before this function does.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "DVC_ROOT"} | {"PATH": programs}
    command = [sys.executable, "-m", *RERUN]
    # in a process group of its own, so that SIGTERM to this process stops the stages too
    process = subprocess.Popen(command, cwd=copy, env=environment, process_group=0)
    try:
        process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise
    finally:
        if process.poll() is None:  # interrupted again
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def compare_locks(committed: dict[str, Any], new: dict[str, Any]) -> list[Row]:
    """Compare the inputs and outputs of each stage, in the order of `new`; inputs come first.

    Args:
        committed: content of a dvc.lock.
        new: content of the dvc.lock of the rerun; stages that it lacks have not run.

    Returns:
        One row for each output, and one for each stage whose inputs differ. Inputs are the command,
        the parameters and the files that no stage writes.
    """
    stages, old_stages = new.get("stages", {}), committed.get("stages", {})
    outputs = [Path(out["path"]) for stage in old_stages.values() for out in stage.get("outs", [])]
    rows = []
    for name in [*stages, *(name for name in old_stages if name not in stages)]:
        stage, old = stages.get(name, {}), old_stages.get(name, {})
        inputs, old_inputs = stage_inputs(stage, outputs), stage_inputs(old, outputs)
        changed = [k for k in inputs | old_inputs if inputs.get(k) != old_inputs.get(k)]
        if stage and changed:
            rows.append(Row(name, INPUTS, Difference(0, _shorten(changed))))
        hashes = {out["path"]: out.get("md5") for out in stage.get("outs", [])}
        old_hashes = {out["path"]: out.get("md5") for out in old.get("outs", [])}
        for path in hashes | old_hashes:
            if path not in hashes:
                difference = Difference(0, _NOT_WRITTEN)
            elif path not in old_hashes:
                difference = Difference(0, f"not in the committed {LOCK}")
            else:
                difference = Difference(0)
            same = hashes.get(path) == old_hashes.get(path)
            rows.append(Row(name, path, None if same else difference))
    return rows


def add_details(rows: list[Row], copy: Path, commit: str) -> list[Row]:
    """Compare the contents of the outputs that differ, if Git or DVC has the committed version.

    Returns:
        `rows`, with one more row for each metric that differs.
    """
    detailed = []
    for row in rows:
        new = copy / row.name
        if row.difference is None or row.difference.detail or not new.exists():
            detailed.append(row)
        elif new.is_dir():
            detailed.append(Row(row.stage, row.name, _compare_folders(row.name, new, commit)))
        else:
            for difference in _compare_contents(row.name, new, commit):
                name = f"{row.name}: {difference.metric}" if difference.metric else row.name
                detailed.append(Row(row.stage, name, difference))
    return detailed


def _compare_contents(path: str, new: Path, commit: str) -> list[Difference]:
    with tempfile.TemporaryDirectory() as folder:
        committed = Path(folder) / new.name
        try:
            committed.write_bytes(read_at_revision(path, commit))
            return compare_files(committed, new)
        except InputError as error:
            return [Difference(0, f"values cannot be compared: {error}")]


def _compare_folders(path: str, new: Path, commit: str) -> Difference:
    committed = hash_files_at_revision(path, commit)
    if committed is None:
        return Difference(0, "the list of its committed files is not in DVC's cache")
    files = (file for file in new.rglob("*") if file.is_file())
    hashes = {file.relative_to(new).as_posix(): _md5(file) for file in files}
    names = sorted(n for n in hashes | committed if hashes.get(n) != committed.get(n))
    return Difference(0, f"{len(names)} of {len(hashes | committed)} files: {_shorten(names)}")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest()


def find_first_difference(rows: list[Row]) -> str | None:
    """Describe the first stage that differs, the metrics and the likely cause, or return None."""
    first = next((row for row in rows if row.difference), None)
    if first is None or first.difference is None:
        return None
    of_stage = [row for row in rows if row.stage == first.stage]
    names = _shorten([row.name for row in of_stage if row.difference and not row.difference.metric])
    if first.name == INPUTS:
        names = f"{INPUTS}: {first.difference.detail}"
        output = next((row for row in rows if row.difference and row.name != INPUTS), None)
        found = f"first output: {output.name}" if output else "all outputs are identical"
        cause = (
            f"{found}; {LOCK} was committed with other inputs: run dvc repro and commit the results"
        )
    elif first.difference.detail == _NOT_WRITTEN:
        cause = "the stage did not run or failed; see its message above"
    elif first.stage == "plan":
        cause = "train.minutes or batch_size: auto was measured again; commit the measured numbers"
    elif first.stage in _SOURCES:
        source = _SOURCES[first.stage]
        cause = f"its code and parameters are the same, so the data of {source} have changed"
    else:
        cause = (
            "its inputs are the same, so the processor, the number of threads or the version of a "
            f"package differs: see {GUIDE}"
        )
    metrics = [row.difference.digits for row in rows if row.difference and row.difference.metric]
    digits = [f"metrics {Difference(min(d for d in metrics if d is not None))}"] if metrics else []
    return "; ".join([f"first stage that differs: {first.stage} ({names})", *digits, cause])


def _shorten(names: list[str]) -> str:
    return ", ".join([*names[:3], *([f"and {len(names) - 3} more"] if len(names) > 3 else [])])


def verify(commit: str) -> list[Row]:
    """Rerun the pipeline of `commit` in a copy, which is removed at the end, also after Ctrl-C.

    Returns:
        The rows of the report.

    Raises:
        InputError: a command of Git fails, or the commit has no valid dvc.lock.
    """
    with copy_commit(commit) as copy:
        lock = copy / LOCK
        committed = read_lock(lock)
        lock.unlink()  # else DVC would keep the entries of stages that do not run
        rerun(copy)
        new = read_lock(lock) if lock.exists() else {}
        return add_details(compare_locks(committed, new), copy, commit)
