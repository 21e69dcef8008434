"""Logits of pictures that are too large for the memory at hand, part by part.

Shapes: N pictures, K classes, H and W pixels.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from roadseg.models.unet import REACH, UNet, Window
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError
from roadseg.system.memory import available_bytes

_STEP = 16
"""Pixels of which a part's corners are multiples, so that they halve with the whole picture."""
OVERLAP = math.ceil(REACH / _STEP) * _STEP
"""Pixels that a part sees beyond what is kept of it."""
SMALLEST_TILE = 64
"""Pixels of a side; smaller ones would mostly compute overlaps."""
_FEATURES, _LOGITS = 10, 3
"""How many times a pass holds, at its peak, maps of `base_channels` channels and of all classes."""
_SHARE = 0.5
"""Of the memory at hand, what a pass may take."""


def bytes_per_pixel(network: UNet, accelerator: Accelerator) -> int:
    """What a pass takes at its peak, for each pixel that passes."""
    values = _FEATURES * network.out.in_channels + _LOGITS * network.out.out_channels
    return values * (2 if accelerator.precision == "bf16" else 4)


def fit_tile(network: UNet, accelerator: Accelerator, shape: Sequence[int]) -> int | None:
    """The side of the tiles for a batch of images of `shape`, (N, 3, H, W).

    None where it fits into the memory at hand in whole.
    """
    room = accelerator.free_bytes() if accelerator.device.type == "cuda" else available_bytes()
    fits = int(_SHARE * room) // bytes_per_pixel(network, accelerator) // shape[0]
    if shape[2] * shape[3] <= fits:
        return None
    return max(SMALLEST_TILE, (math.isqrt(fits) - 2 * OVERLAP) // _STEP * _STEP)


def tiled_logits(
    network: UNet, images: Tensor, accelerator: Accelerator, tile: int | None
) -> Tensor:
    """Compute `accelerator.logits` tile by tile, with the network's memory for one tile.

    Each tile sees OVERLAP pixels more on each side and interpolates where the whole image would, so
    the result equals that of the whole image up to rounding.

    Args:
        images: (N, 3, H, W) float32, 0..1.
        tile: side of a tile without the overlap, in pixels, a multiple of 16; None: no tiles.

    Returns:
        (N, K, H, W) in the machine's precision.

    Raises:
        InputError: tiles are needed, and the network has a norm that needs the whole image.
    """
    height, width = images.shape[2:]
    if tile is None or (height <= tile and width <= tile):
        return accelerator.logits(network, images)
    if any(isinstance(module, torch.nn.GroupNorm) for module in network.modules()):
        raise InputError(
            f"{height}x{width} pixels would pass by tiles of {tile}, and a network with model.norm "
            "group needs the whole picture; use a smaller one, or a network with norm batch"
        )
    whole: Tensor | None = None
    for rows, columns in itertools.product(_spans(height, tile), _spans(width, tile)):
        part = images[:, :, rows.seen, columns.seen]
        part = part.contiguous(memory_format=accelerator.memory_format)
        window = Window(rows.seen.start, columns.seen.start, height, width)
        logits = accelerator.logits(network, part, window)
        kept = logits[:, :, rows.kept_of_seen, columns.kept_of_seen]
        if whole is None:
            whole = kept.new_empty(*kept.shape[:-2], height, width)
        whole[..., rows.kept, columns.kept] = kept
    return whole


class _Span(NamedTuple):
    """One tile along one side of the picture."""

    seen: slice
    kept: slice

    @property
    def kept_of_seen(self) -> slice:
        return slice(self.kept.start - self.seen.start, self.kept.stop - self.seen.start)


def _spans(length: int, tile: int) -> Iterator[_Span]:
    for start in range(0, length, tile):
        end = min(length, start + tile)
        yield _Span(
            seen=slice(max(0, start - OVERLAP), min(length, end + OVERLAP)), kept=slice(start, end)
        )
