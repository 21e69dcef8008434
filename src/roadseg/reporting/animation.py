"""Animated GIF of the predictions for one image over the epochs.

Shapes: H, W pixels, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from roadseg.system.files import atomic_file

_FRAME_MS, _LAST_MS = 600, 2400
_BAND = 24  # height of the caption, pixels
_WIDTH = 640  # width of the animation, pixels


def save_animation(
    path: Path,
    image: np.ndarray,
    frames: Sequence[tuple[str, np.ndarray]],
    colors: np.ndarray,
) -> None:
    """Write a GIF with the image above and, below, the caption and the classes of each frame.

    Classes are drawn in exactly their colors; the image gets the rest of GIF's 256 colors. The
    same arguments give the same bytes.

    Args:
        image: (H, W, 3) uint8, RGB.
        frames: caption and class ids (H, W) uint8 of each frame, in order.
        colors: (C, 3) uint8.
    """
    size = (_WIDTH, max(1, round(_WIDTH * image.shape[0] / image.shape[1])))
    above, palette = _quantize(image, size, colors)
    black, white = len(colors), len(colors) + 1
    images = []
    for caption, class_ids in frames:
        # other filters would create false classes at the edges
        resized = Image.fromarray(class_ids).resize(size, Image.Resampling.NEAREST)
        band = np.full((_BAND, above.shape[1]), black, dtype=np.uint8)
        frame = Image.fromarray(np.concatenate([above, band, np.asarray(resized)])).convert("P")
        frame.putpalette(palette)
        draw = ImageDraw.Draw(frame)
        draw.fontmode = "1"  # no antialiasing: the palette has no shades of gray for it
        position, font = (8, len(above) + _BAND // 2), ImageFont.load_default(_BAND * 0.6)
        draw.text(position, caption, fill=white, font=font, anchor="lm")
        images.append(frame)
    options = {"loop": 0, "optimize": False, "save_all": True, "append_images": images[1:]}
    durations = [_FRAME_MS] * (len(images) - 1) + [_LAST_MS]
    with atomic_file(path) as temporary:
        images[0].save(temporary, format="GIF", duration=durations, **options)


def _quantize(
    image: np.ndarray, size: tuple[int, int], colors: np.ndarray
) -> tuple[np.ndarray, bytes]:
    """Resize the image to `size`, (width, height), and convert it to palette indices.

    The palette has the colors of the classes, black, white, and the image's most frequent ones.
    """
    photograph = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    photograph = photograph.quantize(max(1, 254 - len(colors)), Image.Quantize.MEDIANCUT)
    shades = np.array(photograph.getpalette(), dtype=np.uint8).reshape(-1, 3)
    palette = np.concatenate([colors, [[0, 0, 0], [255, 255, 255]], shades])[:256]
    indices = (np.asarray(photograph).astype(int) + len(colors) + 2).clip(max=255)
    return indices.astype(np.uint8), palette.astype(np.uint8).tobytes()
