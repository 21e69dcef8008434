"""Benchmark training on a GPU, and print a table (RESULTS.md holds results of the CPU only).

For a quick test: --device cpu --height 36 --width 64 --images 12 --epochs 1 --rounds 1 --steps 1
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks import sample
from benchmarks.epoch import make_checkpointer, make_trainer
from benchmarks.step import FLOP_PER_PIXEL, our_step, reports_step
from benchmarks.table import (
    HEADER,
    MATRIX_FLOP,
    ROUNDS,
    Row,
    machine_facts,
    matrix_product,
    synchronize,
    time_alternately,
)
from roadseg.data.prepared import PreparedDataset
from roadseg.prepare.remap import remap_dataset
from roadseg.runtime.determinism import make_deterministic
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.memory import keep_freed_memory
from roadseg.training.logger import TrainingLogger

_BATCHES = (1, 2, 4, 8)


def repeat(step: Callable, device: str, steps: int) -> Callable[[], float]:
    """Return a function that runs `steps` steps, synchronizes, and returns the seconds per step."""

    def time_steps() -> float:
        synchronize(device)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(device)
        return (time.perf_counter() - started) / steps

    return time_steps


def allow_any_kernel(step: Callable) -> Callable:
    """Return `step` without deterministic mode, with cuDNN's search for the fastest kernels."""

    def free() -> None:
        torch.set_deterministic_debug_mode("default")
        torch.backends.cudnn.benchmark = True
        step()
        make_deterministic()

    return free


def step_rows(height: int, width: int, device: str, steps: int, rounds: int) -> Iterator[Row]:
    """Compare training steps to the report's implementation and to the matrix rate."""

    def medians(*sides: Callable) -> tuple[float, ...]:
        return time_alternately(*(repeat(side, device, steps) for side in sides), rounds=rounds)

    ours = {count: our_step(height, width, device, count) for count in _BATCHES}
    report = reports_step(height, width, device)
    product = matrix_product(torch.bfloat16, device)
    theirs, *our, of_product = medians(report, *ours.values(), product)
    size = f"{height}x{width}"
    for count, seconds in zip(_BATCHES, our, strict=True):
        rates = count / seconds, 1 / theirs
        yield Row(
            name=f"training, {size}, batch {count}",
            sides="ours / the report's implementation, batch 1",
            seconds=rates,
            ratio=rates[0] / rates[1],
            at_least=10 if count == max(_BATCHES) else None,
            unit="images/s",
        )
        rates = count * FLOP_PER_PIXEL * height * width / seconds, MATRIX_FLOP / of_product
        yield Row(
            name=f"fraction of the bf16 matrix rate, {size}, batch {count}",
            sides="arithmetic of a step / of a matrix product",
            seconds=(rates[0] / 1e9, rates[1] / 1e9),
            ratio=rates[0] / rates[1],
            at_least=0.4 if count == max(_BATCHES) else None,
            unit="GFLOP/s",
        )
    step = ours[max(_BATCHES)]
    exact, free = medians(step, allow_any_kernel(step))
    yield Row(
        name=f"cost of determinism, {size}, batch {max(_BATCHES)}",
        sides="deterministic kernels / any kernels",
        seconds=(exact, free),
        ratio=exact / free,
    )


def training_rows(prepared: PreparedDataset, folder: Path, epochs: int, size: str) -> Iterator[Row]:
    """Run the same training twice: measure the first run, and compare the weights byte by byte."""
    durations, digests = [], []
    for number in range(2):
        trainer, started = make_trainer(prepared, epochs), time.perf_counter()
        with GracefulShutdown() as stop:
            checkpointer = make_checkpointer(trainer, folder / str(number))
            trainer.run(checkpointer, TrainingLogger(checkpointer.outputs.runs), stop)
        durations.append(time.perf_counter() - started)
        content = (folder / str(number) / "models" / "best.safetensors").read_bytes()
        digests.append(hashlib.sha256(content).hexdigest())
    print(f"SHA-256 of the best weights of two runs: {' '.join(digest[:16] for digest in digests)}")
    yield Row(
        name=f"{epochs} epochs on {len(trainer.dataset)} images of {size}, with validation",
        sides="the training run / 60 s",
        seconds=(durations[0], 60.0),
        ratio=durations[0] / 60,
        at_most=1,
    )
    yield Row(
        name="two training runs",
        sides="weights identical (1) or not (0)",
        seconds=tuple(durations),
        ratio=float(digests[0] == digests[1]),
        at_least=1,
    )


def main() -> None:
    """Run the benchmarks with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--width", type=int, default=1242)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="number of timings (%(default)s)"
    )
    parser.add_argument("--steps", type=int, default=10, help="steps per timing (%(default)s)")
    arguments = parser.parse_args()
    height, width, device = arguments.height, arguments.width, arguments.device
    make_deterministic()  # must come before CUDA is initialized
    keep_freed_memory()
    print("\n".join(machine_facts(device)), "", HEADER, sep="\n", flush=True)
    for row in step_rows(height, width, device, arguments.steps, arguments.rounds):
        print(row, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, size = Path(name), {"height": height, "width": width}
        raw = sample.write_raw(folder, arguments.images, min(arguments.images, 24), **size)
        remap_dataset(raw, folder / "cache", sample.class_map(), 1.0)
        prepared = PreparedDataset(folder / "cache")
        for row in training_rows(prepared, folder, arguments.epochs, f"{height}x{width}"):
            print(row, flush=True)


if __name__ == "__main__":
    main()
