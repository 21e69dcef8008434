"""A 3x3 convolution that takes the fastest way to its result.

Shapes: N pictures, C channels in, O channels out, H and W pixels.
"""

import functools

import torch
from torch import Tensor, nn

_WHOLE = 32  # winograd_kernels.CHANNELS; that module is not imported where it cannot run


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` with a kernel of 3x3 and padding 1.

    In bf16 on a CPU with AVX512-BF16 it multiplies 2.25 times less by Winograd's F(2x2, 3x3), where
    the channels are multiples of 32. Sums are float32, as oneDNN's are; rounding the transformed
    pixels and filters to bf16 costs another 0.2 % of a result's norm, once more what bf16 costs
    anyway. Elsewhere it is torch's convolution.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, O, H, W)."""
        if self._fits(x) and _has_kernels():
            from winograd.convolution import WinogradConvolution

            return WinogradConvolution.apply(x, self.weight, self.bias)
        return super().forward(x)

    def _fits(self, x: Tensor) -> bool:
        """Whether it is what the kernels compute."""
        types = x.dtype == torch.bfloat16 and self.weight.dtype == torch.float32
        whole = self.in_channels % _WHOLE == 0 and self.out_channels % _WHOLE == 0
        return types and whole and x.device.type == "cpu" and len(x) > 0


@functools.cache
def _has_kernels() -> bool:
    """Whether this computer runs them, and nothing faster.

    AVX512-BF16, and torch's threads are GNU's OpenMP. AMX multiplies sixteen times as much at a
    time; there, plain convolutions are faster.
    """
    abilities = torch.cpu.get_capabilities()
    if not abilities.get("avx512_bf16", False) or abilities.get("amx_bf16", False):
        return False
    try:
        import winograd.convolution  # noqa: F401
    except OSError:  # no libgomp
        return False
    return True
