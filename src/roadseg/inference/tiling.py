"""Logits of images that do not fit in memory, computed in overlapping tiles.

Shapes: N images, K classes, H and W pixels.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from roadseg.models.network import Network, Window
from roadseg.models.unet import RECEPTIVE_RADIUS
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError
from roadseg.system.memory import available_bytes

_STEP = 16
"""Tile corners are multiples of this, in pixels, so that all four levels halve exactly."""
OVERLAP = math.ceil(RECEPTIVE_RADIUS / _STEP) * _STEP
"""Border that is computed on each side of a tile and discarded, in pixels."""
SMALLEST_TILE = 64
"""Smallest side, in pixels; smaller tiles would consist mostly of overlap."""
_MEMORY_FRACTION = 0.5
"""Largest fraction of the available memory that a forward pass may use."""


def bytes_per_pixel(network: Network, accelerator: Accelerator) -> int:
    """Estimate the peak memory of a forward pass, in bytes per pixel of the batch."""
    return math.ceil(network.values_per_pixel() * (2 if accelerator.precision == "bf16" else 4))


def fit_tile(network: Network, accelerator: Accelerator, shape: Sequence[int]) -> int | None:
    """Side of the tiles for a batch of images of `shape` (N, 3, H, W), in pixels.

    None if the images fit in memory without tiles.
    """
    free = accelerator.free_bytes() if accelerator.device.type == "cuda" else available_bytes()
    num_pixels = int(_MEMORY_FRACTION * free) // bytes_per_pixel(network, accelerator) // shape[0]
    if shape[2] * shape[3] <= num_pixels:
        return None
    return max(SMALLEST_TILE, (math.isqrt(num_pixels) - 2 * OVERLAP) // _STEP * _STEP)


def tiled_logits(
    network: nn.Module, images: Tensor, accelerator: Accelerator, tile: int | None
) -> Tensor:
    """Compute `accelerator.logits` tile by tile, with the peak memory of one tile.

    The result equals that of the whole image up to rounding: each tile has OVERLAP more pixels on
    each side, and the network (a UNet if there are tiles) upsamples it as a crop of the image.

    Args:
        images: (N, 3, H, W) float32, 0..1.
        tile: side of a tile without the overlap, in pixels, a multiple of 16; None: no tiles.

    Returns:
        (N, K, H, W), in the precision of the accelerator.

    Raises:
        InputError: tiles are needed, but a norm of the network needs the whole image.
    """
    height, width = images.shape[2:]
    if tile is None or (height <= tile and width <= tile):
        return accelerator.logits(network, images)
    if any(isinstance(module, nn.GroupNorm) for module in network.modules()):
        raise InputError(
            f"{height}x{width} pixels need tiles of {tile}, but a network with group norms "
            "needs the whole image; use a smaller image, or a network with model.unet.norm batch"
        )
    whole = images.new_empty(0)
    for rows, columns in itertools.product(_spans(height, tile), _spans(width, tile)):
        crop = images[:, :, rows.computed, columns.computed]
        crop = crop.contiguous(memory_format=accelerator.memory_format)
        window = Window(rows.computed.start, columns.computed.start, height, width)
        logits = accelerator.logits(network, crop, window)[:, :, rows.inner, columns.inner]
        if not whole.numel():  # now K and the dtype are known
            whole = logits.new_empty(*logits.shape[:-2], height, width)
        whole[..., rows.kept, columns.kept] = logits
    return whole


class _Span(NamedTuple):
    """Position of a tile along one side of the image, in pixels."""

    computed: slice
    kept: slice

    @property
    def inner(self) -> slice:
        """`kept` relative to the start of `computed`."""
        return slice(self.kept.start - self.computed.start, self.kept.stop - self.computed.start)


def _spans(length: int, tile: int) -> Iterator[_Span]:
    for start in range(0, length, tile):
        end = min(length, start + tile)
        yield _Span(
            computed=slice(max(0, start - OVERLAP), min(length, end + OVERLAP)),
            kept=slice(start, end),
        )
