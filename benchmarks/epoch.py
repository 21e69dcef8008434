"""Overhead of an epoch, of loading batches, of evaluation, and of saving checkpoints."""

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
from benchmarks.table import ROUNDS, Row, time_alternately
from roadseg.config.params import Params, Resume, load_params
from roadseg.data.collate import Batch, Sample, pad_collate
from roadseg.data.loader import training_batches
from roadseg.data.prepared import PreparedDataset
from roadseg.data.sampler import EpochSampler
from roadseg.data.split_file import Split
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.bootstrap import RESAMPLES
from roadseg.evaluation.evaluate import evaluate, evaluation_batch, evaluation_groups
from roadseg.prepare.images.decoding import MAX_PIXELS
from roadseg.prepare.layout import RawPair, check_dataset
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
_KITTI_TRAINING = 180  # training images, of KITTI's 200 labeled ones


def make_trainer(
    prepared: PreparedDataset,
    epochs: int,
    params: Params | None = None,
    split: Split | None = None,
) -> Trainer:
    """Create a trainer; by default, the last _VALIDATION images are for validation."""
    params, ids = params or load_params(ROOT / "params.yaml"), prepared.train_ids()
    split = split or Split(train=ids[:-_VALIDATION], val=ids[-_VALIDATION:], test=[])
    train = params.train.model_copy(update={"epochs": epochs})
    code = source_blobs(ROOT / "stages" / "train.py")
    return build_trainer(prepared, split, params.model, train, params.recipe, code)


def make_checkpointer(trainer: Trainer, folder: Path, resume: Resume | None = None) -> Checkpointer:
    """Create a checkpointer that saves everything below `folder`."""
    outputs = RunPaths(
        epochs=folder / "models" / "epochs",
        best=folder / "models" / "best.safetensors",
        history=folder / "history.csv",
        metrics=folder / "train.json",
        runs=folder / "runs",
        states=folder / "states",
    )
    resume = resume or load_params(ROOT / "params.yaml").resume
    return Checkpointer(outputs, trainer.metadata, resume, trainer.train.epochs)


@contextlib.contextmanager
def start_training(trainer: Trainer, folder: Path) -> Iterator[TrainState]:
    """Prepare a training run up to its first step, with logging and checkpoints."""
    with GracefulShutdown() as trainer.stop:
        trainer.checkpointer = make_checkpointer(trainer, folder)
        trainer.logger, state = TrainingLogger(folder / "runs"), trainer.initial_state()
        with trainer.checkpointer.lock(trainer.stop.check):
            trainer.checkpointer.load(state)
            with trainer.logger.open(state, trainer.train.epochs):
                yield state
                trainer.checkpointer.wait()


def epoch_batches(trainer: Trainer) -> Iterator[Batch]:
    """Return the batches of the first epoch."""
    size, steps = trainer.recipe.batch_size, range(trainer.steps_per_epoch)
    sampler = EpochSampler(len(trainer.dataset), size, trainer.train.seed, steps)
    return training_batches(trainer.dataset, sampler, 0)


def rows() -> Iterator[Row]:
    """Measure all rows of this group."""
    # On the repository's disk, because saving is measured too.
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".ckpt-") as name:
        folder = Path(name)
        prepared = sample.write_prepared(folder, 64, **sample.SMALL)
        yield epoch_row(prepared, folder)
        yield from loading_rows(prepared, folder / "raw")
        yield evaluation_row(prepared)
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".ckpt-") as name:
        yield saving_row(sample.write_prepared(Path(name), 8, **sample.KITTI), Path(name))


def epoch_row(prepared: PreparedDataset, folder: Path) -> Row:
    """Compare an epoch, with loading, logging and saving but without validation, to its steps."""
    trainer, validation_s = make_trainer(prepared, 2 * (ROUNDS + 1)), [0.0]
    loaded, validate = list(epoch_batches(trainer)), trainer.validate

    def time_validation(state: TrainState) -> None:
        begun = time.perf_counter()
        validate(state)
        validation_s[0] += time.perf_counter() - begun

    trainer.validate = time_validation
    with start_training(trainer, folder) as state:
        batches, bare = trainer.batches(state), trainer.initial_state()

        def epoch() -> float:
            trainer.run_epoch(state, batches)  # it is saved while the next one runs
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

        seconds = time_alternately(epoch, steps)
    return Row(
        name=f"epoch of {len(trainer.dataset)} images of 96x320, without its validation",
        sides="the epoch / its training steps alone",
        seconds=seconds,
        ratio=seconds[0] / seconds[1],
        at_most=1.03,
    )


def loading_rows(prepared: PreparedDataset, raw: Path) -> Iterator[Row]:
    """Compare loading batches from the prepared arrays to decoding PNG files."""
    trainer = make_trainer(prepared, 1)
    pairs = check_dataset(raw, MAX_PIXELS).train
    ids = trainer.dataset.ids

    def load_from_cache() -> None:
        for _ in epoch_batches(trainer):
            pass

    def decode_files() -> None:
        for start in range(0, len(ids), trainer.recipe.batch_size):
            names = ids[start : start + trainer.recipe.batch_size]
            pad_collate([Sample(*_decode(raw, pairs[name])) for name in names])

    num_batches = math.ceil(len(ids) / trainer.recipe.batch_size)
    seconds = time_alternately(decode_files, load_from_cache)
    decoding, loading = (1000 * s / num_batches for s in seconds)
    yield Row(
        name="a training batch of 2 images of 96x320",
        sides="decoding its PNG files / loading it from the prepared arrays",
        seconds=(decoding, loading),
        ratio=decoding / loading,
        unit="ms",
    )


def _decode(raw: Path, pair: RawPair) -> list[np.ndarray]:
    return [np.asarray(Image.open(raw / name)) for name in (pair.image, pair.mask)]


def evaluation_row(prepared: PreparedDataset) -> Row:
    """Compare evaluation, with reading and metrics, to its forward passes."""
    trainer = make_trainer(prepared, 1)
    accelerator, network = trainer.accelerator, trainer.initial_state().network
    size = load_params(ROOT / "params.yaml").evaluate.batch_size
    ids = sorted(prepared.train_ids()[: 4 * size], key=prepared.size)
    keep_freed_memory()
    groups = evaluation_groups(prepared, ids, size)
    batches = [accelerator.images(evaluation_batch(prepared, names).images) for names in groups]

    def evaluation() -> None:
        details = Accumulators(prepared.class_map(), accelerator.device)  # as in the stage
        evaluate(network, prepared, ids, size, accelerator, ignored=None, after_batch=details.add)
        details.metrics()

    @torch.inference_mode()
    def passes() -> None:
        network.eval()
        for images in batches:
            accelerator.logits(network, images)

    seconds = time_alternately(evaluation, passes)
    return Row(
        name=f"evaluation of {len(ids)} images of 96x320",
        sides="evaluation with reading and metrics / forward passes alone",
        seconds=seconds,
        ratio=seconds[0] / seconds[1],
        at_most=1.1,
    )


def saving_row(prepared: PreparedDataset, folder: Path) -> Row:
    """Compare saving everything that an epoch of KITTI writes to the steps of the epoch."""
    trainer = make_trainer(prepared, 1)
    batch = next(epoch_batches(trainer))
    steps_per_epoch = math.ceil(_KITTI_TRAINING / trainer.recipe.batch_size)
    with start_training(trainer, folder) as state:
        saver = trainer.checkpointer
        # Save a checkpoint at the end of each epoch, too.
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

        one_step, one_save = time_alternately(step, saving)
        files = [next(saver.store.folder.glob(kind)) for kind in ("state_*", "epoch_*")]
        state_mb, epoch_mb = (file.stat().st_size / 1e6 for file in files)
    epoch = steps_per_epoch * one_step
    return Row(
        name=f"saving an epoch: checkpoint {state_mb:.0f} MB, weights {epoch_mb:.0f} MB",
        sides=f"saving / the steps of an epoch of {_KITTI_TRAINING} images of 375x1242",
        seconds=(one_save, epoch),
        ratio=one_save / epoch,
        at_most=0.02,
    )
