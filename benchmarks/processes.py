"""Data-parallel training with batches of two images: one process against two, one core each."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import psutil
import torch

from benchmarks.step import prepare_step, random_batch
from benchmarks.table import ROUNDS, Row, time_alternately
from benchmarks.worker import Worker
from roadseg.runtime.accelerator import join_process_group, select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.memory import keep_freed_memory

_TARGET = 0.9
_SIZES = ((375, 1242), (96, 320))
_joined = contextlib.ExitStack()


def rows(rounds: int = ROUNDS) -> Iterator[Row]:
    """Measure all rows of this group."""
    for height, width in _SIZES:
        for norm in ("batch", "group"):
            yield _shared_row(height, width, norm, rounds)
        yield _ceiling_row(height, width, rounds)


def _shared_row(height: int, width: int, norm: str, rounds: int) -> Row:
    """Measure the parallel efficiency of two processes."""
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(Worker(step_alone, 0, height, width, 2, norm))
        port = _free_port()
        two = [
            stack.enter_context(Worker(step_together, rank, port, height, width, norm))
            for rank in range(2)
        ]
        alone, together = time_alternately(one, lambda: _run_both(two), rounds=rounds)
    return Row(
        name=f"efficiency of two processes, {norm} norm, two images of {height}x{width}",
        sides="half of a step of one process / a step of two processes",
        seconds=(alone / 2, together),
        ratio=alone / 2 / together,
        at_least=_TARGET,
    )


def _ceiling_row(height: int, width: int, rounds: int) -> Row:
    """Measure the efficiency of two independent processes, which is limited by the hardware."""
    with contextlib.ExitStack() as stack:
        two = [
            stack.enter_context(Worker(step_alone, c, height, width, 1, "batch")) for c in (0, 1)
        ]
        alone, both = time_alternately(two[0], lambda: _run_both(two), rounds=rounds)
    return Row(
        name=f"efficiency of two independent processes, one image of {height}x{width} each",
        sides="a step of one process while the other is idle / while both run",
        seconds=(alone, both),
        ratio=alone / both,
    )


def _run_both(workers: list[Worker]) -> float:
    """Run the workers at the same time, and return the seconds of the slower one."""
    for worker in workers:
        worker.begin()
    return max(worker.end() for worker in workers)


def step_alone(core: int, height: int, width: int, count: int, norm: str) -> Callable:
    """Prepare a training step on `count` images in a single process."""
    _pin(core)
    accelerator = select_accelerator("cpu", "auto")
    return prepare_step(accelerator, random_batch(height, width, count), norm=norm)


def step_together(rank: int, port: int, height: int, width: int, norm: str) -> Callable:
    """Prepare a training step of rank `rank` of two, on one image."""
    _pin(rank)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_RUN_ID"] = "benchmark"
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    accelerator = _joined.enter_context(join_process_group(select_accelerator("cpu", "auto")))
    return prepare_step(accelerator, random_batch(height, width), norm=norm)


def _pin(core: int) -> None:
    psutil.Process().cpu_affinity([core])
    torch.set_num_threads(1)
    make_deterministic()
    keep_freed_memory()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
