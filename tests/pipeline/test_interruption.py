"""dvc and its trainer killed in a real repository: the next run goes on, to the same dvc.lock."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dvc_repository import commit, create_repository, environment, run, succeeds

REPRO = ("dvc", "repro", "train")  # what follows it is not interrupted here


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything before the training is done."""
    params = {"train__epochs": 12, "resume__minutes": 0}
    folder = create_repository(tmp_path_factory.mktemp("interrupted") / "repository", **params)
    succeeds(folder, "dvc", "repro", "split")
    commit(folder, "data")
    return folder


def forget(folder: Path) -> None:
    """As if nothing had been trained here."""
    for path in (".ckpt", ".dvc/cache/runs", "models"):
        shutil.rmtree(folder / path, ignore_errors=True)
    succeeds(folder, "git", "reset", "-q", "--hard")


@pytest.fixture(scope="module")
def undisturbed(prepared: Path) -> dict[str, bytes]:
    """Files of a run that nothing interrupts."""
    succeeds(prepared, *REPRO)
    return {name: (prepared / name).read_bytes() for name in ("dvc.lock", "metrics/train.json")}


@pytest.fixture
def straight_lock(undisturbed: dict[str, bytes]) -> bytes:
    return undisturbed["dvc.lock"]


@pytest.fixture
def repository(prepared: Path, straight_lock: bytes) -> Iterator[Path]:
    forget(prepared)
    yield prepared
    run(prepared, "dvc", "queue", "stop", "--kill")


def started(folder: Path, *command: str) -> subprocess.Popen[str]:
    """`command` in a session of its own, so that nothing but the test signals it."""
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


def wait_until(condition: Callable[[], object], told: Callable[[], str] = str) -> None:
    """`told` says, after two minutes in vain, how things stand."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


def wait_for_training(folder: Path) -> int:
    """Some steps later: the trainer's process id."""
    wait_until(
        lambda: [*folder.glob(".ckpt/*/state_*[5-9]-*"), *folder.glob(".ckpt/*/epoch_*")],
        told=lambda: succeeds(folder, "dvc", "queue", "status"),
    )
    (lock,) = folder.glob(".ckpt/*/lock")
    return int(lock.read_text().split()[1])


def file_of(folder: Path, experiment: str, path: str) -> bytes:
    """Content of a file in the commit of a finished experiment."""
    refs = succeeds(folder, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (ref,) = (ref for ref in refs if ref.endswith(f"/{experiment}"))
    return succeeds(folder, "git", "show", f"{ref}:{path}").encode()


def test_dvc_killed_leaves_a_trainer_that_never_trains_beside_the_next(
    repository: Path, straight_lock: bytes
):
    first = started(repository, *REPRO)
    trainer = wait_for_training(repository)
    os.kill(trainer, signal.SIGSTOP)  # it cannot notice yet
    first.kill()
    first.wait()  # or its process id would still seem alive to the next one
    states = set(repository.glob(".ckpt/*/state_*"))
    second = started(repository, *REPRO)
    said = next((line for line in second.stderr if "waiting" in line), "")
    assert f"train: process {trainer} still writes models; waiting until it ends" in said
    assert set(repository.glob(".ckpt/*/state_*")) == states
    os.kill(trainer, signal.SIGCONT)
    first.communicate(timeout=60)  # orderly, or with an error if its outs went while it wrote them
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    newest = max(int(path.name.split("_")[1].split("-")[0]) for path in states)
    # state 1 is that of step 0; the first trainer may have ended with an error before another save
    assert int(re.search(r"resuming after step (\d+) ", out)[1]) >= newest - 1
    assert (repository / "dvc.lock").read_bytes() == straight_lock


def test_a_killed_experiment_in_a_copy_goes_on(repository: Path, straight_lock: bytes):
    command = ("dvc", "exp", "run", "--temp", "-n", "copy", "train")
    first = started(repository, *command)
    wait_for_training(repository)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert "resuming after step" in succeeds(repository, *command)
    assert file_of(repository, "copy", "dvc.lock") == straight_lock


def test_a_killed_task_of_the_queue_resumes_when_it_is_queued_again(
    repository: Path, undisturbed: dict[str, bytes]
):
    """The commands of docs/sweeps.md."""

    def queue_and_start() -> None:
        succeeds(repository, "dvc", "exp", "run", "--queue", "-n", "task", "train")
        # no pipe: the worker would keep it open as long as it lives
        start, nowhere = ("dvc", "queue", "start"), subprocess.DEVNULL
        subprocess.run(
            start, cwd=repository, env=environment(), stdout=nowhere, stderr=nowhere, check=True
        )

    def status() -> str:
        return succeeds(repository, "dvc", "queue", "status")

    queue_and_start()
    os.kill(wait_for_training(repository), signal.SIGKILL)
    wait_until(lambda: "Failed" in status(), told=status)
    succeeds(repository, "dvc", "queue", "remove", "--failed")
    queue_and_start()
    wait_until(lambda: "Success" in status(), told=status)
    assert "resuming after step" in succeeds(repository, "dvc", "queue", "logs", "task")
    for path, content in undisturbed.items():
        assert file_of(repository, "task", path) == content
