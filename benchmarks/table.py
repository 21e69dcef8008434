"""Alternate timing of two or more programs ("sides"), and the table of their ratios."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

ROUNDS = 5
"""Number of times that each side is timed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table: the ratio of two measurements, and its target."""

    name: str
    sides: str
    """Numerator and denominator of the ratio."""
    seconds: tuple[float, ...]
    """Medians of the sides, in `unit`."""
    ratio: float
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "s"

    def __str__(self) -> str:
        """Format the row as Markdown."""
        medians = " / ".join(f"{value:.3g}" for value in self.seconds)
        return (
            f"| {self.name} | {self.sides} | {medians} {self.unit} | {self.ratio:.3g} "
            f"| {self._target()} |"
        )

    def _target(self) -> str:
        if self.at_least is not None:
            met = self.ratio >= self.at_least
            return f"at least {self.at_least:g}: {'yes' if met else 'no'}"
        if self.at_most is not None:
            met = self.ratio <= self.at_most
            return f"at most {self.at_most:g}: {'yes' if met else 'no'}"
        return ""


HEADER = "| benchmark | sides | medians | ratio | target |\n|---|---|---|---|---|"


def time_alternately(
    *sides: Callable[[], float | None], rounds: int = ROUNDS, untimed: int = 1
) -> tuple[float, ...]:
    """Return the median seconds of each side; a side may return seconds that it has measured."""
    durations: list[list[float]] = [[] for _ in sides]
    for number in range(untimed + rounds):
        for side, seconds in zip(sides, durations, strict=True):
            started = time.perf_counter()
            own = side()
            if number >= untimed:
                seconds.append(time.perf_counter() - started if own is None else own)
    return tuple(statistics.median(seconds) for seconds in durations)


MATRIX = 4096
MATRIX_FLOP = 2 * MATRIX**3


def matrix_product(dtype: torch.dtype, device: str, rows: int = MATRIX) -> Callable[[], None]:
    """Return a function that multiplies two square matrices (for MATRIX rows, MATRIX_FLOP)."""
    left, right = (torch.randn(rows, rows, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        left @ right

    return product


def machine_facts() -> list[str]:
    """Describe the processor and the versions of libraries, one fact per line."""
    abilities = [name for name, value in torch.cpu.get_capabilities().items() if value is True]
    cpu = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    types = (torch.float32, torch.bfloat16)
    products = time_alternately(*(matrix_product(dtype, "cpu") for dtype in types))
    fp32, bf16 = (MATRIX_FLOP / seconds / 1e9 for seconds in products)
    return [
        f"processor: {cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        f"instruction sets: {', '.join(abilities)}",
        f"matrix product {MATRIX}x{MATRIX}: fp32 {fp32:.0f}, bf16 {bf16:.0f} GFLOP/s",
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        f"load average before the run: {os.getloadavg()[0]:.1f}",
    ]
