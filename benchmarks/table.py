"""Sides timed in turn, and the table of their ratios."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

ROUNDS = 5
"""Smallest number of times that a side is timed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One ratio."""

    name: str
    sides: str
    """What the ratio is of."""
    seconds: tuple[float, ...]
    """Medians of the sides, or whatever `unit` says."""
    ratio: float
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "s"

    def __str__(self) -> str:
        """A line of the table."""
        measured = " / ".join(f"{value:.3g}" for value in self.seconds)
        return (
            f"| {self.name} | {self.sides} | {measured} {self.unit} | {self.ratio:.3g} "
            f"| {self._bar()} |"
        )

    def _bar(self) -> str:
        if self.at_least is not None:
            met = self.ratio >= self.at_least
            return f"at least {self.at_least:g}: {'yes' if met else 'no'}"
        if self.at_most is not None:
            met = self.ratio <= self.at_most
            return f"at most {self.at_most:g}: {'yes' if met else 'no'}"
        return ""


HEADER = "| what | sides | medians | ratio | bar |\n|---|---|---|---|---|"


def in_turn(
    *sides: Callable[[], float | None], rounds: int = ROUNDS, untimed: int = 1
) -> tuple[float, ...]:
    """The median seconds of each side; each runs `untimed` times, then in turn with the others.

    A side may return its own seconds, where not all that it does counts.
    """
    taken: list[list[float]] = [[] for _ in sides]
    for number in range(untimed + rounds):
        for side, seconds in zip(sides, taken, strict=True):
            started = time.perf_counter()
            own = side()
            if number >= untimed:
                seconds.append(time.perf_counter() - started if own is None else own)
    return tuple(statistics.median(seconds) for seconds in taken)


MATRIX = 4096
MATRIX_FLOP = 2 * MATRIX**3


def matrix_product(dtype: torch.dtype, device: str) -> Callable[[], None]:
    """A product of two square matrices of MATRIX rows, MATRIX_FLOP of arithmetic."""
    left, right = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        left @ right
        synchronize(device)

    return product


def synchronize(device: str) -> None:
    """Wait for all that was started on `device`."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def machine_facts(device: str) -> list[str]:
    """What the figures depend on, a line each."""
    abilities = [name for name, value in torch.cpu.get_capabilities().items() if value is True]
    cpu = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    types = (torch.float32, torch.bfloat16)
    products = in_turn(*(matrix_product(dtype, device) for dtype in types))
    fp32, bf16 = (MATRIX_FLOP / seconds / 1e9 for seconds in products)
    gpu = "none" if device == "cpu" else torch.cuda.get_device_name(device)
    return [
        f"processor: {cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        f"instruction sets: {', '.join(abilities)}",
        f"GPU: {gpu}",
        f"matrix product {MATRIX}x{MATRIX}: fp32 {fp32:.0f}, bf16 {bf16:.0f} GFLOP/s",
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        f"load of the machine before: {os.getloadavg()[0]:.1f}",
    ]


def table(rows: Sequence[Row]) -> str:
    return "\n".join([HEADER, *map(str, rows)])
