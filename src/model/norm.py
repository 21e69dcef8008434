"""Norms: group norm, and batch norm whose batch is that of all processes.

Shapes: N pictures, C channels, H and W pixels, P = N * H * W.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from src.processes import ALONE, Processes

GROUPS = 32
"""Groups of a group norm (Wu and He 2018), fewer where a layer has fewer channels."""
_PIXELS = (0, 2, 3)


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d`; where several processes train, over the pictures of all of them.

    torch's SyncBatchNorm is the same for GPUs alone.
    """

    processes: Processes = ALONE

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), of other processes with another N, which may be 0."""
        if not self.training or self.processes.size == 1:
            return super().forward(x)
        y, count, mean, variance = _Normalized.apply(
            x, self.weight, self.bias, self.eps, self.processes
        )
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y


def norm(kind: str, channels: int) -> nn.Module:
    """A `batch` or `group` norm."""
    if kind == "batch":
        return BatchNorm(channels)
    groups = max(g for g in range(1, min(GROUPS, channels) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class _Normalized(Function):
    """(N, C, H, W) -> the same normalized, and () P, (C,) mean and (C,) variance of all pictures.

    Sums are float32, whatever the type of x.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, processes: Processes
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count, mean, variance = _moments(x, processes)
        inverse = (variance + epsilon).rsqrt()  # (C,)
        ctx.save_for_backward(x, weight, mean, inverse, count)
        ctx.processes = processes
        scale = weight * inverse
        y = torch.addcmul(_wide(bias - mean * scale), x.float(), _wide(scale)).to(x.dtype)
        ctx.mark_non_differentiable(count, mean, variance)
        return y, count, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        gradient = gradient.float()
        centered = x.float() - _wide(mean)
        of_bias = gradient.sum(_PIXELS)  # (C,), of our own pictures: DDP adds up the rest
        of_weight = (gradient * centered).sum(_PIXELS) * inverse
        means = ctx.processes.sum(torch.stack([of_bias, of_weight])) / count  # (2, C)
        scale = weight * inverse
        of_x = torch.addcmul(_wide(-means[0] * scale), gradient, _wide(scale))
        of_x.addcmul_(centered, _wide(-means[1] * inverse * scale))
        return of_x.to(x.dtype), of_weight, of_bias, None, None


def _moments(x: Tensor, processes: Processes) -> tuple[Tensor, Tensor, Tensor]:
    """() P, (C,) mean and (C,) variance over the pictures of all processes.

    The mean first, then the squares of what differs from it: sums of squares would cancel.
    """
    x = x.float()
    pixels = x.new_tensor([x.numel() // x.shape[1]])
    sums = processes.sum(torch.cat([x.sum(_PIXELS), pixels]))
    count, mean = sums[-1], sums[:-1] / sums[-1]
    squares = (x - _wide(mean)).square_().sum(_PIXELS)
    return count, mean, processes.sum(squares) / count


def _wide(channels: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, 1)."""
    return channels[None, :, None, None]
