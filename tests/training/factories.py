"""A training of seconds: eight made-up pictures, a tiny network."""

import math
import os
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch._dynamo  # noqa: F401 - the optimizers import it (2 s); here once for all processes
from tqdm import tqdm

from roadseg.config.class_map import read_class_map
from roadseg.config.params import Params, Resume, load_params
from roadseg.data.collate import Batch
from roadseg.data.loader import training_batches
from roadseg.data.prepared import PreparedDataset
from roadseg.data.sampler import EpochSampler
from roadseg.data.split_file import Split
from roadseg.prepare.remap import remap_dataset
from roadseg.provenance.model_metadata import DataDigest, TrainingProvenance
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.errors import InputError
from roadseg.training.checkpointer import Checkpointer, RunPaths
from roadseg.training.logger import TrainingLogger
from roadseg.training.metrics import HistoryRow
from roadseg.training.setup import build_trainer
from roadseg.training.trainer import Trainer
from tests.conftest import ROOT, write_params, write_pictures

CODE = {"src/roadseg/training/trainer.py": "0" * 40}
EVERY_STEP = Resume(minutes=0, states=2, trainings=5)
RARELY = Resume(minutes=1440, states=2, trainings=5)
ODD = {"batch_size": 2, "validations_per_epoch": 2}


def made_cache(folder: Path) -> PreparedDataset:
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    remap_dataset(write_pictures(folder / "raw"), folder / "prepared", class_map, 1.0)
    return PreparedDataset(folder / "prepared")


def made_params(folder: Path, recipe: str = "modern", **changes: object) -> Params:
    """`changes` are of the section train."""
    named = {f"train__{key}": value for key, value in {"precision": "fp32", **changes}.items()}
    return load_params(write_params(folder / "params.yaml", train__recipe=recipe, **named))


def made_trainer(prepared: PreparedDataset, params: Params, **changes: object) -> Trainer:
    """Trains on six pictures and validates on two; `changes` are of the recipe."""
    ids = prepared.train_ids()
    split = Split(train=ids[:6], val=ids[6:], test=[])
    recipe = params.recipe.model_copy(update=changes)
    return build_trainer(prepared, split, params.model, params.train, recipe, CODE)


def provenance(seed: int = 0) -> TrainingProvenance:
    """That of no real training."""
    digest = DataDigest(pictures=1, sha256="0" * 64)
    empty = {"model": {}, "recipe": {"name": "none"}, "machine": {}, "versions": {}}
    data = {"train": digest, "val": digest}
    return TrainingProvenance(code=CODE, data=data, train={"seed": seed}, **empty)


def outputs(folder: Path) -> RunPaths:
    """Everything in `folder`, the states beside it, as where an experiment runs in a copy."""
    return RunPaths(
        epochs=folder / "epochs",
        best=folder / "best.safetensors",
        history=folder / "history.csv",
        metrics=folder / "train.json",
        runs=folder / "runs",
        states=folder / "states",
    )


def epoch_batches(trainer: Trainer, epoch: int, batch_size: int | None = None) -> Iterator[Batch]:
    """The batches of one epoch."""
    size = batch_size or trainer.recipe.batch_size
    return training_batches(
        trainer.dataset, epoch_sampler(len(trainer.dataset), size, trainer.train.seed, epoch), 0
    )


def epoch_sampler(num_samples: int, batch_size: int, seed: int, epoch: int) -> EpochSampler:
    count = math.ceil(num_samples / batch_size)
    steps = range((epoch - 1) * count, epoch * count)
    return EpochSampler(num_samples, batch_size, seed, steps)


def trained(
    trainer: Trainer,
    folder: Path,
    resume: Resume = EVERY_STEP,
    stop: GracefulShutdown | None = None,
) -> list[HistoryRow]:
    out = outputs(folder)
    checkpointer = Checkpointer(out, trainer.metadata, resume, trainer.train.epochs)
    return trainer.run(checkpointer, TrainingLogger(out.runs), stop or GracefulShutdown())


def outs(folder: Path) -> dict[str, bytes]:
    """What DVC would hash."""
    files = [*folder.glob("epochs/*"), *folder.glob("*.*")]
    return {path.name: path.read_bytes() for path in files if path.suffix != ".lock"}


class StopAfter(GracefulShutdown):
    """Asks for the end at its check number `count`: after a step, or within a validation."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    @property
    def requested(self) -> bool:
        self.count -= 1
        return self.count < 0


def train_in_a_process(
    prepared: Path, params: Params, folder: Path, limit: int | None = None, **options: object
) -> None:
    """Log to folder/log; no file may grow beyond `limit` bytes."""
    TrainingLogger.log_histograms = lambda *_: None
    tqdm.set_lock(threading.RLock())  # else a killed process leaves a semaphore, and a warning
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    stream = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    try:
        trained(made_trainer(PreparedDataset(prepared), params, **ODD), folder, **options)
    except InputError as error:
        sys.exit(f"error: {error}")


def ended(process) -> int:
    """Exit code of `process`, started and waited for."""
    process.start()
    process.join(timeout=120)
    return process.exitcode
