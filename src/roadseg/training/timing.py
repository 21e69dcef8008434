"""Durations of training steps and validations, measured on this device."""

import contextlib
import io
import math
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from roadseg.config.params import MAX_EPOCHS, Recipe
from roadseg.data.collate import Batch
from roadseg.training.encoder import freeze_encoder
from roadseg.training.errors import require_shared_batches
from roadseg.training.logger import TrainingLogger
from roadseg.training.train_state import TrainState, synchronize_state
from roadseg.training.trainer import Trainer


class StepKind(NamedTuple):
    """A kind of training step; kinds differ in their duration."""

    halved: bool
    """On images of half height and width."""
    frozen: bool
    """The encoder is not trained."""


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
    both = min(halved, frozen)  # both kinds begin with the first step
    counts = {
        StepKind(halved=True, frozen=True): both,
        StepKind(halved=True, frozen=False): halved - both,
        StepKind(halved=False, frozen=True): frozen - both,
        StepKind(halved=False, frozen=False): total - max(halved, frozen),
    }
    return {kind: count for kind, count in counts.items() if count}


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
    last = num_images - (trainer.steps_per_epoch - 1) * recipe.batch_size
    require_shared_batches(state.network, last, group.size)
    synchronize_state(state, group)
    with contextlib.closing(_endless_batches(trainer, state)) as batches:
        timer = _Timer(trainer, state, batches)
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


def _endless_batches(trainer: Trainer, state: TrainState) -> Generator[Batch, None, None]:
    while True:
        state.step = 0
        yield from trainer.batches(state)


@dataclass
class _Timer:
    """Runs training steps and validations, and returns their durations in seconds."""

    trainer: Trainer
    state: TrainState
    batches: Iterator[Batch]
    num_steps: int = 0

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
                batch = next(self.batches)
                state.step = step
                trainer.train_step(state, batch)
                before = self.num_steps % trainer.steps_per_epoch * trainer.recipe.batch_size
                images += min(trainer.recipe.batch_size, len(trainer.dataset) - before)
                self.num_steps += 1
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
