"""Class ids as colours: one palette, so that a class has one colour in every picture.

Shapes: H, W pixels, C classes.
"""

import numpy as np
from PIL import Image

from roadseg.config.class_map import IGNORE_INDEX

IGNORED_COLOR = (255, 255, 255)
"""RGB of pixels that no class covers."""
WRONG_COLOR = (214, 39, 40)
"""RGB of pixels whose class was predicted wrong."""


def palette(colors: np.ndarray) -> np.ndarray:
    """(256, 3) uint8, the colour of each class id, of (C, 3) uint8."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(colors)] = colors
    table[IGNORE_INDEX] = IGNORED_COLOR
    return table


def colorize(class_ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(H, W) uint8 class ids and (C, 3) uint8 colours -> (H, W, 3) uint8, RGB."""
    return palette(colors)[class_ids]


def palette_image(class_ids: np.ndarray, colors: np.ndarray) -> Image.Image:
    """(H, W) uint8 class ids and (C, 3) uint8 colours -> a picture whose indices are the ids."""
    picture = Image.fromarray(class_ids).convert("P")
    picture.putpalette(palette(colors).tobytes())
    return picture


def overlay(image: np.ndarray, class_ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 half covered by the colours of its classes, (H, W, 3) uint8."""
    mixed = image.astype(np.uint16) + colorize(class_ids, colors)
    return (mixed // 2).astype(np.uint8)


def error_map(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, void_id: int | None
) -> np.ndarray:
    """Where a prediction is wrong: the picture in pale grey, wrong pixels in WRONG_COLOR.

    Pixels that no figure counts, void and ignored ones, are white.

    Args:
        image: (H, W, 3) uint8, RGB.
        truth: (H, W) uint8 class ids or IGNORE_INDEX.
        predicted: (H, W) uint8 class ids.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    grey = 128 + image.mean(2) * 0.45
    shown = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
    shown[truth != predicted] = WRONG_COLOR
    uncounted = truth == IGNORE_INDEX
    if void_id is not None:
        uncounted |= truth == void_id
    shown[uncounted] = IGNORED_COLOR
    return shown
