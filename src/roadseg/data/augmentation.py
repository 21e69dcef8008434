"""Data augmentation: mirroring of image and mask, and colour jitter of the image.

torchvision's RandomHorizontalFlip and ColorJitter are the well-known counterparts. Here each
(seed, epoch, index) has a generator of its own, and colours change on the device that trains.
Shapes: N images, H and W pixels.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Augmentation(NamedTuple):
    """The random augmentation of one sample."""

    flip: bool
    """Mirror horizontally."""
    colors: tuple[float, float, float]
    """Factors of brightness, contrast and saturation."""


def draw_augmentation(rng: np.random.Generator, *, flip: bool, jitter: float) -> Augmentation:
    """Draw an augmentation; the order of the draws is fixed.

    Args:
        flip: mirror with probability 1/2.
        jitter: largest relative change of brightness, contrast and saturation; 0 is off.
    """
    mirror = bool(flip and rng.random() < 0.5)
    factors = 1 + jitter * (2 * rng.random(3) - 1) if jitter > 0 else np.ones(3)
    brightness, contrast, saturation = factors.tolist()
    return Augmentation(mirror, (brightness, contrast, saturation))


def color_terms(change: Augmentation, mean_grey: float) -> tuple[float, float, float]:
    """Combine saturation, contrast about the mean grey and brightness, in this order.

    Args:
        mean_grey: mean over all values of the image, 0..255.

    Returns:
        (a, b, c) of the linear map v -> a * v + b * (r + g + b) + c that `recolor` applies to each
        channel value v of a pixel.
    """
    brightness, contrast, saturation = change.colors
    value = brightness * contrast * saturation
    grey = brightness * contrast * (1 - saturation) / 3
    return value, grey, brightness * (1 - contrast) * mean_grey


def recolor(images: Tensor, terms: Tensor) -> None:
    """Apply colour jitter in place; the results are rounded to integers and clamped to 0..255.

    Args:
        images: (N, 3, H, W) float32, 0..255.
        terms: (N, 3) float32, the `color_terms` of each image.
    """
    value, grey, shift = terms[:, :, None, None, None].unbind(1)  # (N, 1, 1, 1) each
    sums = images.sum(1, keepdim=True).mul_(grey).add_(shift)  # (N, 1, H, W)
    images.mul_(value).add_(sums).round_().clamp_(0, 255)
