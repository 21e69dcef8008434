"""Normalization layers: group norm, and batch norm synchronized over a process group.

Shapes: N images, C channels, H and W pixels; P = N * H * W pixels, summed over all ranks.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup

GROUPS = 32
"""Largest number of groups of a group norm (Wu and He 2018); at most one per channel."""


class SyncBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the statistics of the images of all ranks.

    torch.nn.SyncBatchNorm does the same, but on GPUs only.
    """

    process_group: ProcessGroup = SINGLE_PROCESS
    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); N may differ between ranks and may be 0."""
        if not self.training:
            return super().forward(x)
        if x.shape[2:] == (1, 1) and self._count_images(x) == 1:  # one value has no variance
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        if self.process_group.size == 1:
            return super().forward(x)
        y: Tensor
        y, count, mean, variance = _SyncNormalize.apply(
            x, self.weight, self.bias, self.eps, self.process_group
        )
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y

    def _count_images(self, x: Tensor) -> int:
        """Return N, summed over all ranks."""
        if self.process_group.size == 1:  # without waiting for the device
            return len(x)
        return int(self.process_group.sum(torch.tensor(len(x), device=x.device)))


def use_sync_batch_norm(network: nn.Module) -> None:
    """Convert the batch norms of another library in place to SyncBatchNorm."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm


def set_process_group(network: nn.Module, process_group: ProcessGroup) -> None:
    """Synchronize all batch norms of `network` over `process_group`."""
    for module in network.modules():
        if isinstance(module, SyncBatchNorm):
            module.process_group = process_group


def unsynchronized_norm(network: nn.Module) -> str | None:
    """Return the name of a batch norm that is no SyncBatchNorm; None if there is none."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    modules: Iterable[tuple[str, nn.Module]] = network.named_modules()
    others = (n for n, m in modules if isinstance(m, kinds) and not isinstance(m, SyncBatchNorm))
    return next(others, None)


def build_norm(kind: str, channels: int) -> nn.Module:
    """Create a `batch` or `group` norm."""
    if kind == "batch":
        return SyncBatchNorm(channels)
    groups = max(g for g in range(1, min(GROUPS, channels) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class _SyncNormalize(Function):
    """Normalize (N, C, H, W); also return P (), mean (C,) and variance (C,) over all ranks.

    PyTorch's kernels do all passes over the images; their sums are float32.
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
            zero = torch.zeros_like(weight)
            ctx.process_group.sum(torch.stack([zero, zero]))
            return gradient, zero, zero, None, None
        # Gradients with mean and variance held constant; DDP sums those of weight and bias.
        # The CPU ignores the second mean and the inverse; CUDA needs them for channels_last.
        inverse = (variance + ctx.epsilon).rsqrt()  # (C,)
        statistics = (mean, variance, mean, inverse)
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, *statistics, False, ctx.epsilon, [True, True, True]
        )
        sums = ctx.process_group.sum(torch.stack([grad_bias, grad_weight])) / count  # (2, C)
        slope = -sums[1] * inverse**2 * weight
        shift = -sums[0] * inverse * weight - slope * mean
        one = torch.ones_like(mean)
        # The terms through mean and variance are affine in x: slope * x + shift.
        # F.batch_norm refuses an epsilon of 0 in some versions of torch
        affine = torch.batch_norm(x, slope, shift, 0 * mean, one, False, 0.0, 0.0, True)
        grad_x = grad_x.add_(affine)
        return grad_x, grad_weight, grad_bias, None, None


def _moments(
    x: Tensor, epsilon: float, process_group: ProcessGroup
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute P (), mean (C,) and variance (C,) over the images of all ranks, float32.

    The sums are float64, because E[x^2] - E[x]^2 suffers from cancellation.
    """
    channels = x.shape[1]
    sums = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x.device)
    if x.numel():
        outputs = torch.native_batch_norm(x, None, None, None, None, True, 0.0, epsilon)
        mean, inverse = (moment.double() for moment in outputs[1:])
        count = x.numel() // channels
        sums[0] = count
        sums[1 : channels + 1] = count * mean
        sums[channels + 1 :] = count * (inverse**-2 - epsilon + mean**2)
    total, *rest = torch.split(process_group.sum(sums), [1, channels, channels])
    mean, squares = (part / total for part in rest)
    return total[0].float(), mean.float(), (squares - mean**2).clamp(min=0).float()
