"""Timing of work on a GPU, which runs asynchronously."""

import time
from collections.abc import Callable

import torch

from benchmarks.table import time_alternately
from roadseg.data.collate import Batch
from roadseg.runtime.determinism import make_deterministic

_LEAST_S, _MOST_STEPS = 0.1, 20
"""A timing repeats the work for about this time, but at most this often."""

Work = Callable[[], object]


def synchronize(device: str) -> None:
    """Wait until `device` has finished its work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def seconds_per_step(step: Work, device: str, steps: int = 1) -> float:
    """Run `step` `steps` times, wait for the device, and return the seconds of one."""
    synchronize(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(device)
    return (time.perf_counter() - started) / steps


def time_steps(*sides: Work, device: str, rounds: int = 3) -> tuple[float, ...]:
    """Return the median seconds of each side, timed alternately after a warm-up."""

    def repeat(side: Work) -> Callable[[], float]:
        side()  # allocates memory and chooses kernels
        once = seconds_per_step(side, device)
        steps = max(1, min(_MOST_STEPS, int(_LEAST_S / max(once, 1e-9))))
        return lambda: seconds_per_step(side, device, steps)

    repeated = [repeat(side) for side in sides]
    return time_alternately(*repeated, rounds=rounds, untimed=0)


def with_default_kernels(step: Work, search: bool = False) -> Work:
    """Return `step` with torch's default settings: nondeterministic kernels, and TF32 in cuDNN.

    Args:
        search: let cuDNN time its kernels and choose the fastest.
    """

    def run() -> None:
        torch.set_deterministic_debug_mode("default")
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = True, search
        try:
            step()
        finally:
            make_deterministic()

    return run


def on_device(batch: Batch, device: str) -> Batch:
    """Return `batch` with its images and masks on the device, in their memory format."""
    return Batch(*(x.to(device) if isinstance(x, torch.Tensor) else x for x in batch))


def failure(work: Work) -> str:
    """Return the error of `work` for a cell of a table, or an empty text if it succeeds."""
    try:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except Exception as error:  # the other cases must be tried, too
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".replace("|", "/")
    return ""
