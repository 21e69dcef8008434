"""How often each of 0, 1, .. occurs."""

import torch
from torch import Tensor


def bincount(values: Tensor, size: int) -> Tensor:
    """(size,) int64, how often each of 0..size - 1 occurs; a GPU is not waited for.

    Args:
        values: (P,) int64, 0..size - 1.
    """
    if values.device.type != "cuda":
        return torch.bincount(values, minlength=size)
    # CUDA's bincount asks for the largest value first
    counts = torch.zeros(size, dtype=torch.int64, device=values.device)
    return counts.index_add_(0, values, torch.ones_like(values))
