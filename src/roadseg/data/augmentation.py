"""Random changes of a training picture, in step for picture and mask.

Everything drawn comes from the generator that the caller gives, one a (seed, epoch, index), so a
picture looks the same in an epoch whatever came before it. What is drawn is applied where the
network computes. Shapes: N pictures, H and W pixels.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Augmentation(NamedTuple):
    """What is drawn for one picture."""

    flip: bool
    """Mirror left for right."""
    colors: tuple[float, float, float]
    """Factors of brightness, contrast and saturation."""


def draw_augmentation(rng: np.random.Generator, *, flip: bool, jitter: float) -> Augmentation:
    """A change; the order in which it is drawn is fixed.

    Args:
        flip: mirror every second picture.
        jitter: largest relative change of brightness, contrast and saturation; 0 is off.
    """
    flipped = bool(flip and rng.random() < 0.5)
    colors = 1 + jitter * (2 * rng.random(3) - 1) if jitter > 0 else np.ones(3)
    return Augmentation(flipped, tuple(colors.tolist()))


def color_terms(change: Augmentation, mean_grey: float) -> tuple[float, float, float]:
    """Saturation, then contrast about the mean grey, then brightness, as one linear change.

    Args:
        mean_grey: mean over all values of the picture, 0..255.

    Returns:
        What `recolor` multiplies a value with, what it multiplies the sum of the pixel's three
        values with, and what it adds.
    """
    brightness, contrast, saturation = change.colors
    value = brightness * contrast * saturation
    grey = brightness * contrast * (1 - saturation) / 3
    return value, grey, brightness * (1 - contrast) * mean_grey


def recolor(images: Tensor, terms: Tensor) -> None:
    """Change the colours in place, to whole values 0..255.

    Args:
        images: (N, 3, H, W) float32, 0..255.
        terms: (N, 3) float32, the `color_terms` of each picture.
    """
    value, grey, shift = terms[:, :, None, None, None].unbind(1)  # (N, 1, 1, 1) each
    sums = images.sum(1, keepdim=True).mul_(grey).add_(shift)  # (N, 1, H, W)
    images.mul_(value).add_(sums).round_().clamp_(0, 255)
