"""Training from the first epoch to the last."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from src.config import Model, Recipe, Train
from src.data.batches import Batch, TrainingPictures, training_batches
from src.data.cache import Cache
from src.evaluation.prediction import Evaluation, evaluated, predicted_mask
from src.files import InputError
from src.model.loss import square_root_weights
from src.model.machine import chosen_machine, make_deterministic
from src.model.unet import UNet
from src.report.board import Board
from src.report.palette import colorized
from src.training.outputs import Outputs, Row, write_epoch
from src.training.schedule import one_cycle, plateau, set_learning_rate, validation_steps
from src.training.step import StepResult, build_optimizer, train_step

_DROPOUT = 3  # sets its generator apart from those of the batches


@dataclass(kw_only=True)
class State:
    """All that changes while training."""

    network: UNet
    optimizer: Optimizer
    plateau: ReduceLROnPlateau | None
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps."""
    history: list[Row] = field(default_factory=list)

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]


@dataclass
class EpochSum:
    """Cross-entropy of the training pictures over an epoch, each as it was when it was seen."""

    cross_entropy: float = 0.0
    pixels: float = 0.0

    def add(self, result: StepResult) -> None:
        self.cross_entropy += result.cross_entropy.item()
        self.pixels += result.pixels.item()

    def mean(self) -> float:
        if not self.pixels:
            raise InputError("train: no pixel of the training masks counts; check the class map")
        return self.cross_entropy / self.pixels


class Trainer:
    """What stays the same while training, and the loop.

    Raises:
        InputError: a device or precision that is not there.
    """

    def __init__(
        self, cache: Cache, split: dict[str, Any], model: Model, train: Train, recipe: Recipe
    ) -> None:
        self.cache, self.train, self.recipe, self.val_ids = cache, train, recipe, split["val"]
        self.class_map = cache.class_map()
        self.machine = chosen_machine(train.device, train.precision)
        changes = {"flip": recipe.flip, "jitter": recipe.jitter}
        self.pictures = TrainingPictures(cache, split["train"], train.seed, **changes)
        self.steps_per_epoch = math.ceil(len(self.pictures) / recipe.batch_size)
        self.unet = {"num_classes": self.class_map.num_classes, **asdict(model)}
        self.class_weights = None
        if recipe.class_weights == "sqrt":
            pixels = cache.class_pixels(split["train"])
            self.class_weights = square_root_weights(pixels).to(self.machine.device)

    def run(self, outputs: Outputs) -> list[Row]:
        """Train every epoch, write the outs after each, and return the history.

        Raises:
            InputError: a loss or validation that is not finite, or masks in which nothing counts.
        """
        state = self.initial_state()
        description = {"unet": self.unet, "classes": self.class_map.to_json()}
        board = Board(outputs.runs)
        try:
            while state.epoch < self.train.epochs:
                self._run_epoch(state, board)
                write_epoch(outputs, state.network, description, state.history)
        finally:
            board.close()
        return state.history

    def initial_state(self) -> State:
        """Weights drawn by `train.seed`, before the first step."""
        make_deterministic()
        torch.manual_seed(self.train.seed)
        network = UNet(**self.unet)
        self.machine.placed(network)
        optimizer = build_optimizer(network.parameters(), self.recipe)
        stepwise = plateau(optimizer, self.recipe.patience)
        on_plateau = self.recipe.schedule == "plateau"
        return State(network=network, optimizer=optimizer, plateau=stepwise if on_plateau else None)

    def _run_epoch(self, state: State, board: Board) -> None:
        """Every picture once, the recipe's validations, one row of the history."""
        epoch = state.epoch + 1
        self._seed_dropout(epoch)
        validate_after = validation_steps(self.steps_per_epoch, self.recipe.validations_per_epoch)
        batches = training_batches(
            self.pictures, epoch, self.recipe.batch_size, self.train.num_workers
        )
        epoch_sum = EpochSum()
        title = f"epoch {epoch}/{self.train.epochs}"
        with tqdm(total=len(self.pictures), desc=title, unit="img", disable=None) as bar:
            for step_in_epoch, batch in enumerate(batches, start=1):
                result = self.step(state, batch)
                epoch_sum.add(result)
                loss = result.loss.item()
                board.step(state.step, loss, state.learning_rate)
                bar.set_postfix({"loss (batch)": f"{loss:.4f}"}, refresh=False)
                bar.update(len(batch.masks))
                if step_in_epoch in validate_after:
                    rate = state.learning_rate  # the plateau may lower it after this validation
                    validation = self._validate(state, board)
        state.epoch = epoch
        row = {
            "epoch": epoch,
            "train_ce": epoch_sum.mean(),
            "val_ce": validation.cross_entropy,
            "val_miou": validation.figures()["miou"],
            "lr": rate,
        }
        state.history.append(row)

    def step(self, state: State, batch: Batch) -> StepResult:
        """One step of training at the rate of the schedule.

        Raises:
            InputError: the loss is not finite; says where, and what to lower.
        """
        if self.recipe.schedule == "one_cycle":
            total = self.steps_per_epoch * self.train.epochs
            peak, warmup = self.recipe.learning_rate, self.recipe.warmup
            set_learning_rate(state.optimizer, one_cycle(state.step, total, peak, warmup))
        state.network.train()
        result = train_step(
            state.network, state.optimizer, batch, self.recipe, self.class_weights, self.machine
        )
        state.step += 1
        self._require_finite("loss", result.loss.item(), state)
        return result

    def _require_finite(self, name: str, value: float, state: State) -> None:
        if not math.isfinite(value):
            raise InputError(
                f"train: the {name} is {value} at step {state.step}, epoch {state.epoch + 1}; "
                f"lower the recipe's learning_rate ({self.recipe.learning_rate}) or clip_limit"
            )

    def _seed_dropout(self, epoch: int) -> None:
        """Let what torch draws in `epoch` depend on seed and epoch, not on the epochs before."""
        (word,) = np.random.SeedSequence([_DROPOUT, self.train.seed, epoch]).generate_state(1)
        torch.manual_seed(int(word))

    def _validate(self, state: State, board: Board) -> Evaluation:
        """Cross-entropy and confusion over the validation pictures; the plateau sees the first."""
        validation = evaluated(
            state.network, self.cache, self.val_ids, self.recipe.batch_size, self.machine
        )
        self._require_finite("validation cross-entropy", validation.cross_entropy, state)
        if state.plateau is not None:
            state.plateau.step(validation.cross_entropy)
        board.validation(state.step, validation.cross_entropy, validation.figures()["miou"])
        board.histograms(state.step, state.network)
        first, colors = self.val_ids[0], self.class_map.colors
        predicted = predicted_mask(state.network, self.cache.image(first), self.machine)
        pictures = {
            "image": np.array(self.cache.image(first)),
            "mask": colorized(self.cache.mask(first), colors),
            "prediction": colorized(predicted, colors),
        }
        board.pictures(state.step, pictures)
        return validation
