"""One process against two, each on a core of its own, that share a batch of two pictures."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import psutil
import torch

from benchmarks.step import prepared_step, random_batch
from benchmarks.table import ROUNDS, Row, in_turn
from benchmarks.worker import Worker
from roadseg.runtime.accelerator import join_process_group, select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.memory import keep_freed_memory

_BAR = 0.9
_SIZES = ((375, 1242), (96, 320))
_joined = contextlib.ExitStack()


def rows(rounds: int = ROUNDS) -> Iterator[Row]:
    for height, width in _SIZES:
        for norm in ("batch", "group"):
            yield _shared_row(height, width, norm, rounds)
        yield _ceiling_row(height, width, rounds)


def _shared_row(height: int, width: int, norm: str, rounds: int) -> Row:
    """How much of the second core becomes speed."""
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(Worker(step_alone, 0, height, width, 2, norm))
        port = _free_port()
        two = [
            stack.enter_context(Worker(step_together, rank, port, height, width, norm))
            for rank in range(2)
        ]
        alone, together = in_turn(one, lambda: _at_once(two), rounds=rounds)
    return Row(
        name=f"efficiency of two processes, {norm} norm, two pictures of {height}x{width}",
        sides="half of a step of one process / a step of two",
        seconds=(alone / 2, together),
        ratio=alone / 2 / together,
        at_least=_BAR,
    )


def _ceiling_row(height: int, width: int, rounds: int) -> Row:
    """What the cores take from each other, though nothing is shared: memory's bandwidth, heat."""
    with contextlib.ExitStack() as stack:
        two = [
            stack.enter_context(Worker(step_alone, c, height, width, 1, "batch")) for c in (0, 1)
        ]
        alone, beside = in_turn(two[0], lambda: _at_once(two), rounds=rounds)
    return Row(
        name=f"the same of two that share nothing, a picture of {height}x{width} each",
        sides="a step while the other rests / a step beside it",
        seconds=(alone, beside),
        ratio=alone / beside,
    )


def _at_once(workers: list[Worker]) -> float:
    """Seconds of the slower one."""
    for worker in workers:
        worker.begin()
    return max(worker.end() for worker in workers)


def step_alone(core: int, height: int, width: int, count: int, norm: str) -> Callable:
    _pin(core)
    accelerator = select_accelerator("cpu", "auto")
    return prepared_step(accelerator, random_batch(height, width, count), norm=norm)


def step_together(rank: int, port: int, height: int, width: int, norm: str) -> Callable:
    """Of one picture each."""
    _pin(rank)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_RUN_ID"] = "benchmark"
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    accelerator = _joined.enter_context(join_process_group(select_accelerator("cpu", "auto")))
    return prepared_step(accelerator, random_batch(height, width), norm=norm)


def _pin(core: int) -> None:
    psutil.Process().cpu_affinity([core])
    torch.set_num_threads(1)
    make_deterministic()
    keep_freed_memory()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
