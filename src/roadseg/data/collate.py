"""Samples of several sizes in one batch.

Shapes: N images, H and W the largest height and width among them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from roadseg.config.class_map import IGNORE_INDEX


class Sample(NamedTuple):
    """An image and its mask, as arrays or as tensors on the device that holds the data set."""

    image: Any  # (H, W, 3) uint8, RGB
    mask: Any  # (H, W) uint8 class ids
    colors: tuple[float, float, float] | None = None  # its `color_terms`


class Batch(NamedTuple):
    """Images and masks; smaller ones are padded at the right and at the bottom."""

    images: Tensor  # (N, 3, H, W) uint8, channels_last
    masks: Tensor  # (N, H, W) uint8 class ids, IGNORE_INDEX where a pixel does not count
    colors: Tensor | None = None  # (N, 3) float32, the terms that `recolor` applies to the images


def pad_collate(samples: Sequence[Sample], size: tuple[int, int] | None = None) -> Batch:
    """Collate `samples` to a batch on their device, or on the CPU if there are none.

    The padding of an image repeats its border, so that it does not distort the statistics of the
    normalization; the padding of a mask is IGNORE_INDEX, so that it does not count in the loss.

    Args:
        size: (H, W) of the batch; None for the largest height and width of the samples.
    """
    height, width = size or largest_size([sample.mask.shape for sample in samples])
    device = samples[0].mask.device if samples else "cpu"  # numpy arrays have one too
    images = torch.empty(len(samples), height, width, 3, dtype=torch.uint8, device=device)
    masks = torch.full(images.shape[:3], IGNORE_INDEX, dtype=torch.uint8, device=device)
    is_numpy = device == "cpu"  # a torch.device differs from this string
    pixels, class_ids = (images.numpy(), masks.numpy()) if is_numpy else (images, masks)
    for i, (image, mask, _) in enumerate(samples):
        rows, columns = mask.shape
        pixels[i, :rows, :columns] = image
        pixels[i, rows:, :columns] = image[-1:]
        pixels[i, :, columns:] = pixels[i, :, columns - 1 : columns]
        class_ids[i, :rows, :columns] = mask
    colors = [sample.colors for sample in samples]
    # (N, H, W, 3) in memory, seen as (N, 3, H, W), is channels_last already
    images = images.permute(0, 3, 1, 2)
    return Batch(images, masks, None if None in colors else torch.tensor(colors).reshape(-1, 3))


def largest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the largest height and the largest width of `sizes`."""
    return max(height for height, _ in sizes), max(width for _, width in sizes)
