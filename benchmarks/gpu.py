r"""The same on a GPU, in one call; prints a table, for RESULTS.md holds the CPU's.

    python -m benchmarks.gpu                                    # all of it, on KITTI-sized pictures
    python -m benchmarks.gpu --device cpu --height 36 --width 64 --pictures 12 --epochs 1 \
        --rounds 1 --steps 1                                    # does it run at all
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks import sample
from benchmarks.epoch import made_checkpointer, made_trainer
from benchmarks.step import FLOP_PER_PIXEL, our_step, reports_step
from benchmarks.table import (
    HEADER,
    MATRIX_FLOP,
    ROUNDS,
    Row,
    in_turn,
    machine_facts,
    matrix_product,
    synchronize,
)
from roadseg.data.prepared import PreparedDataset
from roadseg.prepare.remap import remap_dataset
from roadseg.runtime.determinism import make_deterministic
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.memory import keep_freed_memory
from roadseg.training.logger import TrainingLogger

_BATCHES = (1, 2, 4, 8)


def repeated(step: Callable, device: str, steps: int) -> Callable[[], float]:
    """Seconds of a step, of `steps` between two waits for the device."""

    def timed() -> float:
        synchronize(device)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(device)
        return (time.perf_counter() - started) / steps

    return timed


def not_deterministic(step: Callable) -> Callable:
    """`step` with every kernel allowed, the fastest looked for."""

    def free() -> None:
        torch.set_deterministic_debug_mode("default")
        torch.backends.cudnn.benchmark = True
        step()
        make_deterministic()

    return free


def step_rows(height: int, width: int, device: str, steps: int, rounds: int) -> Iterator[Row]:
    def medians(*sides: Callable) -> tuple[float, ...]:
        return in_turn(*(repeated(side, device, steps) for side in sides), rounds=rounds)

    ours = {count: our_step(height, width, device, count) for count in _BATCHES}
    report = reports_step(height, width, device)
    product = matrix_product(torch.bfloat16, device)
    theirs, *our, of_product = medians(report, *ours.values(), product)
    size = f"{height}x{width}"
    for count, seconds in zip(_BATCHES, our, strict=True):
        rates = count / seconds, 1 / theirs
        yield Row(
            name=f"training, {size}, batch {count}",
            sides="ours / the report's way, batch 1",
            seconds=rates,
            ratio=rates[0] / rates[1],
            at_least=10 if count == max(_BATCHES) else None,
            unit="pictures/s",
        )
        share = count * FLOP_PER_PIXEL * height * width / seconds, MATRIX_FLOP / of_product
        yield Row(
            name=f"share of the bf16 matrix rate, {size}, batch {count}",
            sides="a step's arithmetic / a matrix product's",
            seconds=(share[0] / 1e9, share[1] / 1e9),
            ratio=share[0] / share[1],
            at_least=0.4 if count == max(_BATCHES) else None,
            unit="GFLOP/s",
        )
    step = ours[max(_BATCHES)]
    exact, free = medians(step, not_deterministic(step))
    yield Row(
        name=f"the price of the same bytes, {size}, batch {max(_BATCHES)}",
        sides="deterministic kernels / any",
        seconds=(exact, free),
        ratio=exact / free,
    )


def training_rows(prepared: PreparedDataset, folder: Path, epochs: int, size: str) -> Iterator[Row]:
    """Two whole trainings: the time of the first, and whether the second has its bytes."""
    taken, digests = [], []
    for number in range(2):
        trainer, started = made_trainer(prepared, epochs), time.perf_counter()
        with GracefulShutdown() as stop:
            checkpointer = made_checkpointer(trainer, folder / str(number))
            trainer.run(checkpointer, TrainingLogger(checkpointer.outputs.runs), stop)
        taken.append(time.perf_counter() - started)
        content = (folder / str(number) / "models" / "best.safetensors").read_bytes()
        digests.append(hashlib.sha256(content).hexdigest())
    print(f"two trainings, best weights: {' '.join(digest[:16] for digest in digests)}")
    yield Row(
        name=f"{epochs} epochs on {len(trainer.dataset)} pictures of {size}, validation and all",
        sides="the training / 60 s",
        seconds=(taken[0], 60.0),
        ratio=taken[0] / 60,
        at_most=1,
    )
    yield Row(
        name="two trainings",
        sides="same bytes (1) or not (0)",
        seconds=tuple(taken),
        ratio=float(digests[0] == digests[1]),
        at_least=1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--width", type=int, default=1242)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timings of each side")
    parser.add_argument("--steps", type=int, default=10, help="steps in one timing")
    arguments = parser.parse_args()
    height, width, device = arguments.height, arguments.width, arguments.device
    make_deterministic()  # before CUDA starts
    keep_freed_memory()
    print("\n".join(machine_facts(device)), "", HEADER, sep="\n", flush=True)
    for row in step_rows(height, width, device, arguments.steps, arguments.rounds):
        print(row, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, size = Path(name), {"height": height, "width": width}
        raw = sample.raw(folder, arguments.pictures, min(arguments.pictures, 24), **size)
        remap_dataset(raw, folder / "cache", sample.class_map(), 1.0)
        prepared = PreparedDataset(folder / "cache")
        for row in training_rows(prepared, folder, arguments.epochs, f"{height}x{width}"):
            print(row, flush=True)


if __name__ == "__main__":
    main()
