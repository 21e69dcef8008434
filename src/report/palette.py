"""Class ids as colours: one palette, so that a class has one colour in every picture.

Shapes: H, W pixels, C classes.
"""

import numpy as np

from src.labels import IGNORE_INDEX

IGNORED_COLOR = (255, 255, 255)
"""RGB of pixels that no class covers."""


def colorized(class_ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(H, W) uint8 class ids and (C, 3) uint8 colours -> (H, W, 3) uint8, RGB."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(colors)] = colors
    palette[IGNORE_INDEX] = IGNORED_COLOR
    return palette[class_ids]


def overlaid(image: np.ndarray, class_ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 half covered by the colours of its classes, (H, W, 3) uint8."""
    mixed = image.astype(np.uint16) + colorized(class_ids, colors)
    return (mixed // 2).astype(np.uint8)
