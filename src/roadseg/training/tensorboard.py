"""TensorBoard: what the report logged. Beside DVC, for its files differ from run to run."""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.summary.writer import event_file_writer
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from roadseg.system.files import attach_path

HISTOGRAM_VALUES = 10_000
"""Largest number of values of one tensor that a histogram counts, evenly spaced over it."""


def run_name() -> str:
    """A new folder's name: the time, and the experiment's name where DVC gives one."""
    experiment = os.environ.get("DVC_EXP_NAME")
    return "-".join(filter(None, [time.strftime("%Y%m%d-%H%M%S"), experiment]))


def _writes(method: Callable) -> Callable:
    """Of a method of a Board; its errors name the folder, for TensorBoard's own name nothing."""

    @functools.wraps(method)
    def named(board: "TensorBoardLogger", *args: Any, **options: Any) -> None:
        with attach_path(board.folder):
            method(board, *args, **options)

    return named


class TensorBoardLogger:
    """Scalars by step and by epoch, and at each validation histograms and pictures.

    Args:
        first_step, first_epoch: the first that will be logged; what an interrupted process has
            logged from there on is not shown.
    """

    def __init__(self, folder: Path, first_step: int = 1, first_epoch: int = 1) -> None:
        self.folder = folder
        self._open(first_step, first_epoch)

    @_writes
    def _open(self, first_step: int, first_epoch: int) -> None:
        self._previous_hook, threading.excepthook = threading.excepthook, self._report_thread_error
        self._writer = SummaryWriter(str(self.folder), purge_step=first_step)
        # a run of its own: what is not shown is told by one number for all of a run's graphs
        self._by_epoch = SummaryWriter(str(self.folder / "epochs"), purge_step=first_epoch)

    @_writes
    def step(self, step: int, loss: float, learning_rate: float) -> None:
        """`loss` of the batch of `step` (1, 2, ..)."""
        self._writer.add_scalar("loss/train", loss, step)
        self._writer.add_scalar("learning_rate", learning_rate, step)

    @_writes
    def validation(self, step: int, cross_entropy: float, miou: float) -> None:
        self._writer.add_scalar("loss/val", cross_entropy, step)
        self._writer.add_scalar("miou/val", miou, step)

    @_writes
    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """`figures` of `epoch` (1, 2, ..), whose number is the step that the graphs show."""
        for name, value in figures.items():
            self._by_epoch.add_scalar(f"epoch/{name}", value, epoch)

    @_writes
    def parameters(
        self, step: int, parameters: Mapping[str, Any], figures: Mapping[str, float]
    ) -> None:
        """A row of the table of trainings: what decides this one, and its figures at the end.

        Args:
            parameters: texts, numbers and truth values.
        """
        final = {f"final/{name}": value for name, value in figures.items()}
        for name, value in final.items():
            self._writer.add_scalar(name, value, step)
        # add_hparams of the writer itself would make a run of its own below this one
        for summary in hparams(dict(parameters), final):
            self._writer.file_writer.add_summary(summary)

    @_writes
    def histograms(self, step: int, network: nn.Module) -> None:
        """Distribution of each parameter and of its last gradient."""
        for name, parameter in network.named_parameters():
            tag = name.replace(".", "/")
            self._writer.add_histogram(f"weights/{tag}", _spaced(parameter), step)
            if parameter.grad is not None:
                self._writer.add_histogram(f"grads/{tag}", _spaced(parameter.grad), step)

    @_writes
    def pictures(self, step: int, pictures: dict[str, np.ndarray]) -> None:
        """Pictures (H, W, 3) uint8 by what they show: image, mask, prediction.."""
        for tag, image in pictures.items():
            self._writer.add_image(f"val/{tag}", image, step, dataformats="HWC")

    @_writes
    def flush(self) -> None:
        """Hand everything to the system, so that no kill of this process loses it."""
        self._writer.flush()
        self._by_epoch.flush()

    @_writes
    def close(self) -> None:
        """Write what is left; a second call does nothing more."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._restore_hook)
            stack.callback(self._by_epoch.close)
            stack.callback(self._writer.close)

    def _restore_hook(self) -> None:
        if threading.excepthook == self._report_thread_error:
            threading.excepthook = self._previous_hook

    def _report_thread_error(self, args: threading.ExceptHookArgs) -> None:
        """Hook of `threading` while the logger is open.

        TensorBoard's threads raise their errors again in the next call of their writer, which
        reports them; the traceback of the thread would be a second report.
        """
        if type(args.thread).__module__ != event_file_writer.__name__:
            self._previous_hook(args)


def _spaced(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // HISTOGRAM_VALUES)].float().cpu()
