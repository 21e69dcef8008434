"""Train each network for the same time, or for the same epochs, and compare it with the U-Net.

`python -m benchmarks.architectures --minutes 0.75` prints the table of the sample in
docs/networks.md. It uses data/prepared and data/split.json of this repository (`dvc repro split`),
and params.yaml for everything but the network and the number of epochs.
"""

import argparse
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from benchmarks.results import evaluate_best, format_difference, read_confusions
from benchmarks.table import machine_facts
from benchmarks.trainings import Training, make_training
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.evaluation.comparison import compare
from roadseg.models.network_facts import tested_networks
from roadseg.provenance.source_code import ROOT
from roadseg.runtime.signals import GracefulShutdown
from roadseg.training.checkpointer import Checkpointer, RunPaths
from roadseg.training.logger import TrainingLogger
from roadseg.training.setup import build_trainer
from roadseg.training.trainer import Trainer

TIMED_STEPS = 8


class Result(NamedTuple):
    """A trained network."""

    epochs: int
    minutes: float
    """Duration of the training with its validations."""
    step: float
    """Median duration of a training step, seconds."""
    gigabytes: float
    """Peak memory of the process."""
    miou: float
    low: float
    high: float
    """95 % interval of the mIoU."""
    pixel_accuracy: float


def build_training(network: str, epochs: int, arguments: argparse.Namespace) -> Training:
    """Return the training of a network (`unet`, or `smp/Unet:resnet34`)."""
    architecture, _, encoder = network.partition(":")
    options = [
        f"model.architecture={architecture}",
        f"model.encoder={encoder or 'null'}",
        f"train.epochs={epochs}",
        "render.epochs=[last]",
    ]
    return make_training(arguments, folder_name(network), options)


def folder_name(network: str) -> str:
    """Return the name of the directory of a network."""
    return network.replace("/", "_").replace(":", "_")


def build(training: Training) -> Trainer:
    """Build the trainer of a training; its code is not part of the provenance."""
    params = training.parsed
    dataset, ids = PreparedDataset(training.prepared), read_split(training.split)
    return build_trainer(dataset, ids, params.model, params.train, params.recipe, code={})


def time_epoch(trainer: Trainer) -> tuple[float, float]:
    """Return the median duration of a training step and the duration of an epoch, in seconds."""
    state, seconds = trainer.initial_state(), []
    for batch, _ in zip(trainer.batches(state), range(TIMED_STEPS + 2), strict=False):
        started = time.perf_counter()
        trainer.train_step(state, batch)
        state.fetch_losses()
        seconds.append(time.perf_counter() - started)
    step = statistics.median(seconds[2:])
    started = time.perf_counter()
    trainer.validate(state)
    return step, step * trainer.steps_per_epoch + time.perf_counter() - started


def train(network: str, arguments: argparse.Namespace) -> Result:
    """Train `network`, and evaluate its best epoch by the stage evaluate."""
    step, epoch = time_epoch(build(build_training(network, 1, arguments)))
    epochs = arguments.epochs or max(1, round(60 * arguments.minutes / epoch))
    training = build_training(network, epochs, arguments)
    trainer, folder = build(training), training.folder
    files = {"best": "best.safetensors", "history": "history.csv", "metrics": "train.json"}
    names = {name: name for name in ("epochs", "runs", "states")} | files
    paths = RunPaths(**{key: folder / name for key, name in names.items()})
    started = time.perf_counter()
    with GracefulShutdown() as stop:
        checkpointer = Checkpointer(paths, trainer.metadata, training.parsed.resume, epochs)
        trainer.run(checkpointer, TrainingLogger(), stop)
    minutes = (time.perf_counter() - started) / 60
    metrics = evaluate_best(training)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    interval = metrics.miou, metrics.miou_low, metrics.miou_high
    return Result(epochs, minutes, step, peak, *interval, metrics.pixel_accuracy)


def row(network: str, result: Result, difference: str) -> str:
    """Format a result, with its difference from the first network."""
    return (
        f"| `{network}` | {result.epochs} | {result.minutes:.1f} | {result.step:.3f} "
        f"| {result.gigabytes:.1f} | {result.miou:.3f} ({result.low:.3f} to {result.high:.3f}) "
        f"| {result.pixel_accuracy:.3f} | {difference} |"
    )


def main() -> None:
    """Train the networks given on the command line, or all tested ones; the first is the base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "networks", nargs="*", default=list(tested_networks()), metavar="ARCHITECTURE:ENCODER"
    )
    parser.add_argument("--minutes", type=float, default=2, help="duration of each training")
    parser.add_argument("--epochs", type=int, help="number of epochs instead of the minutes")
    parser.add_argument("--prepared", type=Path, default=ROOT / "data/prepared")
    parser.add_argument("--split", type=Path, default=ROOT / "data/split.json")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/architectures")
    parser.set_defaults(set=[], weights=ROOT / "data/weights")
    arguments = parser.parse_args()
    void = PreparedDataset(arguments.prepared).class_map().void
    print("\n".join(machine_facts()), flush=True)
    print(
        "| network | epochs | minutes | step, s | memory, GB | mIoU | pixel accuracy | difference |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        first = None
        for network in arguments.networks:
            result = pool.submit(train, network, arguments).result()
            own = read_confusions(arguments.out / folder_name(network), network)
            first = first or own
            table = compare([first], [own], void).table
            difference = "" if own is first else format_difference(table.iloc[0])
            print(row(network, result, difference), flush=True)


if __name__ == "__main__":
    main()
