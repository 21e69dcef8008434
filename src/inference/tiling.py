"""Logits of pictures that are too large for the memory at hand, part by part.

Shapes: N pictures, K classes, H and W pixels.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from src.files import InputError
from src.memory import available_bytes
from src.model.machine import Machine
from src.model.unet import REACH, UNet, Window

_STEP = 16
"""Pixels of which a part's corners are multiples, so that they halve with the whole picture."""
OVERLAP = math.ceil(REACH / _STEP) * _STEP
"""Pixels that a part sees beyond what is kept of it."""
SMALLEST_TILE = 64
"""Pixels of a side; smaller ones would mostly compute overlaps."""
_FEATURES = 10
"""Maps of a picture's size and `base_channels` channels that a pass holds at its peak; measured."""
_SHARE = 0.5
"""Of the memory at hand, what a pass may take."""


def bytes_per_pixel(network: UNet, machine: Machine) -> int:
    """What a pass takes at its peak, for each pixel that passes."""
    channels = network.out.in_channels
    return _FEATURES * channels * (2 if machine.precision == "bf16" else 4)


def fitting_tile(network: UNet, machine: Machine, pixels: int) -> int | None:
    """The side of the tiles for a batch of so many pixels; None where it fits in whole."""
    room = machine.free_bytes() or available_bytes()
    fits = int(_SHARE * room) // bytes_per_pixel(network, machine)
    if pixels <= fits:
        return None
    return max(SMALLEST_TILE, (math.isqrt(fits) - 2 * OVERLAP) // _STEP * _STEP)


def tiled_logits(network: UNet, images: Tensor, machine: Machine, tile: int | None) -> Tensor:
    """What `machine.logits` gives, with the memory of one tile at a time.

    Each tile sees OVERLAP pixels more on each side, and interpolates where the whole picture would,
    so the result is that of the whole up to rounding.

    Args:
        images: (N, 3, H, W) float32, 0..1.
        tile: side of what is kept of each, pixels, a multiple of 16; None: the whole at once.

    Returns:
        (N, K, H, W) in the machine's precision.

    Raises:
        InputError: a picture that needs tiles, and a network whose norm needs the whole picture.
    """
    count, _, height, width = images.shape
    if tile is None or (height <= tile and width <= tile):
        return machine.logits(network, images)
    if any(isinstance(module, torch.nn.GroupNorm) for module in network.modules()):
        raise InputError(
            f"{height}x{width} pixels are more than fits in memory at once, and a network with "
            "model.norm group needs the whole picture; use a smaller one, or one with norm batch"
        )
    whole: Tensor | None = None
    for rows, columns in itertools.product(_spans(height, tile), _spans(width, tile)):
        window = Window(rows[0], columns[0], height, width)
        part = images[:, :, rows[0] : rows[3], columns[0] : columns[3]]
        part = part.contiguous(memory_format=machine.memory_format)
        logits = machine.logits(network, part, window)
        if whole is None:
            whole = logits.new_empty(count, logits.shape[1], height, width)
        kept = logits[:, :, rows[1] - rows[0] :, columns[1] - columns[0] :]
        kept = kept[:, :, : rows[2] - rows[1], : columns[2] - columns[1]]
        whole[:, :, rows[1] : rows[2], columns[1] : columns[2]] = kept
    return whole


def _spans(length: int, tile: int) -> Iterator[tuple[int, int, int, int]]:
    """Along one side, each tile: where it begins to see, to be kept, ends to be kept, to see."""
    for start in range(0, length, tile):
        end = min(length, start + tile)
        yield max(0, start - OVERLAP), start, end, min(length, end + OVERLAP)
