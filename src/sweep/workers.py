"""Workers of DVC's queue, each with a GPU or a share of the cores of its own.

`dvc queue start -j 2` gives both one environment. What a worker starts has the worker's, so one is
started after the other, each with another.
"""

import hashlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from dvc.repo.experiments.queue.celery import LocalCeleryQueue

from src.files import InputError

_DEVICES, _THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"
_START_S = 60


@dataclass(frozen=True)
class Worker:
    """A worker that lives."""

    number: int
    node: str
    """Its name for celery."""
    pid: int
    devices: str | None
    """Its CUDA_VISIBLE_DEVICES."""


def live_workers(queue: LocalCeleryQueue) -> list[Worker]:
    """The workers of this repository, by number, whoever started them."""
    found = []
    pattern = re.compile(re.escape(_node(queue, 0)).replace("0@", r"(\d+)@"))
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = process.info["cmdline"] or []
        node = next(filter(pattern.fullmatch, words), None) if "queue-worker" in words else None
        if node:
            devices = (process.info["environ"] or {}).get(_DEVICES)
            number = int(pattern.fullmatch(node)[1])
            found.append(Worker(number, node, process.pid, devices))
    return sorted(found, key=lambda worker: worker.number)


def start_one_a_gpu(queue: LocalCeleryQueue, gpus: list[str]) -> list[Worker]:
    """Workers for those of `gpus` that have none, as CUDA numbers or names them.

    Raises:
        InputError: a worker lives that was started without a GPU of its own, or none comes up.
    """
    there = live_workers(queue)
    for worker in there:
        if worker.devices is None:
            raise InputError(
                f"worker {worker.number} (process {worker.pid}) has no GPU of its own and may take "
                "any; let it end first: dvc queue stop"
            )
    lacking = [gpu for gpu in gpus if gpu not in {worker.devices for worker in there}]
    threads = _threads(len(gpus))
    return _started(queue, there, [{_DEVICES: gpu, _THREADS: threads} for gpu in lacking])


def start_some(queue: LocalCeleryQueue, count: int) -> list[Worker]:
    """Workers until there are `count`, each with its share of the cores."""
    there = live_workers(queue)
    return _started(queue, there, [{_THREADS: _threads(count)}] * (count - len(there)))


def _threads(count: int) -> str:
    """Threads of one of `count` workers, unless the environment says how many."""
    cores = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return os.environ.get(_THREADS) or str(max(1, cores // count))


def _started(
    queue: LocalCeleryQueue, there: list[Worker], settings: list[dict[str, str]]
) -> list[Worker]:
    taken = {worker.number for worker in there}
    free = [n for n in range(1, 1 + len(taken) + len(settings)) if n not in taken]
    processes = {}
    for number, own in zip(free, settings, strict=False):
        processes[_node(queue, number)] = _spawned(queue, number, own)
    _wait_for(queue, processes)
    return [worker for worker in live_workers(queue) if worker.node in processes]


def _spawned(queue: LocalCeleryQueue, number: int, own: dict[str, str]) -> subprocess.Popen:
    """A worker as `dvc queue start` starts it, with `own` in its environment."""
    # of one virtual environment with us: the worker starts `dvc`, and that `python`
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [sys.executable, "-m", "dvc", "exp", "queue-worker", _node(queue, number)]
    clean = ["--clean"] if number == 1 else []
    with _log(queue, number).open("ab") as log:
        return subprocess.Popen(
            [*command, *clean],
            cwd=queue.repo.root_dir,
            env={**os.environ, "PATH": path, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_for(queue: LocalCeleryQueue, processes: dict[str, subprocess.Popen]) -> None:
    """Until all are ready for tasks; one that cannot start would be missed much later."""
    deadline = time.monotonic() + _START_S
    while not processes.keys() <= queue.worker_status().keys():
        for node, process in processes.items():
            if process.poll() is not None:
                raise InputError(f"{_of(queue, node)} ended; its log says why")
            if time.monotonic() > deadline:
                raise InputError(f"{_of(queue, node)} does not answer after {_START_S} s")


def _of(queue: LocalCeleryQueue, node: str) -> str:
    number = int(node.split("@")[0].rsplit("-", 1)[1])
    return f"worker {number} ({_log(queue, number)})"


def _log(queue: LocalCeleryQueue, number: int) -> Path:
    return Path(queue.wdir) / f"dvc-exp-worker-{number}.out"


def _node(queue: LocalCeleryQueue, number: int) -> str:
    """The name that DVC gives it, so that `dvc queue start` and `status` know it."""
    digest = hashlib.sha256(queue.wdir.encode()).hexdigest()[:6]
    return f"dvc-exp-{digest}-{number}@localhost"
