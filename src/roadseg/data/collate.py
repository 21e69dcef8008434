"""Collate samples of different sizes into one padded batch.

Shapes: N images, H and W the largest height and width among them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from roadseg.config.class_map import IGNORE_INDEX

if TYPE_CHECKING:
    from roadseg.data.augmentation import Transform, Transforms

_Array = TypeVar("_Array", np.ndarray, Tensor)


class Sample(NamedTuple):
    """An image and its mask, as arrays or as tensors on the device that holds the dataset."""

    image: Any  # (H, W, 3) uint8, RGB
    mask: Any  # (H, W) uint8 class ids
    transform: "Transform | None" = None  # random changes, which `augment` applies to the batch


class Batch(NamedTuple):
    """Images and masks, padded on the right and at the bottom to one size."""

    images: Tensor  # (N, 3, H, W) uint8, channels_last
    masks: Tensor  # (N, H, W) uint8 class ids, or IGNORE_INDEX
    transforms: "Transforms | None" = None


def pad_collate(samples: Sequence[Sample], size: tuple[int, int] | None = None) -> Batch:
    """Collate images and masks into a batch on their device, or on the CPU if there are none.

    Images are padded by repeating the border, which hardly changes the statistics of a batch norm;
    masks are padded with IGNORE_INDEX, which the loss skips.

    Args:
        size: (H, W) of the batch; None for the largest height and width of the samples.
    """
    height, width = size or largest_size([sample.mask.shape for sample in samples])
    device = samples[0].mask.device if samples else "cpu"  # numpy arrays have one too
    images = torch.empty(len(samples), height, width, 3, dtype=torch.uint8, device=device)
    masks = torch.full(images.shape[:3], IGNORE_INDEX, dtype=torch.uint8, device=device)
    for i, (image, mask, _) in enumerate(samples):
        if isinstance(mask, Tensor):
            _copy_padded(image, mask, images[i], masks[i])
        else:
            _copy_padded(image, mask, images[i].numpy(), masks[i].numpy())
    # an (N, 3, H, W) view of (N, H, W, 3) memory is already channels_last
    return Batch(images.permute(0, 3, 1, 2), masks)


def _copy_padded(image: _Array, mask: _Array, padded_image: _Array, padded_mask: _Array) -> None:
    rows, columns = mask.shape
    padded_image[:rows, :columns] = image
    padded_image[rows:, :columns] = image[-1:]
    padded_image[:, columns:] = padded_image[:, columns - 1 : columns]
    padded_mask[:rows, :columns] = mask


def largest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the largest height and the largest width of `sizes`."""
    return max(height for height, _ in sizes), max(width for _, width in sizes)
