"""Norms: group norm, and batch norm whose batch is that of all processes.

Shapes: N pictures, C channels, H and W pixels, P = N * H * W of all processes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup

GROUPS = 32
"""Groups of a group norm (Wu and He 2018), fewer where a layer has fewer channels."""


class SyncBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d`; where several processes train, over the pictures of all of them.

    torch's SyncBatchNorm is the same for GPUs alone.
    """

    process_group: ProcessGroup = SINGLE_PROCESS

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), of other processes with another N, which may be 0."""
        if not self.training or self.process_group.size == 1:
            return super().forward(x)
        y, count, mean, variance = _Normalized.apply(
            x, self.weight, self.bias, self.eps, self.process_group
        )
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y


def set_process_group(network: nn.Module, process_group: ProcessGroup) -> None:
    """Let each batch norm of `network` normalize over the images of all ranks of the group."""
    for module in network.modules():
        if isinstance(module, SyncBatchNorm):
            module.process_group = process_group


def build_norm(kind: str, channels: int) -> nn.Module:
    """A `batch` or `group` norm."""
    if kind == "batch":
        return SyncBatchNorm(channels)
    groups = max(g for g in range(1, min(GROUPS, channels) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class _Normalized(Function):
    """(N, C, H, W) -> the same normalized, and () P, (C,) mean and (C,) variance of all pictures.

    Every pass over the pictures is one of torch's own kernels; what they sum is float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        epsilon: float,
        process_group: ProcessGroup,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count, mean, variance = _moments(x, epsilon, process_group)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.epsilon, ctx.process_group = epsilon, process_group
        ctx.mark_non_differentiable(count, mean, variance)
        if not x.numel():  # torch's kernels divide by the number of pixels
            return x.clone(), count, mean, variance
        return F.batch_norm(x, mean, variance, weight, bias, eps=epsilon), count, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        if not x.numel():
            nothing = torch.zeros_like(weight)
            ctx.process_group.sum(torch.stack([nothing, nothing]))
            return gradient, nothing, nothing, None, None
        # as if mean and variance were constants; DDP adds up those of weight and bias
        direct, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.epsilon, [True, True, True]
        )
        inverse = (variance + ctx.epsilon).rsqrt()  # (C,)
        sums = ctx.process_group.sum(torch.stack([of_bias, of_weight])) / count  # (2, C)
        slope = -sums[1] * inverse**2 * weight
        shift = -sums[0] * inverse * weight - slope * mean
        one = torch.ones_like(mean)
        of_x = direct.add_(F.batch_norm(x, 0 * mean, one, slope, shift, eps=0.0))
        return of_x, of_weight, of_bias, None, None


def _moments(
    x: Tensor, epsilon: float, process_group: ProcessGroup
) -> tuple[Tensor, Tensor, Tensor]:
    """() P, (C,) mean and (C,) variance of all pictures, float32.

    Summed in float64, for the mean of squares less the square of the mean cancels.
    """
    channels = x.shape[1]
    sums = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x.device)
    if x.numel():
        found = torch.native_batch_norm(x, None, None, None, None, True, 0.0, epsilon)
        mean, inverse = (moment.double() for moment in found[1:])
        count = x.numel() // channels
        sums[0] = count
        sums[1 : channels + 1] = count * mean
        sums[channels + 1 :] = count * (
            inverse**-2 - epsilon + mean**2
        )  # in float64, for it cancels
    count, *rest = process_group.sum(sums).split([1, channels, channels])
    mean, squares = (found / count for found in rest)
    return count[0].float(), mean.float(), (squares - mean**2).clamp(min=0).float()
