"""What training leaves on disk after each epoch: weights, the best so far, history, figures."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from roadseg.config.schema import validate
from roadseg.evaluation.bootstrap import win_probability
from roadseg.models.model_file import epoch_file, save_weights
from roadseg.provenance.model_metadata import TrainedModelMetadata
from roadseg.system.files import copy_file, write_json
from roadseg.system.tables import round_significant, write_table
from roadseg.training.train_state import HistoryRow


@dataclass(frozen=True, kw_only=True)
class RunPaths:
    """Where training writes: DVC's outs, and beside DVC the TensorBoard runs and the states."""

    epochs: Path
    best: Path
    history: Path
    metrics: Path
    runs: Path
    states: Path


def best_epoch(history: list[HistoryRow]) -> int:
    """The first epoch with the highest val_miou."""
    return int(max(history, key=lambda row: (row["val_miou"], -row["epoch"]))["epoch"])


def training_metrics(history: list[HistoryRow], draws: list[list[float]]) -> HistoryRow:
    """What metrics/train.json holds: the best epoch, how sure that is, and the last one's figures.

    Args:
        draws: of each epoch, `miou_draws` of its validation.
    """
    winner = best_epoch(history) - 1
    best, last = history[winner], history[-1]
    figures = {
        "best_epoch_share": win_probability(np.array(draws), winner),
        "best_val_miou": best["val_miou"],
        "train_ce": last["train_ce"],
        "val_ce": last["val_ce"],
        "val_miou": last["val_miou"],
    }
    return {
        "best_epoch": int(best["epoch"]),
        **{name: round_significant(v) for name, v in figures.items()},
    }


def write_epoch(
    outputs: RunPaths,
    weights: dict[str, Tensor],
    description: dict[str, Any],
    history: list[HistoryRow],
    draws: list[list[float]],
) -> Path:
    """Write what the last row of `history` has added; each file is the old one or the new one.

    Args:
        description: goes into the weights' file, with the epoch and its val_miou.
        draws: of each epoch, `miou_draws` of its validation.

    Returns:
        The weights' file.
    """
    epoch, val_miou = int(history[-1]["epoch"]), round_significant(history[-1]["val_miou"])
    checkpoint = epoch_file(outputs.epochs, epoch)
    metadata = validate(TrainedModelMetadata, {**description, "epoch": epoch, "val_miou": val_miou})
    save_weights(checkpoint, weights, metadata)
    _write_summary(outputs, history, draws)
    return checkpoint


def restore_epochs(
    outputs: RunPaths, checkpoints: list[Path], history: list[HistoryRow], draws: list[list[float]]
) -> None:
    """Write what the epochs of `history` had added, and remove whatever else is there.

    Args:
        checkpoints: their weights' files.
    """
    shutil.rmtree(outputs.epochs, ignore_errors=True)
    for path in (outputs.best, outputs.history, outputs.metrics):
        path.unlink(missing_ok=True)
    for epoch, checkpoint in enumerate(checkpoints, start=1):
        copy_file(checkpoint, epoch_file(outputs.epochs, epoch))
    if history:
        _write_summary(outputs, history, draws)


def _write_summary(outputs: RunPaths, history: list[HistoryRow], draws: list[list[float]]) -> None:
    best = epoch_file(outputs.epochs, best_epoch(history))
    if best_epoch(history) == len(history) or not outputs.best.exists():
        copy_file(best, outputs.best)
    write_table(outputs.history, pd.DataFrame(history))
    write_json(outputs.metrics, training_metrics(history, draws))
