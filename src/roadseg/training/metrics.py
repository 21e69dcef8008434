"""Metrics of a training run: of each validation, of each epoch, and at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from roadseg.evaluation.bootstrap import win_probability
from roadseg.evaluation.metric_files import TrainingMetrics
from roadseg.system.errors import InputError
from roadseg.system.tables import round_significant


@dataclass
class EpochSum:
    """Running sum of the training cross-entropy over the counted pixels of an epoch."""

    cross_entropy: float = 0.0
    """Sum; nats."""
    pixels: float = 0.0

    def add(self, cross_entropy: float, pixels: float) -> None:
        """Add a step."""
        self.cross_entropy += cross_entropy
        self.pixels += pixels

    def mean(self) -> float:
        """Mean over the counted pixels; nats."""
        if not self.pixels:
            raise InputError(
                "train: all pixels of the training masks are ignored after augmentation and "
                "halving; raise the recipe's crop, or set its halved to 0"
            )
        return self.cross_entropy / self.pixels


@dataclass(frozen=True)
class Validation:
    """Result of one validation; the default stands for none."""

    cross_entropy: float = math.inf
    """Mean over the counted pixels; nats."""
    miou: float = 0.0
    """0 to 1."""
    draws: list[float] = field(default_factory=list)
    """Bootstrap draws of the mIoU, see `miou_draws`."""
    learning_rate: float = 0.0
    """Rate of the step before the validation; the plateau schedule may have lowered it since."""


@dataclass(frozen=True)
class HistoryRow:
    """One epoch; a row of plots/history.csv."""

    epoch: int
    train_ce: float
    val_ce: float
    val_miou: float
    lr: float
    """Learning rate of the last step of the epoch."""


def best_epoch(history: Sequence[HistoryRow]) -> int:
    """Return the first epoch with the highest val_miou."""
    return max(history, key=lambda row: (row.val_miou, -row.epoch)).epoch


def training_metrics(
    history: Sequence[HistoryRow], draws: Sequence[list[float]]
) -> TrainingMetrics:
    """Summarize a training run, with the values rounded as in metrics/train.json.

    Args:
        draws: bootstrap draws of the mIoU of each epoch, see `miou_draws`.
    """
    winner = best_epoch(history) - 1
    best, last = history[winner], history[-1]
    return TrainingMetrics(
        best_epoch=best.epoch,
        best_epoch_share=round_significant(win_probability(np.array(draws), winner)),
        best_val_miou=round_significant(best.val_miou),
        train_ce=round_significant(last.train_ce),
        val_ce=round_significant(last.val_ce),
        val_miou=round_significant(last.val_miou),
    )
