"""Logging of a training run to the console and TensorBoard."""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.summary.writer import event_file_writer
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from roadseg.evaluation.metric_files import TrainingMetrics
from roadseg.provenance.model_metadata import TrainingProvenance
from roadseg.system.files import attach_path
from roadseg.training.metrics import HistoryRow, Validation
from roadseg.training.train_state import TrainState

HISTOGRAM_VALUES = 10_000
"""Maximum number of values per tensor in a histogram; larger tensors are subsampled evenly."""
_INTERVAL_S = 0.2
"""Minimum time between two fetches of the losses, each of which waits for the device; seconds."""


def _if_tensorboard(method: Callable[..., None]) -> Callable[..., None]:
    """Skip the method if there is no TensorBoard run; otherwise add the path to its errors."""

    @functools.wraps(method)
    def wrapper(logger: "TrainingLogger", *args: Any) -> None:
        if logger.folder:
            with attach_path(logger.folder):
                method(logger, *args)

    return wrapper


class TrainingLogger:
    """Logs to the console and, if `runs` is given, to TensorBoard.

    Args:
        runs: directory of the TensorBoard runs; None on ranks other than 0, whose console output
            is discarded.
    """

    def __init__(self, runs: Path | None = None) -> None:
        self.runs = runs
        self.folder: Path | None = None
        self._logged_at = 0.0

    @contextlib.contextmanager
    def open(self, state: TrainState, epochs: int) -> Iterator[None]:
        """Open the TensorBoard run of `state`, or a new one, unless all `epochs` are trained.

        Steps that an interrupted process logged after `state` was saved are hidden.
        """
        if self.runs is None or state.epoch >= epochs:
            yield
            return
        experiment = os.environ.get("DVC_EXP_NAME")
        new_run = "-".join(filter(None, [time.strftime("%Y%m%d-%H%M%S"), experiment]))
        state.run = state.run or new_run
        self.folder = self.runs / state.run
        first_step = state.step + (not state.validation_due)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_hide_writer_tracebacks())
            with attach_path(self.folder):
                self._step_writer = stack.enter_context(_open_writer(self.folder, first_step))
                # a separate run, because purge_step applies to all graphs of a run
                epochs_folder = self.folder / "epochs"
                self._epoch_writer = stack.enter_context(
                    _open_writer(epochs_folder, state.epoch + 1)
                )
            print(f"train: TensorBoard in {self.folder}")
            yield
            self.flush()

    def is_due(self) -> bool:
        """Return True if the last losses were logged at least 0.2 s ago."""
        return time.monotonic() - self._logged_at > _INTERVAL_S

    def log_step(self, step: int, learning_rate: float, loss: float) -> None:
        """Log one training step (1, 2, ...)."""
        self._logged_at = time.monotonic()
        self._log_scalars({"loss/train": loss, "learning_rate": learning_rate}, step)

    def log_validation(self, step: int, validation: Validation, network: nn.Module) -> None:
        """Log the metrics, and histograms of the weights and gradients."""
        self._log_scalars({"loss/val": validation.cross_entropy, "miou/val": validation.miou}, step)
        self.log_histograms(step, network)

    def log_epoch(self, row: HistoryRow, epochs: int) -> None:
        """Log a finished epoch."""
        metrics = {f"epoch/{k}": value for k, value in asdict(row).items() if k != "epoch"}
        self._log_scalars(metrics, row.epoch, True)
        print(
            f"train: epoch {row.epoch}/{epochs}: cross-entropy {row.train_ce:.3f}, "
            f"validation {row.val_ce:.3f}, mIoU {row.val_miou:.3f}",
            flush=True,
        )

    @_if_tensorboard
    def _log_scalars(self, values: Mapping[str, float], step: int, by_epoch: bool = False) -> None:
        writer = self._epoch_writer if by_epoch else self._step_writer
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    @_if_tensorboard
    def log_histograms(self, step: int, network: nn.Module) -> None:
        """Log the distribution of each parameter and of its last gradient."""
        for name, parameter in network.named_parameters():
            tag = name.replace(".", "/")
            self._step_writer.add_histogram(f"weights/{tag}", _subsample(parameter), step)
            if parameter.grad is not None:
                self._step_writer.add_histogram(f"grads/{tag}", _subsample(parameter.grad), step)

    @_if_tensorboard
    def log_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Log images (H, W, 3) uint8 by name."""
        for name, image in images.items():
            self._step_writer.add_image(f"val/{name}", image, step, dataformats="HWC")

    @_if_tensorboard
    def log_result(
        self, step: int, provenance: TrainingProvenance, metrics: TrainingMetrics
    ) -> None:
        """Log the hyperparameters and the final metrics of the training run."""
        parameters = {
            f"{section}.{key}": value
            for section in ("recipe", "model", "train")
            for key, value in getattr(provenance, section).items()
        }
        final = {f"final/{name}": value for name, value in metrics.model_dump().items()}
        self._log_scalars(final, step)
        # SummaryWriter.add_hparams would create another run below this one; torch has no types here
        for summary in hparams(parameters, final):  # type: ignore[no-untyped-call]
            self._step_writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]

    @_if_tensorboard
    def flush(self) -> None:
        """Write everything logged so far to disk."""
        self._step_writer.flush()
        self._epoch_writer.flush()


@contextlib.contextmanager
def _open_writer(folder: Path, first_step: int) -> Iterator[SummaryWriter]:
    writer = SummaryWriter(str(folder), purge_step=first_step)
    try:
        yield writer
    finally:
        with contextlib.suppress(OSError):  # already reported by an earlier call
            writer.close()


@contextlib.contextmanager
def _hide_writer_tracebacks() -> Iterator[None]:
    """Hide tracebacks of TensorBoard's threads; their writer raises the errors at the next call."""
    previous = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if type(args.thread).__module__ != event_file_writer.__name__:
            previous(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = previous


def _subsample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // HISTOGRAM_VALUES)].float().cpu()
