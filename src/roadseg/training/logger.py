"""Reporting the progress of a training: lines on the console, and TensorBoard."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import nn

from roadseg.evaluation.metric_files import TrainingMetrics
from roadseg.provenance.model_metadata import TrainingProvenance
from roadseg.system.errors import InputError
from roadseg.training.metrics import HistoryRow, Validation
from roadseg.training.tensorboard import TensorBoardLogger, run_name
from roadseg.training.train_state import TrainState

_INTERVAL_S = 0.2
"""Seconds between two looks at the losses, each of which waits for the device."""


class TrainingLogger:
    """Logs to the console and, where `runs` is given, to TensorBoard.

    Args:
        runs: directory of the TensorBoard runs; None on ranks other than 0, whose console output
            is discarded.
    """

    def __init__(self, runs: Path | None = None) -> None:
        self.runs = runs
        self.board: TensorBoardLogger | None = None
        self._logged_at = 0.0

    @contextlib.contextmanager
    def open(self, state: TrainState, epochs: int) -> Iterator[None]:
        """Open the TensorBoard run of `state`, or a new one, unless all `epochs` are trained."""
        if self.runs is None or state.epoch >= epochs:
            yield
            return
        state.run = state.run or run_name()
        first_step = state.step + (not state.validation_due)
        self.board = TensorBoardLogger(self.runs / state.run, first_step, state.epoch + 1)
        print(f"train: TensorBoard in {self.board.folder}")
        try:
            yield
            self.board.close()
        finally:
            with contextlib.suppress(OSError, InputError):  # closed already, or another error
                self.board.close()

    def is_due(self) -> bool:
        """Whether the last losses were logged long enough ago."""
        return time.monotonic() - self._logged_at > _INTERVAL_S

    def log_step(self, step: int, learning_rate: float, loss: float) -> None:
        """Log one training step (1, 2, ...)."""
        self._logged_at = time.monotonic()
        if self.board:
            self.board.step(step, loss, learning_rate)

    def log_validation(self, step: int, validation: Validation, network: nn.Module) -> None:
        """Log the metrics, and histograms of the weights and gradients."""
        if self.board:
            self.board.validation(step, validation.cross_entropy, validation.miou)
            self.board.histograms(step, network)

    def log_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Log images (H, W, 3) uint8 by name."""
        if self.board:
            self.board.pictures(step, images)

    def log_epoch(self, row: HistoryRow, epochs: int) -> None:
        """Log a finished epoch."""
        if self.board:
            self.board.epoch(row.epoch, {k: v for k, v in asdict(row).items() if k != "epoch"})
        print(
            f"train: epoch {row.epoch}/{epochs}: cross-entropy {row.train_ce:.3f}, "
            f"validation {row.val_ce:.3f}, mIoU {row.val_miou:.3f}",
            flush=True,
        )

    def log_result(
        self, step: int, provenance: TrainingProvenance, metrics: TrainingMetrics
    ) -> None:
        """Log the hyperparameters and the final metrics of the whole training."""
        if self.board:
            sections = ("recipe", "model", "train")
            parameters = {
                f"{section}.{key}": value
                for section in sections
                for key, value in getattr(provenance, section).items()
            }
            self.board.parameters(step, parameters, metrics.model_dump())

    def flush(self) -> None:
        """Write everything logged so far, so that no kill of this process loses it."""
        if self.board:
            self.board.flush()
