"""Colors of classes: one palette, so that a class has the same color in every image.

Shapes: K classes, H and W pixels.
"""

import numpy as np
from PIL import Image

from roadseg.config.class_map import IGNORE_INDEX

IGNORED_COLOR = (255, 255, 255)
"""RGB of pixels that belong to no class."""
WRONG_COLOR = (214, 39, 40)
"""RGB of wrong predictions in `error_map`."""


def palette(colors: np.ndarray) -> np.ndarray:
    """Palette of all class ids, (256, 3) uint8, from the colors of the classes, (K, 3) uint8."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(colors)] = colors
    table[IGNORE_INDEX] = IGNORED_COLOR
    return table


def colorize(class_ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(H, W) uint8 class ids and (K, 3) uint8 colors -> (H, W, 3) uint8, RGB."""
    colored: np.ndarray = palette(colors)[class_ids]
    return colored


def palette_image(class_ids: np.ndarray, colors: np.ndarray) -> Image.Image:
    """(H, W) uint8 class ids and (K, 3) uint8 colors -> palette image with ids as indices."""
    image = Image.fromarray(class_ids).convert("P")
    image.putpalette(palette(colors).tobytes())
    return image


def overlay(image: np.ndarray, class_ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Mean of the image and the colors of its classes, both (H, W, 3) uint8, RGB."""
    mixed: np.ndarray = (image.astype(np.uint16) + colorize(class_ids, colors)) // 2
    return mixed.astype(np.uint8)


def error_map(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, void_id: int | None
) -> np.ndarray:
    """Draw the wrong pixels of a prediction in WRONG_COLOR on the image in pale gray.

    Void and ignored pixels, which the metrics do not count, are white.

    Args:
        image: (H, W, 3) uint8, RGB.
        truth: (H, W) uint8 class ids or IGNORE_INDEX.
        predicted: (H, W) uint8 class ids.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    gray = 128 + image.mean(2) * 0.45
    shown = np.repeat(gray[:, :, None], 3, axis=2).astype(np.uint8)
    shown[truth != predicted] = WRONG_COLOR
    uncounted = truth == IGNORE_INDEX
    if void_id is not None:
        uncounted |= truth == void_id
    shown[uncounted] = IGNORED_COLOR
    return shown
