"""Training from the first epoch to the last."""

import contextlib
import copy
import math
import time
from collections.abc import Iterator

import numpy as np
import torch

from roadseg.config.params import Model, Recipe, Train
from roadseg.data.dataset import Batch, SegmentationDataset, training_batches
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.evaluation.bootstrap import SEED, miou_draws
from roadseg.evaluation.evaluate import evaluate
from roadseg.models.pretrained import load_pretrained
from roadseg.models.unet import UNet
from roadseg.provenance.fingerprint import build_provenance
from roadseg.reporting.panels import comparison_panels
from roadseg.runtime.accelerator import Accelerator, select_accelerator
from roadseg.runtime.ddp import wrap_ddp
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.errors import InputError
from roadseg.system.files import repository_path
from roadseg.system.memory import keep_freed_memory
from roadseg.training.checkpointer import Checkpointer
from roadseg.training.criterion import build_criterion
from roadseg.training.divergence import require_finite, require_finite_state
from roadseg.training.null_checkpointer import NullCheckpointer
from roadseg.training.optimizer import build_optimizer
from roadseg.training.out_of_memory import explain_out_of_memory
from roadseg.training.schedule import (
    is_halved,
    one_cycle,
    reduce_on_plateau,
    set_learning_rate,
    validation_steps,
)
from roadseg.training.train_state import EpochSum, HistoryRow, TrainState, Validation
from roadseg.training.train_step import StepResult, train_step, update_average

_DROPOUT = 3  # sets its generator apart from those of the batches
_READ_S = 0.2
"""Seconds between looks at the losses, each of which waits for the device."""


class Trainer:
    """What stays the same while training, and the loop.

    Args:
        accelerator: where to train, and beside whom; None: alone, where `train` says.

    Raises:
        InputError: a device or precision that is not there, batches larger than the data set, or
            fewer pictures in them than processes.
    """

    def __init__(
        self,
        prepared: PreparedDataset,
        split: Split,
        model: Model,
        train: Train,
        recipe: Recipe,
        code: dict[str, str],
        accelerator: Accelerator | None = None,
    ) -> None:
        self.prepared, self.train, self.recipe, self.val_ids = prepared, train, recipe, split.val
        self.class_map = prepared.class_map()
        self.accelerator = accelerator or select_accelerator(train.device, train.precision)
        process_group = self.accelerator.process_group
        self.start = None if train.start is None else repository_path(train.start)
        changes = {"flip": recipe.flip, "jitter": recipe.jitter}
        self.pictures = SegmentationDataset(prepared, split.train, train.seed, **changes)
        if recipe.batch_size > len(self.pictures):
            raise InputError(
                f"recipes.{train.recipe}.batch_size: {recipe.batch_size} is more than the "
                f"{len(self.pictures)} training pictures; lower it"
            )
        if recipe.batch_size < process_group.size:
            raise InputError(
                f"recipes.{train.recipe}.batch_size: {recipe.batch_size} is less than "
                f"the {process_group.size} processes that share a batch; raise it, or use fewer"
            )
        self.steps_per_epoch = math.ceil(len(self.pictures) / recipe.batch_size)
        self.total_steps = self.steps_per_epoch * train.epochs
        self.validate_after = validation_steps(self.steps_per_epoch, recipe.validations_per_epoch)
        self.unet = {"num_classes": self.class_map.num_classes, **model.model_dump()}
        pixels, origin = process_group.of_first(
            lambda: (
                prepared.class_pixels(split.train),
                build_provenance(
                    code, prepared, split, model, train, recipe, self.accelerator, self.start
                ),
            )
        )
        self.objective = build_criterion(recipe, self.class_map, pixels, self.accelerator.device)
        self.description = {
            "unet": self.unet,
            "classes": self.class_map.to_json(),
            "ignored_class": self.objective.ignored,
            "scale": prepared.scale(),
            "provenance": origin,
        }

    def run(self, record: Checkpointer | NullCheckpointer) -> list[HistoryRow]:
        """Train the epochs that `record` does not have yet, and return the history of all.

        Raises:
            InputError: a loss or validation that is not finite, masks in which nothing counts, or
                too little memory.
            KeyboardInterrupt: asked to stop; the state is saved.
        """
        with explain_out_of_memory(self.train, self.recipe, self.unet["base_channels"]):
            return self._run(record)

    def _run(self, record: Checkpointer | NullCheckpointer) -> list[HistoryRow]:
        state = self.initial_state()
        with record.opened(state, self.train.epochs, self.accelerator.description()):
            self._start_together(state)
            try:
                with contextlib.closing(self.batches(state)) as batches:
                    while state.epoch < self.train.epochs:
                        self.run_epoch(state, record, batches)
            except KeyboardInterrupt:
                self._read(state, record)
                raise
        return state.history[: self.train.epochs]

    def initial_state(self) -> TrainState:
        """Weights drawn by `train.seed` or those of `train.start`, before the first step."""
        make_deterministic()
        keep_freed_memory()
        torch.manual_seed(self.train.seed)
        network = UNet(**self.unet)
        if self.start is not None:
            print(f"train: starts from {load_pretrained(self.start, network, self.class_map)}")
        self.accelerator.placed(network)
        recipe, precision = self.recipe, self.accelerator.precision
        optimizer = build_optimizer(network.parameters(), recipe, precision)
        on_plateau = recipe.schedule == "plateau"
        return TrainState(
            network=network,
            average=copy.deepcopy(network) if recipe.ema else None,
            optimizer=optimizer,
            plateau=reduce_on_plateau(optimizer, recipe.patience) if on_plateau else None,
        )

    def _start_together(self, state: TrainState) -> None:
        """Let all processes be where the first one is, and train one network."""
        process_group = self.accelerator.process_group
        if process_group.size > 1:
            state.restore(*process_group.of_first(lambda: (state.tensors(), state.facts())))
            state.shared = wrap_ddp(state.network, process_group)

    def _steps_done(self, state: TrainState) -> int:
        """How many steps of the epoch at hand are finished."""
        return state.step - state.epoch * self.steps_per_epoch

    def batches(self, state: TrainState) -> Iterator[Batch]:
        """All that are left, of all epochs."""
        self.pictures.move_to(self.accelerator.device, room=self.accelerator.free_bytes() // 4)
        return training_batches(
            self.pictures,
            state.epoch + 1,
            self.recipe.batch_size,
            self.train.num_workers,
            first=self._steps_done(state),
            last_epoch=self.train.epochs,
            pin=self.accelerator.device.type == "cuda",
            process_group=self.accelerator.process_group,
        )

    def run_epoch(
        self, state: TrainState, record: Checkpointer | NullCheckpointer, batches: Iterator[Batch]
    ) -> None:
        """What is left of an epoch: its pictures, the recipe's validations, a row of history."""
        epoch, done, size = state.epoch + 1, self._steps_done(state), self.recipe.batch_size
        if done == 0:
            self._seed_dropout(epoch)
            state.epoch_sum = EpochSum()
        if state.validation_due:  # it was interrupted; TensorBoard has dropped this step
            record.board.step(state.step, state.loss, state.learning_rate)
            self._validate(state, record)
        with self.accelerator.process_group.bar(
            desc=f"epoch {epoch}/{self.train.epochs}",
            total=len(self.pictures),
            initial=min(done * size, len(self.pictures)),
            unit="img",
            leave=False,
        ) as bar:
            read_at = time.monotonic()
            for step_in_epoch in range(done + 1, self.steps_per_epoch + 1):
                batch = next(batches)
                self.step(state, batch)
                bar.update(min(size, bar.total - bar.n))
                state.validation_due = step_in_epoch in self.validate_after
                to_save = record.is_save_due()
                if to_save or state.validation_due or time.monotonic() - read_at > _READ_S:
                    self._read(state, record)
                    bar.set_postfix({"loss (batch)": f"{state.loss:.4f}"}, refresh=False)
                    read_at = time.monotonic()
                if state.validation_due:
                    self._validate(state, record)
                self._check(record)
                if to_save:
                    record.save(state)
        self._close_epoch(state, record)

    def _close_epoch(self, state: TrainState, record: Checkpointer | NullCheckpointer) -> None:
        """Add a row to the history, save, and say how it went."""
        state.epoch += 1
        row = {
            "epoch": state.epoch,
            "train_ce": state.epoch_sum.mean(),
            "val_ce": state.validation.cross_entropy,
            "val_miou": state.validation.miou,
            "lr": state.validation.learning_rate,
        }
        state.history.append(row)
        state.draws.append(state.validation.draws)
        record.board.epoch(state.epoch, {key: row[key] for key in row if key != "epoch"})
        record.save(state, epoch_done=True)
        print(
            f"train: epoch {state.epoch}/{self.train.epochs}: cross-entropy {row['train_ce']:.3f}, "
            f"validation {row['val_ce']:.3f}, mIoU {row['val_miou']:.3f}",
            flush=True,
        )

    def _check(self, record: Checkpointer | NullCheckpointer) -> None:
        """Raise KeyboardInterrupt in all processes where one of them is asked to stop."""
        if self.accelerator.process_group.any(record.stop.requested):
            raise KeyboardInterrupt

    def step(self, state: TrainState, batch: Batch) -> StepResult:
        """One step of training at the rate of the schedule; what it gave stays on the device.

        Args:
            batch: this process's share of the batch.
        """
        recipe = self.recipe
        if rank := self.accelerator.process_group.rank:
            # a state holds the generator of rank 0 only; with these seeds a resumed training
            # draws the same masks as one that was never interrupted
            self._seed_dropout(state.step, rank)
        if recipe.schedule == "one_cycle":
            rate = one_cycle(state.step, self.total_steps, recipe.learning_rate, recipe.warmup)
            set_learning_rate(state.optimizer, rate)
        halved = is_halved(state.step, self.total_steps, recipe.halved)
        network = state.shared or state.network
        network.train()
        result = train_step(
            network, state.optimizer, batch, recipe, self.objective, self.accelerator, halved
        )
        state.step += 1
        if state.average is not None:
            update_average(state.average, state.network, state.step, recipe.ema)
        state.unread.append((state.step, state.learning_rate, result))
        return result

    def _read(self, state: TrainState, record: Checkpointer | NullCheckpointer) -> None:
        """Log the steps since the last time. Waits for the device.

        Raises:
            NotFiniteError: a loss is not finite; says where, and what to lower.
        """
        for step, learning_rate, loss in state.read():
            self._require_finite("loss", loss, step, state)
            record.board.step(step, loss, learning_rate)
        self._require_finite("cross-entropy", state.epoch_sum.cross_entropy, state.step, state)

    def _require_finite(self, name: str, value: float, step: int, state: TrainState) -> None:
        require_finite(name, value, step, state.epoch + 1, self.description["provenance"])

    def _seed_dropout(self, *words: int) -> None:
        """Seed torch's generator: rank 0 by the epoch, the others by (step, rank)."""
        (word,) = np.random.SeedSequence([_DROPOUT, self.train.seed, *words]).generate_state(1)
        torch.manual_seed(int(word))

    def _validate(self, state: TrainState, record: Checkpointer | NullCheckpointer) -> None:
        """Cross-entropy and confusion over the validation pictures; the plateau sees the first."""
        require_finite_state(state, state.epoch + 1, self.description["provenance"])
        found = evaluate(
            state.judged,
            self.prepared,
            self.val_ids,
            self.recipe.batch_size,
            self.accelerator,
            ignored=self.objective.ignored,
            before_batch=lambda: self._check(record),
        )
        cross_entropy, miou = found.cross_entropy, found.figures()["miou"]
        self._require_finite("validation cross-entropy", cross_entropy, state.step, state)
        draws = miou_draws(found.confusions, self.class_map.void_id, SEED).tolist()
        state.validation = Validation(cross_entropy, miou, draws, state.learning_rate)
        if state.plateau is not None:
            state.plateau.step(cross_entropy)
        record.board.validation(state.step, cross_entropy, miou)
        record.board.histograms(state.step, state.network)
        if self.accelerator.process_group.is_first:
            example = comparison_panels(
                state.judged, self.prepared, self.val_ids[0], self.accelerator
            )
            record.board.pictures(state.step, example)
        state.validation_due = False
