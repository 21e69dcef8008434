"""Random changes of a training picture, in step for picture and mask.

Everything drawn comes from the generator that the caller gives, one a (seed, epoch, index), so a
picture looks the same in an epoch whatever came before it. Shapes: H, W stay as they are.
"""

import numpy as np


def augmented(
    image: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    *,
    flip: bool,
    jitter: float,
) -> tuple[np.ndarray, np.ndarray]:
    """A changed copy of picture and mask.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8 class ids.
        rng: draws in a fixed order: flip, jitter.
        flip: mirror left for right, every second time.
        jitter: largest relative change of brightness, contrast and saturation; 0 is off.

    Returns:
        image (H, W, 3) uint8 and mask (H, W) uint8; no class id that was not in `mask`.
    """
    if flip and rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if jitter > 0:
        image = _jittered(image, rng, jitter)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def _jittered(image: np.ndarray, rng: np.random.Generator, jitter: float) -> np.ndarray:
    """Brightness, contrast about the mean grey, and saturation, each times 1 +- jitter."""
    brightness, contrast, saturation = 1 + jitter * (2 * rng.random(3) - 1)
    colors = image.astype(np.float32)
    grey = colors.mean(axis=2, keepdims=True)
    colors = grey + saturation * (colors - grey)
    mean = grey.mean()
    colors = brightness * (mean + contrast * (colors - mean))
    return np.clip(np.rint(colors), 0, 255).astype(np.uint8)
