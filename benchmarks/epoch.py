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
from roadseg.data.collate import Batch, Sample, pad_collate
from roadseg.data.loader import training_batches
from roadseg.data.prepared import PreparedDataset
from roadseg.data.sampler import EpochSampler
from roadseg.data.split_file import Split
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.bootstrap import RESAMPLES
from roadseg.evaluation.evaluate import evaluate, evaluation_batch, evaluation_groups
from roadseg.prepare.layout import TRAIN_IMAGES, TRAIN_MASKS, image_path
from roadseg.provenance.source_code import ROOT, source_blobs
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.memory import keep_freed_memory
from roadseg.training.checkpointer import Checkpointer, RunPaths
from roadseg.training.logger import TrainingLogger
from roadseg.training.metrics import HistoryRow
from roadseg.training.setup import build_trainer
from roadseg.training.train_state import TrainState
from roadseg.training.trainer import Trainer

_VALIDATION = 6
_KITTI_TRAINING = 180  # of its 200 labelled pictures


def made_trainer(prepared: PreparedDataset, epochs: int) -> Trainer:
    """The default recipe on the images of `prepared`, the last few of them for validation."""
    params, ids = load_params(ROOT / "params.yaml"), prepared.train_ids()
    split = Split(train=ids[:-_VALIDATION], val=ids[-_VALIDATION:], test=[])
    train = params.train.model_copy(update={"epochs": epochs})
    code = source_blobs(ROOT / "stages" / "train.py")
    return build_trainer(prepared, split, params.model, train, params.recipe, code)


def made_checkpointer(trainer: Trainer, folder: Path) -> Checkpointer:
    """Saves everything below `folder`."""
    outputs = RunPaths(
        epochs=folder / "models" / "epochs",
        best=folder / "models" / "best.safetensors",
        history=folder / "history.csv",
        metrics=folder / "train.json",
        runs=folder / "runs",
        states=folder / "states",
    )
    resume = load_params(ROOT / "params.yaml").resume
    return Checkpointer(outputs, trainer.metadata, resume, trainer.train.epochs)


@contextlib.contextmanager
def started(trainer: Trainer, folder: Path) -> Iterator[TrainState]:
    """A training before its first step, with everything that logs and saves it."""
    with GracefulShutdown() as trainer.stop:
        trainer.checkpointer = made_checkpointer(trainer, folder)
        trainer.logger, state = TrainingLogger(folder / "runs"), trainer.initial_state()
        with trainer.checkpointer.lock(trainer.stop.check):
            trainer.checkpointer.load(state)
            with trainer.logger.open(state, trainer.train.epochs):
                yield state
                trainer.checkpointer.wait()


def epoch_batches(trainer: Trainer) -> Iterator[Batch]:
    """The batches of the first epoch."""
    size, steps = trainer.recipe.batch_size, range(trainer.steps_per_epoch)
    sampler = EpochSampler(len(trainer.dataset), size, trainer.train.seed, steps)
    return training_batches(trainer.dataset, sampler, 0)


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


def epoch_row(prepared: PreparedDataset, folder: Path) -> Row:
    """Loading, logging and saving are in the epoch, its validation is not."""
    trainer, validation_s = made_trainer(prepared, 2 * (ROUNDS + 1)), [0.0]
    loaded, validate = list(epoch_batches(trainer)), trainer.validate

    def timed_validate(state: TrainState) -> None:
        begun = time.perf_counter()
        validate(state)
        validation_s[0] += time.perf_counter() - begun

    trainer.validate = timed_validate
    with started(trainer, folder) as state:
        batches, bare = trainer.batches(state), trainer.initial_state()

        def epoch() -> float:
            trainer.run_epoch(state, batches)  # is being saved during the next one
            begun, validation_s[0] = time.perf_counter(), 0.0
            trainer.run_epoch(state, batches)
            return time.perf_counter() - begun - validation_s[0]

        def steps() -> float:
            trainer.checkpointer.wait()
            bare.step, bare.pending = 0, []
            begun = time.perf_counter()
            for batch in loaded:
                trainer.train_step(bare, batch)
            return time.perf_counter() - begun

        seconds = in_turn(epoch, steps)
    return Row(
        name=f"epoch of {len(trainer.dataset)} pictures of 96x320, without its validation",
        sides="the epoch / its bare steps",
        seconds=seconds,
        ratio=seconds[0] / seconds[1],
        at_most=1.03,
    )


def loading_rows(prepared: PreparedDataset, raw: Path) -> Iterator[Row]:
    trainer = made_trainer(prepared, 1)
    ids = trainer.dataset.ids

    def from_cache() -> None:
        for _ in epoch_batches(trainer):
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
        details.metrics()

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
    batch = next(epoch_batches(trainer))
    steps_per_epoch = math.ceil(_KITTI_TRAINING / trainer.recipe.batch_size)
    with started(trainer, folder) as state:
        saver = trainer.checkpointer
        # a checkpoint at the end of each epoch, too
        saver.resume = saver.resume.model_copy(update={"minutes": 0})

        def step() -> None:
            trainer.train_step(state, batch)

        def saving() -> None:
            state.fetch_losses()
            number = len(state.history) + 1
            state.history.append(HistoryRow(number, 1.0, 1.0, 0.5, 0.001))
            state.draws.append([0.5] * RESAMPLES)
            trainer.save(state, epoch_done=True)
            saver.wait()

        one_step, one_save = in_turn(step, saving)
        files = [next(saver.store.folder.glob(kind)) for kind in ("state_*", "epoch_*")]
        state_mb, epoch_mb = (file.stat().st_size / 1e6 for file in files)
    epoch = steps_per_epoch * one_step
    return Row(
        name=f"saving an epoch: state {state_mb:.0f} MB, weights {epoch_mb:.0f} MB",
        sides=f"all that is written / an epoch of {_KITTI_TRAINING} pictures of 375x1242",
        seconds=(one_save, epoch),
        ratio=one_save / epoch,
        at_most=0.02,
    )
