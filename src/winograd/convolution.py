"""A 3x3 convolution with padding 1 by Winograd's algorithm, with gradients.

Shapes: N pictures, C channels in, O channels out, H and W pixels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from winograd import kernels

_BLOCK_BYTES = 700_000
"""Of slots that a thread fills before it empties them: they stay in its own cache (1 MiB)."""
_FILTER_SHARE = 16
"""More of them, where the filters are so many that reading them again would take longer."""
_PAIRED_BYTES = 2 << 20
"""Of slots of tiles whose products are added to the filters' gradients at a time; as many as the
gradients have, where those have more."""


class WinogradConvolution(Function):
    """x (N, C, H, W) bf16, weight (O, C, 3, 3) and bias (O,) float32 -> (N, O, H, W) bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight = _channels_last(x), _channels_last(weight)
        forward, backward = _filters_in_slots(weight)
        ctx.save_for_backward(x, backward)
        return _convolved(x, forward, bias, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, filters = ctx.saved_tensors
        gradient = _channels_last(gradient)
        of_x = None
        if ctx.needs_input_grad[0]:
            channels = x.shape[1]
            of_x = _convolved(gradient, filters, torch.zeros(channels), channels)
        return of_x, *_filter_gradients(x, gradient)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _num_tiles(x: Tensor) -> int:
    n, _, height, width = x.shape
    return n * ((height + 1) // 2) * ((width + 1) // 2)


def _bytes(count: int) -> Tensor:
    return torch.empty(count, dtype=torch.uint8)


def _filters_in_slots(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The filters, forward and turned for the way back, as the kernels read them."""
    outs, channels = weight.shape[:2]
    forward = _bytes(16 * channels // 2 * kernels.pitch(4 * outs))
    backward = _bytes(16 * outs // 2 * kernels.pitch(4 * channels))
    kernels.run(
        kernels.filters_in_slots,
        kernels.FILTERS,
        torch.get_num_threads(),
        filters=weight.data_ptr(),
        forward=forward.data_ptr(),
        backward=backward.data_ptr(),
        channels=channels,
        outs=outs,
    )
    return forward, backward


def _convolved(x: Tensor, filters: Tensor, bias: Tensor, outs: int) -> Tensor:
    """(N, C, H, W) bf16 -> (N, outs, H, W) bf16, both channels_last."""
    n, channels, height, width = x.shape
    threads, tiles = torch.get_num_threads(), _num_tiles(x)
    found = torch.empty(n, outs, height, width, dtype=x.dtype, memory_format=torch.channels_last)
    tile = 16 * (kernels.pitch(2 * channels) + kernels.pitch(4 * outs))
    block = max(_BLOCK_BYTES, filters.nbytes // _FILTER_SHARE) // tile
    block = min(max(14, block // 14 * 14), -(-tiles // threads))
    room = _bytes(threads * (tile * (block + kernels.ROWS) + 16 * 4 * 64))  # and the pitch of slots
    kernels.run(
        kernels.convolution,
        kernels.CONVOLUTION,
        threads,
        pictures=x.data_ptr(),
        filters=filters.data_ptr(),
        bias=bias.data_ptr(),
        results=found.data_ptr(),
        height=height,
        width=width,
        channels=channels,
        outs=outs,
        tiles=tiles,
        block=block,
        room=room.data_ptr(),
    )
    return found


def _paired(x: Tensor, first: int, last: int, sums: Tensor | None = None) -> Tensor:
    """Tiles of pictures, or with `sums` of gradients, as the kernels multiply them."""
    _, channels, height, width = x.shape
    slots = _bytes(16 * kernels.pitch((last - first + 1) // 2 * kernels.pitch(4 * channels)))
    kernels.run(
        kernels.paired,
        kernels.PAIRED,
        torch.get_num_threads(),
        pictures=x.data_ptr(),
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
    """(O, C, 3, 3) and (O,) float32, of the weight and of the bias."""
    threads, tiles = torch.get_num_threads(), _num_tiles(x)
    channels, outs = x.shape[1], gradient.shape[1]
    of_weight = torch.empty(outs, channels, 3, 3, memory_format=torch.channels_last)
    sums = torch.zeros(threads, outs)
    room = _bytes(threads * 16 * kernels.pitch(kernels.CHANNELS * 4 * kernels.CHANNELS))
    size = max(_PAIRED_BYTES, of_weight.nbytes) // (16 * 2 * (channels + outs))
    size = -(-tiles // -(-tiles // size))  # parts of about the same size
    for first in range(0, tiles, size):
        last = min(tiles, first + size)
        outputs, inputs = _paired(gradient, first, last, sums), _paired(x, first, last)
        kernels.run(
            kernels.filter_gradients,
            kernels.GRADIENTS,
            threads,
            outputs=outputs.data_ptr(),
            inputs=inputs.data_ptr(),
            gradients=of_weight.data_ptr(),
            pairs=(last - first + 1) // 2,
            channels=channels,
            outs=outs,
            more=first > 0,
            room=room.data_ptr(),
        )
    return of_weight, sums.sum(0)
