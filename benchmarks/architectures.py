"""Train each network for the same time, or for the same epochs, and compare it with the U-Net.

`python -m benchmarks.architectures --minutes 2` prints the table of docs/networks.md. It uses
data/prepared and data/split.json of this repository (`dvc repro split`), and params.yaml for
everything but the network and the number of epochs.
"""

import argparse
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.table import machine_facts
from roadseg.config.params import Params, load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.evaluation.comparison import Source, compare
from roadseg.evaluation.image_confusions import read_image_confusions, write_image_confusions
from roadseg.evaluation.model_evaluation import evaluate_model
from roadseg.models.model_file import load_network
from roadseg.models.network_facts import tested_networks
from roadseg.provenance.source_code import ROOT
from roadseg.runtime.accelerator import select_accelerator
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


def change_params(params: Params, network: str, epochs: int) -> Params:
    """Return `params` with another network (`unet`, or `smp/Unet:resnet34`) and epochs."""
    architecture, _, encoder = network.partition(":")
    values = params.model_dump()
    values["model"] |= {"architecture": architecture, "encoder": encoder or None}
    values["train"]["epochs"] = epochs
    values["render"]["epochs"] = ["last"]
    return Params(**values)


def build(params: Params, data: Path, split: Path) -> Trainer:
    """Build the trainer of `params`; its code is not part of the provenance."""
    dataset, ids = PreparedDataset(data), read_split(split)
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


def train(params: Params, network: str, arguments: argparse.Namespace) -> Result:
    """Train `network`, evaluate its best epoch, and write its image confusions to the folder."""
    folder: Path = arguments.out / network.replace("/", "_").replace(":", "_")
    data, split = arguments.prepared, arguments.split
    trainer = build(change_params(params, network, 1), data, split)
    step, epoch = time_epoch(trainer)
    epochs = arguments.epochs or max(1, round(60 * arguments.minutes / epoch))
    params = change_params(params, network, epochs)
    trainer = build(params, data, split)
    names = ("epochs", "best", "history", "metrics", "runs", "states")
    paths = RunPaths(**{name: folder / name for name in names})
    started = time.perf_counter()
    with GracefulShutdown() as stop:
        checkpointer = Checkpointer(paths, trainer.metadata, params.resume, epochs)
        trainer.run(checkpointer, TrainingLogger(), stop)
    minutes = (time.perf_counter() - started) / 60
    best, metadata = load_network(paths.best, trainer.prepared.class_map())
    evaluated = evaluate_model(
        best,
        trainer.prepared,
        trainer.val_ids,
        select_accelerator(params.train.device, params.train.precision),
        params.evaluate,
        ignored=metadata.ignored_class,
        model=paths.best,
    )
    confusions = evaluated.evaluation.confusions
    write_image_confusions(
        folder / "image_confusions.csv", evaluated.class_map, evaluated.ids, confusions
    )
    metrics = evaluated.metrics
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    interval = metrics.miou, metrics.miou_low, metrics.miou_high
    return Result(epochs, minutes, step, peak, *interval, metrics.pixel_accuracy)


def row(network: str, result: Result, first: Source, folder: Path) -> str:
    """Format a result, with its difference from the first network."""
    own = Source(network, read_image_confusions(folder / "image_confusions.csv"))
    row: Any = compare([first], [own], "void").table.iloc[0]
    difference = "" if own.name == first.name else f"{row.difference:+.3f}"
    if difference:
        difference += f" ({row.low:+.3f} to {row.high:+.3f})"
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
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    print("\n".join(machine_facts("cpu")), flush=True)
    print(
        "| network | epochs | minutes | step, s | memory, GB | mIoU | pixel accuracy | difference |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        first = None
        for network in arguments.networks:
            result = pool.submit(train, params, network, arguments).result()
            folder = arguments.out / network.replace("/", "_").replace(":", "_")
            if first is None:
                table = read_image_confusions(folder / "image_confusions.csv")
                first = Source(network, table)
            print(row(network, result, first, folder), flush=True)


if __name__ == "__main__":
    main()
