"""TensorBoard: what the report logged. Beside DVC, for its files differ from run to run."""

import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

HISTOGRAM_VALUES = 10_000
"""Largest number of values of one tensor that a histogram counts, evenly spaced over it."""


def run_name() -> str:
    """A new folder's name: the time, and the experiment's name where DVC gives one."""
    experiment = os.environ.get("DVC_EXP_NAME")
    return "-".join(filter(None, [time.strftime("%Y%m%d-%H%M%S"), experiment]))


class Board:
    """Scalars by step, and at each validation histograms and pictures.

    Args:
        first_step: the first step that will be logged; what an interrupted process has logged from
            there on is not shown.
    """

    def __init__(self, folder: Path, first_step: int = 1) -> None:
        self.folder = folder
        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def step(self, step: int, loss: float, learning_rate: float) -> None:
        """`loss` of the batch of `step` (1, 2, ..)."""
        self._writer.add_scalar("loss/train", loss, step)
        self._writer.add_scalar("learning_rate", learning_rate, step)

    def validation(self, step: int, cross_entropy: float, miou: float) -> None:
        self._writer.add_scalar("loss/val", cross_entropy, step)
        self._writer.add_scalar("miou/val", miou, step)

    def histograms(self, step: int, network: nn.Module) -> None:
        """Distribution of each parameter and of its last gradient."""
        for name, parameter in network.named_parameters():
            tag = name.replace(".", "/")
            self._writer.add_histogram(f"weights/{tag}", _spaced(parameter), step)
            if parameter.grad is not None:
                self._writer.add_histogram(f"grads/{tag}", _spaced(parameter.grad), step)

    def pictures(self, step: int, pictures: dict[str, np.ndarray]) -> None:
        """Pictures (H, W, 3) uint8 by what they show: image, mask, prediction."""
        for tag, image in pictures.items():
            self._writer.add_image(f"val/{tag}", image, step, dataformats="HWC")

    def flush(self) -> None:
        """Hand everything to the system, so that no kill of this process loses it."""
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _spaced(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // HISTOGRAM_VALUES)].float().cpu()
