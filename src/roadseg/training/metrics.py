"""What a training measures: by validation, by epoch, and at its end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roadseg.evaluation.bootstrap import win_probability
from roadseg.evaluation.metric_files import TrainingMetrics
from roadseg.system.errors import InputError
from roadseg.system.tables import round_significant


@dataclass
class EpochSum:
    """Cross-entropy of the training images over an epoch, each with the weights of its step."""

    cross_entropy: float = 0.0
    """Sum over the counted pixels; nats."""
    pixels: float = 0.0

    def add(self, cross_entropy: float, pixels: float) -> None:
        self.cross_entropy += cross_entropy
        self.pixels += pixels

    def mean(self) -> float:
        if not self.pixels:
            raise InputError("train: no pixel of the training masks counts; check the class map")
        return self.cross_entropy / self.pixels


@dataclass(frozen=True)
class Validation:
    """The result of one validation."""

    cross_entropy: float
    """Mean over the counted pixels; nats."""
    miou: float
    """0 to 1."""
    draws: list[float]
    """`miou_draws` of the validation images."""
    learning_rate: float
    """Of the step before the validation; the plateau schedule may have lowered it since."""


@dataclass(frozen=True)
class HistoryRow:
    """One epoch, a row of plots/history.csv."""

    epoch: int
    train_ce: float
    val_ce: float
    val_miou: float
    lr: float
    """Learning rate of the last step."""


def best_epoch(history: Sequence[HistoryRow]) -> int:
    """Return the first epoch with the highest val_miou."""
    return max(history, key=lambda row: (row.val_miou, -row.epoch)).epoch


def training_metrics(
    history: Sequence[HistoryRow], draws: Sequence[list[float]]
) -> TrainingMetrics:
    """Summarize a training; all values are rounded as in the file.

    Args:
        draws: `miou_draws` of the validation of each epoch.
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
