"""The outputs of a training after each epoch: weights, the best model, history and metrics."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor

from roadseg.config.json_files import write_model
from roadseg.models.model_file import epoch_file, save_weights
from roadseg.provenance.model_metadata import ModelMetadata, TrainedModelMetadata
from roadseg.system.files import copy_file
from roadseg.system.tables import round_significant, write_table
from roadseg.training.metrics import HistoryRow, best_epoch, training_metrics


@dataclass(frozen=True, kw_only=True)
class RunPaths:
    """Where a training writes: the outputs of its stage, and outside DVC `runs` and `states`."""

    epochs: Path
    best: Path
    history: Path
    metrics: Path
    runs: Path
    """TensorBoard runs."""
    states: Path
    """Checkpoints."""


def write_epoch(
    outputs: RunPaths,
    weights: dict[str, Tensor],
    metadata: ModelMetadata,
    machines: Sequence[dict[str, str | int]],
    history: Sequence[HistoryRow],
    draws: Sequence[list[float]],
) -> Path:
    """Write the outputs of the last epoch of `history`; each file is replaced atomically.

    Args:
        metadata: of the weights; `machines`, the epoch and its val_miou are added.
        draws: `miou_draws` of the validation of each epoch.

    Returns:
        The file of the weights.
    """
    last = history[-1]
    path = epoch_file(outputs.epochs, last.epoch)
    more = {"epoch": last.epoch, "val_miou": round_significant(last.val_miou)}
    trained = TrainedModelMetadata(**{**dict(metadata), "machines": machines, **more})
    save_weights(path, weights, trained)
    _write_summary(outputs, history, draws)
    return path


def restore_epochs(
    outputs: RunPaths,
    weights: Sequence[Path],
    history: Sequence[HistoryRow],
    draws: Sequence[list[float]],
) -> None:
    """Write the outputs of all epochs of `history`, and remove those of any other epoch.

    Args:
        weights: the file of the weights of each epoch.
    """
    shutil.rmtree(outputs.epochs, ignore_errors=True)
    for path in (outputs.best, outputs.history, outputs.metrics):
        path.unlink(missing_ok=True)
    for epoch, path in enumerate(weights, start=1):
        copy_file(path, epoch_file(outputs.epochs, epoch))
    if history:
        _write_summary(outputs, history, draws)


def _write_summary(
    outputs: RunPaths, history: Sequence[HistoryRow], draws: Sequence[list[float]]
) -> None:
    best = epoch_file(outputs.epochs, best_epoch(history))
    if best_epoch(history) == len(history) or not outputs.best.exists():
        copy_file(best, outputs.best)
    write_table(outputs.history, pd.DataFrame(list(history)))
    write_model(outputs.metrics, training_metrics(history, draws))
