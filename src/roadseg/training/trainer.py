"""The training loop.

Shapes: N images, K classes, H and W pixels.
"""

import contextlib
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from roadseg.config.params import Train
from roadseg.config.recipe import TrainingRecipe
from roadseg.data.collate import Batch
from roadseg.data.dataset import SegmentationDataset
from roadseg.data.loader import training_batches
from roadseg.data.prepared import PreparedDataset
from roadseg.data.sampler import EpochSampler
from roadseg.evaluation.bootstrap import SEED, miou_draws
from roadseg.evaluation.evaluate import evaluate
from roadseg.models.losses import log_probabilities, nll_sum
from roadseg.reporting.panels import comparison_panels
from roadseg.runtime.accelerator import Accelerator
from roadseg.runtime.determinism import seed_torch
from roadseg.runtime.signals import GracefulShutdown
from roadseg.training.batch import prepare_batch
from roadseg.training.checkpointer import Checkpointer, NullCheckpointer, RunMetadata
from roadseg.training.criterion import Criterion
from roadseg.training.encoder import freeze_encoder
from roadseg.training.errors import (
    explain_out_of_memory,
    require_finite,
    require_finite_state,
    require_shared_batches,
)
from roadseg.training.logger import TrainingLogger
from roadseg.training.metrics import EpochSum, HistoryRow, Validation, training_metrics
from roadseg.training.optimizer import clip_gradients, step_optimizer, update_average
from roadseg.training.schedule import is_halved, one_cycle, set_learning_rate, validation_steps
from roadseg.training.train_state import (
    StepResult,
    TrainState,
    create_state,
    synchronize_state,
)

_DROPOUT = 3  # part of the seed, so that dropout draws other numbers than other purposes


@dataclass
class Trainer:
    """The training loop, with everything that does not change while training."""

    accelerator: Accelerator
    prepared: PreparedDataset
    dataset: SegmentationDataset
    """The training images."""
    val_ids: Sequence[str]
    """Ids of the validation images."""
    criterion: Criterion
    recipe: TrainingRecipe
    train: Train
    metadata: RunMetadata
    weights: Path | None = None
    """Folder with the initial weights of the encoder; None: random weights."""

    def __post_init__(self) -> None:
        self.steps_per_epoch = math.ceil(len(self.dataset) / self.recipe.batch_size)
        self.total_steps = self.steps_per_epoch * self.train.epochs
        validations = self.recipe.validations_per_epoch
        self.validate_after = validation_steps(self.steps_per_epoch, validations)
        process_group = self.accelerator.process_group
        self.checkpointer: Checkpointer | NullCheckpointer = NullCheckpointer(process_group)
        self.logger, self.stop = TrainingLogger(), GracefulShutdown()

    def run(
        self,
        checkpointer: Checkpointer | NullCheckpointer,
        logger: TrainingLogger,
        stop: GracefulShutdown,
    ) -> list[HistoryRow]:
        """Train from the latest checkpoint to the last epoch, and return the history of all epochs.

        Raises:
            InputError: the training diverged, or memory ran out.
            KeyboardInterrupt: a stop was requested; a checkpoint is saved.
        """
        self.checkpointer, self.logger, self.stop = checkpointer, logger, stop
        with explain_out_of_memory(self.train, self.recipe, self.metadata.network):
            state = self.initial_state()
            with checkpointer.lock(stop.check):
                has_checkpoint = checkpointer.load(state)
                with logger.open(state, self.train.epochs):
                    if state.epoch < self.train.epochs:
                        state.record_machine(self.accelerator.description())
                    if not has_checkpoint:
                        self.save(state)
                        checkpointer.wait()  # before any event, so that a restart finds the run
                    synchronize_state(state, self.accelerator.process_group)
                    self.run_epochs(state)
        return state.history[: self.train.epochs]

    def initial_state(self) -> TrainState:
        """Create the state before the first step.

        Raises:
            InputError: the processes cannot share each batch.
        """
        state = create_state(self.metadata, self.train, self.recipe, self.accelerator, self.weights)
        last = len(self.dataset) - (self.steps_per_epoch - 1) * self.recipe.batch_size
        require_shared_batches(state.network, last, self.accelerator.process_group.size)
        return state

    def batches(self, state: TrainState) -> Generator[Batch, None, None]:
        """Yield this rank's shard of each remaining batch of all epochs."""
        device, max_bytes = self.accelerator.device, self.accelerator.free_bytes() // 4
        self.dataset.move_to(device, max_bytes)
        sampler = EpochSampler(
            len(self.dataset),
            self.recipe.batch_size,
            self.train.seed,
            steps=range(state.step, self.total_steps),
            process_group=self.accelerator.process_group,
        )
        pin = device.type == "cuda"
        yield from training_batches(self.dataset, sampler, self.train.num_workers, pin=pin)

    def run_epochs(self, state: TrainState) -> None:
        """Train the remaining epochs; if interrupted, save a checkpoint."""
        try:
            with contextlib.closing(self.batches(state)) as batches:
                while state.epoch < self.train.epochs:
                    self.run_epoch(state, batches)
        except KeyboardInterrupt:
            self.log_steps(state)
            if not self.checkpointer.is_saved(state):
                self.save(state)
            self.checkpointer.wait()
            print(f"train: stopped after step {state.step}; the next run resumes from there")
            raise
        self.checkpointer.wait()
        metrics = training_metrics(state.history, state.draws)
        self.logger.log_result(state.step, self.metadata.provenance, metrics)

    def run_epoch(self, state: TrainState, batches: Iterator[Batch]) -> None:
        """Train the rest of an epoch, with its validations, and save its outputs."""
        freeze_encoder(state, self.recipe)
        if self.step_in_epoch(state) == 0:
            seed_torch(_DROPOUT, self.train.seed, state.epoch + 1)
            state.epoch_sum = EpochSum()
        if state.validation_due:  # the validation was interrupted, and TensorBoard hides the step
            self.logger.log_step(state.step, state.learning_rate, state.loss)
            self.validate(state)
        with self.progress_bar(state) as bar:
            for _ in range(self.step_in_epoch(state), self.steps_per_epoch):
                self.train_step(state, next(batches))
                bar.update(min(self.recipe.batch_size, len(self.dataset) - bar.n))
                state.validation_due = self.step_in_epoch(state) in self.validate_after
                save_due = self.checkpointer.is_save_due()
                if save_due or state.validation_due or self.logger.is_due():
                    self.log_steps(state)
                    bar.set_postfix({"loss (batch)": f"{state.loss:.4f}"}, refresh=False)
                if state.validation_due:
                    self.validate(state)
                self.check_stop()
                if save_due:
                    self.save(state)
        self.finish_epoch(state)

    def train_step(self, state: TrainState, batch: Batch) -> StepResult:
        """Update the network with one batch, without waiting for the device.

        `batch` is this rank's shard of the batch, which may have no image.
        """
        recipe, accelerator, step = self.recipe, self.accelerator, state.step
        if rank := accelerator.process_group.rank:
            # checkpoints contain the random generator of rank 0 only
            seed_torch(_DROPOUT, self.train.seed, step, rank)
        if recipe.schedule == "one_cycle":
            rate = one_cycle(step, self.total_steps, recipe.learning_rate, recipe.warmup)
            set_learning_rate(state.optimizer, rate)
        halved = is_halved(step, self.total_steps, recipe.halved)
        images, class_ids = prepare_batch(batch, accelerator, halved, self.criterion.ignored_class)
        network = (state.ddp or state.network).train()
        log_probs = log_probabilities(accelerator.logits(network, images))  # (N, K, H, W)
        loss = self.criterion.loss(log_probs, class_ids, accelerator.process_group)
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch lacks its type
        clip_gradients(network.parameters(), recipe)
        step_optimizer(state.optimizer, network)
        state.step += 1
        if state.average is not None:
            update_average(state.average, state.network, state.step, recipe.ema)
        sums = torch.stack([loss.detach(), *nll_sum(log_probs.detach(), class_ids)])
        result = StepResult(*accelerator.process_group.sum(sums))
        state.pending.append((state.step, state.learning_rate, result))
        return result

    def validate(self, state: TrainState) -> None:
        """Evaluate the network on the validation images, log it, and step the plateau schedule."""
        epoch = state.epoch + 1
        require_finite_state(state, epoch, self.metadata.provenance)
        evaluation = evaluate(
            state.eval_network,
            self.prepared,
            self.val_ids,
            self.recipe.batch_size,
            self.accelerator,
            ignored=self.criterion.ignored_class,
            before_batch=self.check_stop,
        )
        cross_entropy = evaluation.cross_entropy
        name = "validation cross-entropy"
        require_finite(name, cross_entropy, state.step, epoch, self.metadata.provenance)
        state.validation = Validation(
            cross_entropy=cross_entropy,
            miou=evaluation.metrics()["miou"],
            draws=miou_draws(evaluation.confusions, evaluation.void_id, SEED).tolist(),
            learning_rate=state.learning_rate,
        )
        if state.plateau is not None:
            state.plateau.step(cross_entropy)
            set_learning_rate(state.optimizer, state.learning_rate)  # exact ratio of the encoder's
        self.logger.log_validation(state.step, state.validation, state.network)
        if self.accelerator.process_group.is_first:
            images = comparison_panels(
                state.eval_network, self.prepared, self.val_ids[0], self.accelerator
            )
            self.logger.log_images(state.step, images)
        state.validation_due = False

    def finish_epoch(self, state: TrainState) -> None:
        """Add a row to the history, log it, and save the outputs of the epoch."""
        state.epoch += 1
        validation = state.validation
        row = HistoryRow(
            epoch=state.epoch,
            train_ce=state.epoch_sum.mean(),
            val_ce=validation.cross_entropy,
            val_miou=validation.miou,
            lr=validation.learning_rate,
        )
        state.history.append(row)
        state.draws.append(validation.draws)
        self.logger.log_epoch(row, self.train.epochs)
        self.save(state, epoch_done=True)

    def log_steps(self, state: TrainState) -> None:
        """Log the steps since the last call; waits for the device.

        Raises:
            DivergenceError: a loss is not finite.
        """
        epoch, total = state.epoch + 1, state.epoch_sum
        for step, learning_rate, loss in state.fetch_losses():
            require_finite("loss", loss, step, epoch, self.metadata.provenance)
            self.logger.log_step(step, learning_rate, loss)
        require_finite(
            "cross-entropy", total.cross_entropy, state.step, epoch, self.metadata.provenance
        )

    def save(self, state: TrainState, epoch_done: bool = False) -> None:
        """Save a checkpoint, or the outputs of the epoch that has just ended."""
        require_finite_state(state, state.epoch + (not epoch_done), self.metadata.provenance)
        try:
            self.logger.flush()
        finally:  # even if the disk of TensorBoard is full
            self.checkpointer.save(state, epoch_done)

    def check_stop(self) -> None:
        """Raise KeyboardInterrupt on all ranks if a stop was requested on any of them."""
        if self.accelerator.process_group.any(self.stop.requested):
            raise KeyboardInterrupt

    def step_in_epoch(self, state: TrainState) -> int:
        """Return the number of finished steps of the current epoch."""
        return state.step - state.epoch * self.steps_per_epoch

    def progress_bar(self, state: TrainState) -> "tqdm[NoReturn]":
        """Return a progress bar over the images of the current epoch."""
        num_images = len(self.dataset)
        return self.accelerator.process_group.bar(
            desc=f"epoch {state.epoch + 1}/{self.train.epochs}",
            total=num_images,
            initial=min(self.step_in_epoch(state) * self.recipe.batch_size, num_images),
            unit="img",
            leave=False,
        )
