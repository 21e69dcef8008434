"""3x3 convolutions with Winograd's algorithm, in bfloat16, for CPUs with AVX512-BF16.

Shapes: N images, C channels in, O channels out, H and W pixels.
"""

import functools

import torch
from torch import Tensor

CHANNELS = 32
"""The numbers of input and output channels must be multiples of this."""


def convolve3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve with padding 1 and stride 1; differentiable with respect to all three arguments.

    Args:
        x: (N, C, H, W) bfloat16 on the CPU.
        weight: (O, C, 3, 3) float32.
        bias: (O,) float32.

    Returns:
        (N, O, H, W) bfloat16, channels_last; sums are accumulated in float32.
    """
    from winograd.convolution import WinogradConvolution

    return WinogradConvolution.apply(x, weight, bias)


def supports(x: Tensor, weight: Tensor) -> bool:
    """Return True if `convolve3x3` accepts these tensors and is the fastest choice on this CPU."""
    dtypes = x.dtype == torch.bfloat16 and weight.dtype == torch.float32
    channels = weight.shape[0] % CHANNELS == 0 and weight.shape[1] % CHANNELS == 0
    return dtypes and channels and x.device.type == "cpu" and len(x) > 0 and is_available()


@functools.cache
def is_available() -> bool:
    """Return True on a CPU with AVX512-BF16 and without AMX, if numba and libgomp are installed.

    With AMX, which has 16 times the throughput, torch's own convolutions are faster.
    """
    capabilities = torch.cpu.get_capabilities()
    if not capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False):
        return False
    try:
        import winograd.convolution  # noqa: F401
    except (ImportError, OSError):  # numba, which is optional, or libgomp is missing
        return False
    return True
