"""Kill dvc or its trainer in a real repository: the next run resumes and ends in the same lock."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dvc_repository import SMALL, commit, copy_finished, environment, run, succeeds
from tests.factories import write_params

REPRO = ("dvc", "repro", "train")  # later stages are not interrupted here


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A repository in which all stages before train have run."""
    interrupted = tmp_path_factory.mktemp("interrupted") / "repository"
    folder = copy_finished(tmp_path_factory, worker_id, interrupted)
    write_params(folder / "params.yaml", **SMALL, train__epochs=12, resume__minutes=0)
    succeeds(folder, "dvc", "repro", "split")
    commit(folder, "data")
    return folder


def delete_trainings(folder: Path) -> None:
    """Delete all results, checkpoints and cached runs of train."""
    for path in (".ckpt", ".dvc/cache/runs", "models"):
        shutil.rmtree(folder / path, ignore_errors=True)
    succeeds(folder, "git", "reset", "-q", "--hard")


@pytest.fixture(scope="module")
def undisturbed(prepared: Path) -> dict[str, bytes]:
    """Results of an uninterrupted run."""
    succeeds(prepared, *REPRO)
    return {name: (prepared / name).read_bytes() for name in ("dvc.lock", "metrics/train.json")}


@pytest.fixture
def undisturbed_lock(undisturbed: dict[str, bytes]) -> bytes:
    return undisturbed["dvc.lock"]


@pytest.fixture
def repository(prepared: Path, undisturbed_lock: bytes) -> Iterator[Path]:
    delete_trainings(prepared)
    yield prepared
    run(prepared, "dvc", "queue", "stop", "--kill")


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start `command` in a session of its own, so that only the test signals it."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], object], describe: Callable[[], str] = str) -> None:
    """Wait two minutes at most, then fail with the message that `describe` returns."""
    deadline = time.monotonic() + 120
    while True:
        start = time.monotonic()
        if condition():
            return
        assert start < deadline, describe()
        time.sleep(0.02 + 3 * (time.monotonic() - start))  # dvc takes a second of processor time


def wait_for_training(folder: Path) -> int:
    """Wait until the trainer has made some steps, and return its process id."""
    wait_until(
        lambda: [*folder.glob(".ckpt/*/state_*[5-9]-*"), *folder.glob(".ckpt/*/epoch_*")],
        describe=lambda: succeeds(folder, "dvc", "queue", "status"),
    )
    (lock,) = folder.glob(".ckpt/*/lock")
    return int(lock.read_text().split()[1])


def file_of(folder: Path, experiment: str, path: str) -> bytes:
    """Content of a file in the commit of a finished experiment."""
    refs = succeeds(folder, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (ref,) = (ref for ref in refs if ref.endswith(f"/{experiment}"))
    return succeeds(folder, "git", "show", f"{ref}:{path}").encode()


def test_trainer_of_a_killed_dvc_ends_before_the_next_one_starts(
    repository: Path, undisturbed_lock: bytes
):
    first = start(repository, *REPRO)
    trainer = wait_for_training(repository)
    os.kill(trainer, signal.SIGSTOP)  # so that it cannot notice the death of dvc yet
    first.kill()
    first.wait()  # otherwise its process id would look alive to the second dvc
    states = set(repository.glob(".ckpt/*/state_*"))
    second = start(repository, *REPRO)
    message = next((line for line in second.stderr if "waiting" in line), "")
    assert f"train: process {trainer} still writes models; waiting until it ends" in message
    assert set(repository.glob(".ckpt/*/state_*")) == states
    os.kill(trainer, signal.SIGCONT)
    first.communicate(timeout=60)  # with an error if its outs were deleted while it wrote them
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    newest = max(int(path.name.split("_")[1].split("-")[0]) for path in states)
    # state 1 is that of step 0; the first trainer may have failed before it saved another
    assert int(re.search(r"resuming after step (\d+) ", out)[1]) >= newest - 1
    assert (repository / "dvc.lock").read_bytes() == undisturbed_lock


def test_killed_experiment_in_a_copy_resumes(repository: Path, undisturbed_lock: bytes):
    command = ("dvc", "exp", "run", "--temp", "-n", "copy", "train")
    first = start(repository, *command)
    wait_for_training(repository)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert "resuming after step" in succeeds(repository, *command)
    assert file_of(repository, "copy", "dvc.lock") == undisturbed_lock


def test_killed_task_resumes_when_it_is_queued_again(
    repository: Path, undisturbed: dict[str, bytes]
):
    """The commands of docs/sweeps.md."""

    def queue_and_start() -> None:
        succeeds(repository, "dvc", "exp", "run", "--queue", "-n", "task", "train")
        # no pipe: the worker would keep it open as long as it runs
        command, nowhere = ("dvc", "queue", "start"), subprocess.DEVNULL
        subprocess.run(
            command, cwd=repository, env=environment(), stdout=nowhere, stderr=nowhere, check=True
        )

    def status() -> str:
        return succeeds(repository, "dvc", "queue", "status")

    queue_and_start()
    os.kill(wait_for_training(repository), signal.SIGKILL)
    wait_until(lambda: "Failed" in status(), describe=status)
    succeeds(repository, "dvc", "queue", "remove", "--failed")
    queue_and_start()
    wait_until(lambda: "Success" in status(), describe=status)
    assert "resuming after step" in succeeds(repository, "dvc", "queue", "logs", "task")
    for path, content in undisturbed.items():
        assert file_of(repository, "task", path) == content
