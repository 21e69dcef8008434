"""Adaptive average pooling as matrix products.

Shapes: N images, C channels, H and W pixels, S rows and columns of the result.
"""

import torch
from torch import Tensor, nn


class AdaptiveAvgPool(nn.AdaptiveAvgPool2d):
    """`nn.AdaptiveAvgPool2d` with a deterministic gradient on CUDA, for ONNX files of any size.

    PyTorch's own gradient adds atomically, and its ONNX export is of one image size only.
    """

    output_size: int

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, S, S)."""
        if self.output_size == 1:  # PyTorch computes a mean
            return super().forward(x)
        rows, columns = (self._members(side, x) for side in x.shape[2:])  # (S, H), (S, W)
        sums = rows @ x @ columns.T
        counts: Tensor = rows.sum(1)[:, None] * columns.sum(1)
        return sums / counts

    def _members(self, side: int, x: Tensor) -> Tensor:
        """Return (S, side) with 1 for the pixels of each interval, which may overlap, else 0."""
        size = self.output_size
        index = torch.arange(size, device=x.device)[:, None]
        pixel = torch.arange(side, device=x.device)
        first, end = index * side // size, ((index + 1) * side + size - 1) // size
        return ((pixel >= first) & (pixel < end)).to(x.dtype)


def use_adaptive_avg_pool(network: nn.Module) -> None:
    """Convert the adaptive average poolings of another library in place."""
    for module in network.modules():
        if type(module) is nn.AdaptiveAvgPool2d and isinstance(module.output_size, int):
            module.__class__ = AdaptiveAvgPool
