"""Logits of images that do not fit in memory, computed in overlapping tiles.

Exact tiles overlap by the radius of the receptive field; what overlaps is discarded. A network that
sees the whole image, or much more than a tile, has blended tiles: the mean of the probabilities of
neighbors with Gaussian weights, which is approximate.

Shapes: N images, K classes, H and W pixels; h and w pixels of a tile with its overlap.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from roadseg.models.network import Network, Window
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.memory import available_bytes

SMALLEST_TILE = 64
"""Smallest side of exact tiles, in pixels; smaller tiles would consist mostly of overlap."""
SMALLEST_BLENDED_TILE = 256
"""Smallest side of blended tiles that `fit_tiles` chooses, in pixels."""
_LARGEST_OVERLAP = 2.5
"""Largest overlap of exact tiles as a factor of their side: (1 + 2 * 2.5)^2 = 36 times as many
pixels are computed as kept."""
_SIGMA = 1 / 8
"""Standard deviation of the Gaussian weights as a factor of h and w (Isensee et al. 2021)."""
_MEMORY_FRACTION = 0.5
"""Largest fraction of the available memory that a forward pass may use."""


class Tiles(NamedTuple):
    """Squares that a network computes one after the other."""

    side: int
    """Distance of neighbors, in pixels."""
    overlap: int
    """Border that is computed in addition on each side, in pixels."""
    stride: int
    """The corners of what is computed are multiples of it."""
    exact: bool
    """The result is that of the whole image up to rounding; otherwise tiles are blended."""

    def cover(self, size: Sequence[int]) -> bool:
        """Return True if one tile is as large as an image of `size` (H, W)."""
        return max(size) <= self.side + (0 if self.exact else 2 * self.overlap)


def make_tiles(network: Network, side: int) -> Tiles:
    """Tiles of `side`: exact ones, if the network has a radius that is not too large for them."""
    if network.receptive_radius is not None:
        overlap = _round_up(network.receptive_radius, network.stride)
        if overlap <= _LARGEST_OVERLAP * side:
            return Tiles(side, overlap, network.stride, exact=True)
    return _blended_tiles(network, side)


def bytes_per_pixel(network: Network, accelerator: Accelerator) -> int:
    """Estimate the peak memory of a forward pass, in bytes per pixel of the batch."""
    return math.ceil(network.values_per_pixel() * (2 if accelerator.precision == "bf16" else 4))


def fit_tiles(network: Network, accelerator: Accelerator, shape: Sequence[int]) -> Tiles | None:
    """Choose tiles that fit in memory for a batch of images of `shape` (N, 3, H, W).

    None if the images fit in memory without tiles. Blended tiles are chosen only for networks that
    have no exact ones, or if exact ones do not fit.
    """
    free = accelerator.free_bytes() if accelerator.device.type == "cuda" else available_bytes()
    num_pixels = int(_MEMORY_FRACTION * free) // bytes_per_pixel(network, accelerator) // shape[0]
    if shape[2] * shape[3] <= num_pixels:
        return None
    computed, stride = math.isqrt(num_pixels), network.stride
    if network.receptive_radius is not None:
        kept = computed - 2 * _round_up(network.receptive_radius, stride)
        tiles = make_tiles(network, max(SMALLEST_TILE, kept // stride * stride))
        if tiles.exact:
            return tiles
    # the overlaps of both sides are a quarter of the side
    return _blended_tiles(network, max(SMALLEST_BLENDED_TILE, int(computed / 1.25)))


def tiled_logits(
    network: nn.Module, images: Tensor, accelerator: Accelerator, tiles: Tiles | None
) -> Tensor:
    """Compute `accelerator.logits` tile by tile, with the peak memory of one tile.

    Args:
        images: (N, 3, H, W) float32, 0..1.
        tiles: made for this network; None: no tiles.

    Returns:
        (N, K, H, W), in the precision of the accelerator; blended tiles: float32.
    """
    size = images.shape[2:]
    if tiles is None or tiles.cover(size):
        return accelerator.logits(network, images)
    make_spans = _exact_spans if tiles.exact else _blended_spans
    spans = [make_spans(length, tiles) for length in size]
    whole = images.new_empty(0)
    for rows, columns in itertools.product(*spans):
        crop = images[:, :, rows.computed, columns.computed]
        crop = crop.contiguous(memory_format=accelerator.memory_format)
        window = Window(rows.computed.start, columns.computed.start, *size)
        tile = accelerator.logits(network, crop, window)[:, :, rows.inner, columns.inner]
        if not tiles.exact:
            weights = torch.outer(rows.weights, columns.weights).to(tile.device)
            tile = tile.float().softmax(1).mul_(weights)
        if not whole.numel():  # now K and the dtype are known
            whole = tile.new_zeros(*tile.shape[:2], *size)
        if tiles.exact:
            whole[..., rows.kept, columns.kept] = tile
        else:
            whole[..., rows.kept, columns.kept] += tile
    return whole if tiles.exact else whole.clamp_(min=1e-30).log_()


class _Span(NamedTuple):
    """Position of a tile along one side of the image, in pixels."""

    computed: slice
    kept: slice
    weights: Tensor
    """Weights of the kept pixels, float32; those of all blended tiles add up to 1. Exact: empty."""

    @property
    def inner(self) -> slice:
        """`kept` relative to the start of `computed`."""
        return slice(self.kept.start - self.computed.start, self.kept.stop - self.computed.start)


def _exact_spans(length: int, tiles: Tiles) -> list[_Span]:
    """Tiles along a side of `length` pixels; they are computed from multiples of the stride on."""
    spans = []
    for start in range(0, length, tiles.side):
        end = min(length, start + tiles.side)
        first = max(0, start - tiles.overlap) // tiles.stride * tiles.stride
        last = min(length, _round_up(end + tiles.overlap, tiles.stride))
        spans.append(_Span(slice(first, last), slice(start, end), torch.empty(0)))
    return spans


def _blended_spans(length: int, tiles: Tiles) -> list[_Span]:
    """The same for blended tiles; the last one is moved back to end at the border."""
    side = tiles.side + 2 * tiles.overlap
    last = _round_up(max(0, length - side), tiles.stride)
    slices = [slice(s, min(length, s + side)) for s in (*range(0, last, tiles.side), last)]
    total, gaussians = torch.zeros(length), []
    for part in slices:
        pixels = part.stop - part.start
        x = (torch.arange(pixels) + 0.5) / pixels - 0.5
        gaussians.append(torch.exp(-((x / _SIGMA) ** 2) / 2))
        total[part] += gaussians[-1]
    return [
        _Span(part, part, gaussian / total[part])
        for part, gaussian in zip(slices, gaussians, strict=True)
    ]


def _blended_tiles(network: Network, side: int) -> Tiles:
    """Tiles whose overlaps of both sides are a quarter of `side`."""
    stride = network.stride
    overlap = max(1, round(side / 8 / stride)) * stride
    return Tiles(max(1, side // stride) * stride, overlap, stride, exact=False)


def _round_up(pixels: int, stride: int) -> int:
    return math.ceil(pixels / stride) * stride
