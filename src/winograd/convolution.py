"""Autograd function of a 3x3 convolution with padding 1 that uses Winograd's algorithm.

Shapes: N images, C channels in, O channels out, H and W pixels. Slots: see `kernels`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from winograd import kernels

_BLOCK_BYTES = 700_000
"""Size in bytes of the slots of one block of tiles; they fit in a core's L2 cache (1 MiB)."""
_FILTER_FRACTION = 16
"""A block has at least 1/16 of the filters' size, because each block reads all filters once."""
_PAIRED_BYTES = 2 << 20
"""Size in bytes of the slots from which gradients of the filters are accumulated at a time (or the
size of these gradients, if that is larger)."""


class WinogradConvolution(Function):
    """Autograd function; see `winograd.convolve3x3` for arguments and result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve; save the input and the filters for the backward pass."""
        x, weight = _channels_last(x), _channels_last(weight)
        forward, backward = _transform_filters(weight)
        ctx.save_for_backward(x, backward)
        return _convolve(x, forward, bias, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return the gradients of x (if needed), weight and bias."""
        x, filters = ctx.saved_tensors
        gradient = _channels_last(gradient)
        x_gradient = None
        if ctx.needs_input_grad[0]:
            channels = x.shape[1]
            x_gradient = _convolve(gradient, filters, torch.zeros(channels), channels)
        return x_gradient, *_filter_gradients(x, gradient)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _num_tiles(x: Tensor) -> int:
    n, _, height, width = x.shape
    return n * ((height + 1) // 2) * ((width + 1) // 2)


def _bytes(count: int) -> Tensor:
    return torch.empty(count, dtype=torch.uint8)


def _transform_filters(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Transform the filters for the forward pass and, rotated by 180 degrees, for the backward."""
    outs, channels = weight.shape[:2]
    forward = _bytes(16 * channels // 2 * kernels.pitch(4 * outs))
    backward = _bytes(16 * outs // 2 * kernels.pitch(4 * channels))
    kernels.run(
        kernels.transform_filters,
        kernels.FILTERS,
        torch.get_num_threads(),
        filters=weight.data_ptr(),
        forward=forward.data_ptr(),
        backward=backward.data_ptr(),
        channels=channels,
        outs=outs,
    )
    return forward, backward


def _convolve(x: Tensor, filters: Tensor, bias: Tensor, outs: int) -> Tensor:
    """Convolve (N, C, H, W) bf16 to (N, outs, H, W) bf16, both channels_last."""
    n, channels, height, width = x.shape
    threads, tiles = torch.get_num_threads(), _num_tiles(x)
    result = torch.empty(n, outs, height, width, dtype=x.dtype, memory_format=torch.channels_last)
    tile = 16 * (kernels.pitch(2 * channels) + kernels.pitch(4 * outs))
    block = max(_BLOCK_BYTES, filters.nbytes // _FILTER_FRACTION) // tile
    block = min(max(14, block // 14 * 14), -(-tiles // threads))
    padding = 16 * 4 * 64  # bytes that `pitch` adds to the slots
    workspace = _bytes(threads * (tile * (block + kernels.ROWS) + padding))
    kernels.run(
        kernels.convolution,
        kernels.CONVOLUTION,
        threads,
        images=x.data_ptr(),
        filters=filters.data_ptr(),
        bias=bias.data_ptr(),
        results=result.data_ptr(),
        height=height,
        width=width,
        channels=channels,
        outs=outs,
        tiles=tiles,
        block=block,
        workspace=workspace.data_ptr(),
    )
    return result


def _transform_pairs(x: Tensor, first: int, last: int, sums: Tensor | None = None) -> Tensor:
    """Transform tiles `first` to `last` of images, or of gradients if `sums` is given, in pairs."""
    _, channels, height, width = x.shape
    slots = _bytes(16 * kernels.pitch((last - first + 1) // 2 * kernels.pitch(4 * channels)))
    kernels.run(
        kernels.transform_pairs,
        kernels.PAIRS,
        torch.get_num_threads(),
        images=x.data_ptr(),
        slots=slots.data_ptr(),
        height=height,
        width=width,
        channels=channels,
        first=first,
        last=last,
        are_gradients=sums is not None,
        sums=0 if sums is None else sums.data_ptr(),
    )
    return slots


def _filter_gradients(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight (O, C, 3, 3) and bias (O,), float32."""
    threads, tiles = torch.get_num_threads(), _num_tiles(x)
    channels, outs = x.shape[1], gradient.shape[1]
    weight_gradient = torch.empty(outs, channels, 3, 3, memory_format=torch.channels_last)
    sums = torch.zeros(threads, outs)
    workspace = _bytes(threads * 16 * kernels.pitch(kernels.CHANNELS * 4 * kernels.CHANNELS))
    size = max(_PAIRED_BYTES, weight_gradient.nbytes) // (16 * 2 * (channels + outs))
    size = -(-tiles // -(-tiles // size))  # chunks of about the same size
    for first in range(0, tiles, size):
        last = min(tiles, first + size)
        outputs = _transform_pairs(gradient, first, last, sums)
        inputs = _transform_pairs(x, first, last)
        kernels.run(
            kernels.filter_gradients,
            kernels.GRADIENTS,
            threads,
            outputs=outputs.data_ptr(),
            inputs=inputs.data_ptr(),
            gradients=weight_gradient.data_ptr(),
            pairs=(last - first + 1) // 2,
            channels=channels,
            outs=outs,
            accumulate=first > 0,
            workspace=workspace.data_ptr(),
        )
    return weight_gradient, sums.sum(0)
