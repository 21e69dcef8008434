"""Durations of training steps and validations, measured on this device."""

import contextlib
import io
import math
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from roadseg.config.params import MAX_EPOCHS
from roadseg.config.recipe import Recipe
from roadseg.data.collate import Batch
from roadseg.training.encoder import freeze_encoder
from roadseg.training.logger import TrainingLogger
from roadseg.training.train_state import TrainState, synchronize_state
from roadseg.training.trainer import Trainer


class StepKind(NamedTuple):
    """A kind of training step; kinds differ in their duration."""

    halved: bool
    """On images of half height and width."""
    frozen: bool
    """The encoder is not trained."""
    whole: bool = False
    """On whole images in a plain epoch, whereas other epochs crop them."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Measured durations, in seconds."""

    startup: float
    """From the start of the stage to the end of the first step."""
    image: Mapping[StepKind, float]
    """Duration of a training step per image of the batch."""
    validation: float
    num_images: int
    """Number of training images."""
    num_validations: int
    """Validations per epoch."""

    def seconds(self, recipe: Recipe, epochs: int) -> float:
        """Estimate the duration of a training."""
        counts = image_counts(recipe, epochs, self.num_images)
        steps = sum(count * self.image[kind] for kind, count in counts.items())
        return self.startup + steps + epochs * self.num_validations * self.validation

    def choose_epochs(self, recipe: Recipe, seconds: float) -> int:
        """Return the number of epochs whose duration is closest to `seconds`."""
        return min(
            range(1, MAX_EPOCHS + 1), key=lambda epochs: abs(self.seconds(recipe, epochs) - seconds)
        )


def image_counts(recipe: Recipe, epochs: int, num_images: int) -> dict[StepKind, float]:
    """Return the number of images that steps of each kind train in all epochs, without zeros."""
    total = epochs * num_images
    halved, frozen = recipe.halved * total, min(epochs, recipe.encoder_frozen) * num_images
    augmentation, plain = recipe.augmentation, total
    if augmentation is not None and augmentation.crop < 1:
        plain = augmentation.num_changed(epochs) * num_images
    counts: dict[StepKind, float] = {}
    for start, end in pairwise(sorted({0, halved, frozen, plain, total})):
        kind = StepKind(halved=start < halved, frozen=start < frozen, whole=start >= plain)
        counts[kind] = counts.get(kind, 0) + end - start
    return counts


def measure_timing(trainer: Trainer, seconds: float, started: float) -> Timing:
    """Time steps of each kind and a validation; all ranks return the same numbers.

    Args:
        seconds: planned duration of the training, which decides how long this takes.
        started: `time.perf_counter()` when the trainer began to be built.
    """
    recipe, num_images = trainer.recipe, len(trainer.dataset)
    group = trainer.accelerator.process_group
    # with few and with many epochs
    counts = (image_counts(recipe, epochs, num_images) for epochs in (1, MAX_EPOCHS))
    kinds = sorted({kind for count in counts for kind in count})
    least = min(60, max(10, 0.03 * seconds), seconds / 4)
    print(f"plan: measuring training steps for about {least:.3g} s, and a validation", flush=True)
    state = trainer.initial_state()
    synchronize_state(state, group)
    with contextlib.ExitStack() as stack:
        generators = {whole: _endless_batches(trainer, state, whole) for whole in (False, True)}
        for generator in generators.values():
            stack.enter_context(contextlib.closing(generator))
        timer = _Timer(trainer, state, generators)
        timer.run_steps(kinds[0], 1)
        startup = group.broadcast_object(lambda: time.perf_counter() - started)
        image = {kind: timer.seconds_per_image(kind, least / len(kinds)) for kind in kinds}
    return Timing(
        startup=startup,
        image=image,
        validation=timer.validation_seconds(least),
        num_images=num_images,
        num_validations=len(trainer.validate_after),
    )


def _endless_batches(
    trainer: Trainer, state: TrainState, whole: bool
) -> Generator[tuple[Batch, int], None, None]:
    """Yield batches of the first epochs or the last, and their numbers of images on all ranks."""
    size, count = trainer.recipe.batch_size, trainer.steps_per_epoch
    first = trainer.total_steps - count if whole else 0
    while True:
        state.step = first
        for number, batch in enumerate(trainer.batches(state)):
            yield batch, min(size, len(trainer.dataset) - number % count * size)


@dataclass
class _Timer:
    """Runs training steps and validations, and returns their durations in seconds."""

    trainer: Trainer
    state: TrainState
    batches: Mapping[bool, Iterator[tuple[Batch, int]]]
    """Batches and their numbers of images, by `StepKind.whole`."""

    def seconds_per_image(self, kind: StepKind, least: float) -> float:
        """Time steps for at least `least` seconds, after one whose duration is not counted."""
        self.run_steps(kind, 1)
        count, seconds = 1, 0.0
        while True:
            seconds, images = self.run_steps(kind, count)
            if seconds >= least:
                return seconds / images
            count = math.ceil(1.1 * count * least / max(seconds, 1e-3))

    def run_steps(self, kind: StepKind, count: int) -> tuple[float, int]:
        """Return the duration of `count` steps, and the number of images in their batches."""
        trainer, state, images = self.trainer, self.state, 0
        group = trainer.accelerator.process_group
        set_step(trainer, state, kind)
        step, started = state.step, time.perf_counter()
        with group.bar(desc="plan", total=count, unit="step", leave=False) as bar:
            for _ in range(count):
                batch, num_images = next(self.batches[kind.whole])
                state.step = step
                trainer.train_step(state, batch)
                images += num_images
                bar.update()
            state.fetch_losses()  # waits for the device
        return self._since(started), images

    def validation_seconds(self, least: float) -> float:
        """Time a validation and its log: the second one, if the first took less than `least`."""
        trainer, state, group = self.trainer, self.state, self.trainer.accelerator.process_group
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(io.StringIO()),  # the path of the log
        ):
            trainer.logger = TrainingLogger(Path(folder) if group.is_first else None)
            with trainer.logger.open(state, trainer.train.epochs):
                for _ in range(2):
                    started = time.perf_counter()
                    trainer.validate(state)
                    seconds = self._since(started)
                    if seconds >= least:
                        break
        return seconds

    def _since(self, started: float) -> float:
        """Return the time since `started` as rank 0 measures it, so that all ranks decide alike."""
        group = self.trainer.accelerator.process_group
        return group.broadcast_object(lambda: time.perf_counter() - started)


def set_step(trainer: Trainer, state: TrainState, kind: StepKind) -> None:
    """Let the next step of `state` be of this kind."""
    state.epoch = 0 if kind.frozen else trainer.recipe.encoder_frozen
    state.step = 0 if kind.halved else trainer.total_steps - 1
    freeze_encoder(state, trainer.recipe)
