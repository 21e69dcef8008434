"""What an epoch costs beyond its steps, a batch beyond its copy, evaluation beyond its passes."""

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import sample
from benchmarks.table import ROUNDS, Row, in_turn
from roadseg.config.params import load_params
from roadseg.data.dataset import (
    Batch,
    Sample,
    evaluation_batch,
    evaluation_groups,
    pad_collate,
    training_batches,
)
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.bootstrap import RESAMPLES
from roadseg.evaluation.evaluate import evaluate
from roadseg.prepare.layout import TRAIN_IMAGES, TRAIN_MASKS, image_path
from roadseg.provenance.source_code import ROOT, source_blobs
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.memory import keep_freed_memory
from roadseg.training.artifacts import RunPaths
from roadseg.training.checkpointer import Checkpointer
from roadseg.training.train_state import TrainState
from roadseg.training.train_step import train_step, update_average
from roadseg.training.trainer import Trainer

_VALIDATION = 6
_KITTI_TRAINING = 180  # of its 200 labelled pictures


class TimedTrainer(Trainer):
    """Knows how long its validations took."""

    validation_s = 0.0

    def _validate(self, state: TrainState, record: Checkpointer) -> None:
        started = time.perf_counter()
        super()._validate(state, record)
        self.validation_s += time.perf_counter() - started


def made_trainer(prepared: PreparedDataset, epochs: int) -> TimedTrainer:
    """The default recipe on the pictures of `cache`, the last few of them for validation."""
    params, ids = load_params(ROOT / "params.yaml"), prepared.train_ids()
    split = Split(train=ids[:-_VALIDATION], val=ids[-_VALIDATION:], test=[])
    train = params.train.model_copy(update={"epochs": epochs})
    code = source_blobs(ROOT / "stages" / "train.py")
    return TimedTrainer(prepared, split, params.model, train, params.recipe, code)


def made_record(trainer: Trainer, folder: Path, stop: GracefulShutdown) -> Checkpointer:
    """Everything that a training keeps on disk, below `folder`."""
    outputs = RunPaths(
        epochs=folder / "models" / "epochs",
        best=folder / "models" / "best.safetensors",
        history=folder / "history.csv",
        metrics=folder / "train.json",
        runs=folder / "runs",
        states=folder / "states",
    )
    resume = load_params(ROOT / "params.yaml").resume
    return Checkpointer(outputs, trainer.description, resume, stop)


@contextlib.contextmanager
def opened(trainer: Trainer, folder: Path) -> Iterator[tuple[TrainState, Checkpointer]]:
    """A training that is about to begin."""
    with GracefulShutdown() as stop:
        record, state = made_record(trainer, folder, stop), trainer.initial_state()
        with record.opened(state, trainer.train.epochs, trainer.accelerator.description()):
            yield state, record


def rows() -> Iterator[Row]:
    # on the repository's own disk, for saving is part of it
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".ckpt-") as name:
        folder = Path(name)
        prepared = sample.prepared(folder, 64, **sample.SMALL)
        yield epoch_row(prepared, folder)
        yield from loading_rows(prepared, folder / "raw")
        yield evaluation_row(prepared)
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".ckpt-") as name:
        yield saving_row(sample.prepared(Path(name), 8, **sample.KITTI), Path(name))


def bare_step(trainer: Trainer, state: TrainState, batch: Batch) -> None:
    """Arithmetic alone, in a state whose steps are not counted."""
    if state.average is not None:
        update_average(state.average, state.network, 1, trainer.recipe.ema)
    train_step(
        state.network,
        state.optimizer,
        batch,
        trainer.recipe,
        trainer.objective,
        trainer.accelerator,
    )


def epoch_row(prepared: PreparedDataset, folder: Path) -> Row:
    """Loading, logging and saving are in the epoch, its validation is not."""
    trainer = made_trainer(prepared, 2 * (ROUNDS + 1))
    size = trainer.recipe.batch_size
    loaded = list(training_batches(trainer.pictures, 1, size, 0))
    with opened(trainer, folder) as (state, record):
        batches = trainer.batches(state)

        def epoch() -> float:
            trainer.run_epoch(state, record, batches)  # is being saved beside the next one
            started, trainer.validation_s = time.perf_counter(), 0.0
            trainer.run_epoch(state, record, batches)
            return time.perf_counter() - started - trainer.validation_s

        def steps() -> float:
            record.wait()
            state.network.train()
            started = time.perf_counter()
            for batch in loaded:
                bare_step(trainer, state, batch)
            return time.perf_counter() - started

        seconds = in_turn(epoch, steps)
    return Row(
        name=f"epoch of {len(trainer.pictures)} pictures of 96x320, without its validation",
        sides="the epoch / its bare steps",
        seconds=seconds,
        ratio=seconds[0] / seconds[1],
        at_most=1.03,
    )


def loading_rows(prepared: PreparedDataset, raw: Path) -> Iterator[Row]:
    trainer = made_trainer(prepared, 1)
    ids = trainer.pictures.ids

    def from_cache() -> None:
        for _ in training_batches(trainer.pictures, 1, trainer.recipe.batch_size, 0):
            pass

    def by_decoding() -> None:
        for start in range(0, len(ids), trainer.recipe.batch_size):
            some = ids[start : start + trainer.recipe.batch_size]
            pad_collate([Sample(*_decoded(raw, name)) for name in some])

    num_batches = math.ceil(len(ids) / trainer.recipe.batch_size)
    decoding, loading = (1000 * s / num_batches for s in in_turn(by_decoding, from_cache))
    yield Row(
        name="a training batch of 2 pictures of 96x320",
        sides="decoding its PNGs / loading it from the cache",
        seconds=(decoding, loading),
        ratio=decoding / loading,
        unit="ms",
    )


def _decoded(raw: Path, name: str) -> list[np.ndarray]:
    return [
        np.asarray(Image.open(image_path(raw, folder, name)))
        for folder in (TRAIN_IMAGES, TRAIN_MASKS)
    ]


def evaluation_row(prepared: PreparedDataset) -> Row:
    trainer = made_trainer(prepared, 1)
    accelerator, network = trainer.accelerator, trainer.initial_state().network
    size = load_params(ROOT / "params.yaml").evaluate.batch_size
    ids = sorted(prepared.train_ids()[: 4 * size], key=prepared.size)
    keep_freed_memory()
    groups = evaluation_groups(prepared, ids, size)
    whole = [accelerator.images(evaluation_batch(prepared, names).images) for names in groups]

    def evaluation() -> None:
        details = Accumulators(prepared.class_map(), accelerator.device)  # as the stage does
        evaluate(network, prepared, ids, size, accelerator, ignored=None, after_batch=details.add)
        details.figures()

    @torch.inference_mode()
    def passes() -> None:
        network.eval()
        for images in whole:
            accelerator.logits(network, images)

    seconds = in_turn(evaluation, passes)
    return Row(
        name=f"evaluation of {len(ids)} pictures of 96x320",
        sides="reading, figures and all / bare forward passes",
        seconds=seconds,
        ratio=seconds[0] / seconds[1],
        at_most=1.1,
    )


def saving_row(prepared: PreparedDataset, folder: Path) -> Row:
    """Everything that an epoch of KITTI writes, waited for, and its steps."""
    trainer = made_trainer(prepared, 1)
    batch = next(iter(training_batches(trainer.pictures, 1, trainer.recipe.batch_size, 0)))
    steps_per_epoch = math.ceil(_KITTI_TRAINING / trainer.recipe.batch_size)
    with opened(trainer, folder) as (state, record):
        record.resume = record.resume.model_copy(
            update={"minutes": 0}
        )  # the state at each epoch's end, too

        def step() -> None:
            trainer.step(state, batch)

        def saving() -> None:
            state.read()
            number = len(state.history) + 1
            figures = {"train_ce": 1.0, "val_ce": 1.0, "val_miou": 0.5, "lr": 0.001}
            state.history.append({"epoch": number, **figures})
            state.draws.append([0.5] * RESAMPLES)
            record.save(state, epoch_done=True)
            record.wait()

        one_step, one_save = in_turn(step, saving)
        files = [next(record.store.folder.glob(kind)) for kind in ("state_*", "epoch_*")]
        state_mb, epoch_mb = (file.stat().st_size / 1e6 for file in files)
    epoch = steps_per_epoch * one_step
    return Row(
        name=f"saving an epoch: state {state_mb:.0f} MB, weights {epoch_mb:.0f} MB",
        sides=f"all that is written / an epoch of {_KITTI_TRAINING} pictures of 375x1242",
        seconds=(one_save, epoch),
        ratio=one_save / epoch,
        at_most=0.02,
    )
