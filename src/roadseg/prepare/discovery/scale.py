"""Choose remap.scale from the sizes of the images."""

from collections.abc import Sequence
from statistics import median

_SCALES = (1.0, 0.75, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
_MAX_PIXELS = 0.55e6
"""Pixels of a prepared image; KITTI's images of 375x1242 and Cityscapes' at half size have less."""
_MIN_SIDE = 32
"""Pixels; the U-Net halves the sides four times."""


def suggest_scale(sizes: Sequence[tuple[int, int]]) -> float:
    """Return the scale at which the median image has at most about half a megapixel.

    Args:
        sizes: (height, width) of some images in pixels; 1.0 is returned if there are none.
    """
    if not sizes:
        return 1.0
    height, width = (median(size[axis] for size in sizes) for axis in (0, 1))
    side = min(min(size) for size in sizes)
    large = [scale for scale in _SCALES if scale == 1 or round(side * scale) >= _MIN_SIDE]
    small = [scale for scale in large if height * width * scale**2 <= _MAX_PIXELS]
    return small[0] if small else large[-1]
