"""Schedules: learning rate, image size and validations as pure functions of the step."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

_START, _END = 1 / 25, 1e-4  # fractions of the highest rate


def one_cycle(step: int, total_steps: int, peak: float, warmup: float) -> float:
    """One-cycle policy: a cosine up to `peak`, then a cosine down (Smith and Topin 2018).

    Args:
        step: 0..total_steps - 1.
        total_steps: number of steps of the training run.
        peak: highest rate.
        warmup: fraction of the steps before the peak, 0 to below 1.

    Returns:
        Learning rate of `step`: peak / 25 at step 0 (with warm-up), peak / 10,000 at the last.
    """
    top = warmup * (total_steps - 1)
    if step < top:
        start, end, progress = _START * peak, peak, step / top
    else:
        start, end = peak, _END * peak
        progress = (step - top) / max(1e-12, total_steps - 1 - top)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def is_halved(step: int, total_steps: int, fraction: float) -> bool:
    """Return True if `step` (0..total_steps - 1) is in the first `fraction` of the steps."""
    return step < fraction * total_steps


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of each parameter group to `rate` times the group's `rate_factor`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


def reduce_on_plateau(optimizer: Optimizer, patience: int) -> ReduceLROnPlateau:
    """Divide the rate by 10 after more than `patience` validations without improvement."""
    return ReduceLROnPlateau(optimizer, "min", factor=0.1, patience=patience)


def validation_steps(num_steps: int, times: int) -> set[int]:
    """Return the steps of an epoch, 1..num_steps, after which to validate, including the last.

    There are `times` evenly spaced validations, or fewer if the epoch has fewer steps.
    """
    return {math.ceil(num_steps * k / times) for k in range(1, times + 1)}
