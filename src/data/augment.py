"""Random changes of a training picture, in step for picture and mask.

Everything drawn comes from the generator that the caller gives, one a (seed, epoch, index), so a
picture looks the same in an epoch whatever came before it. Shapes: H, W stay as they are.
"""

import numpy as np
from PIL import Image


def augmented(
    image: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    *,
    flip: bool,
    zoom: float,
    jitter: float,
) -> tuple[np.ndarray, np.ndarray]:
    """A changed copy of picture and mask.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8 class ids.
        rng: draws in a fixed order: flip, zoom, jitter.
        flip: mirror left for right, every second time.
        zoom: largest magnification; 1 is off.
        jitter: largest relative change of brightness, contrast and saturation; 0 is off.

    Returns:
        image (H, W, 3) uint8 and mask (H, W) uint8; no class id that was not in `mask`.
    """
    if flip and rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if zoom > 1:
        image, mask = _zoomed(image, mask, rng, zoom)
    if jitter > 0:
        image = _jittered(image, rng, jitter)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def _zoomed(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, zoom: float
) -> tuple[np.ndarray, np.ndarray]:
    """A random window, 1 to 1/zoom of the sides, brought back to the full size."""
    height, width = mask.shape
    share = zoom ** -rng.random()  # even over the logarithm: as many near 1 as near 1/zoom
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    box = (left, top, left + columns, top + rows)
    size = (width, height)
    bilinear, nearest = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
    zoomed_image = Image.fromarray(image).resize(size, bilinear, box)
    return np.asarray(zoomed_image), np.asarray(Image.fromarray(mask).resize(size, nearest, box))


def _jittered(image: np.ndarray, rng: np.random.Generator, jitter: float) -> np.ndarray:
    """Brightness, contrast about the mean grey, and saturation, each times 1 +- jitter."""
    brightness, contrast, saturation = 1 + jitter * (2 * rng.random(3) - 1)
    colors = image.astype(np.float32)
    grey = colors.mean(axis=2, keepdims=True)
    colors = grey + saturation * (colors - grey)
    mean = grey.mean()
    colors = brightness * (mean + contrast * (colors - mean))
    return np.clip(np.rint(colors), 0, 255).astype(np.uint8)
