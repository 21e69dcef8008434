"""Dropout of whole channels, the same whatever the number of processes.

Shapes: N pictures of this process, C channels, H and W pixels.
"""

import torch
from torch import Tensor, nn


class ChannelDropout(nn.Module):
    """`nn.Dropout2d`, drawn for the pictures of all processes and applied to our own.

    So every process draws the same numbers, and its generator is where the others' are.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.place: tuple[slice, int] | None = None
        """Where our own pictures lie among how many; None: there are no others."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), channels dropped while training."""
        if not self.training or not self.probability:
            return x
        own, count = self.place or (slice(None), len(x))
        kept = torch.empty(count, x.shape[1], 1, 1, dtype=x.dtype, device=x.device)
        kept.bernoulli_(1 - self.probability).div_(1 - self.probability)
        return x * kept[own]
