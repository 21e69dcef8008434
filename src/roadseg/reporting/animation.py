"""One picture over the epochs, as an animated GIF.

Shapes: H, W pixels, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from roadseg.system.files import atomic_file

_FRAME_MS, _LAST_MS = 600, 2400
_BAND = 24  # pixels of the text's height
_WIDTH = 640  # pixels of every animation


def save_animation(
    path: Path,
    image: np.ndarray,
    frames: Sequence[tuple[str, np.ndarray]],
    colors: np.ndarray,
) -> None:
    """Write a GIF: above, the picture; below, what each of `frames` shows, under its caption.

    The classes have exactly their colours; what is left of GIF's 256 goes to the photograph. The
    same arguments give the same bytes.

    Args:
        image: (H, W, 3) uint8, RGB.
        frames: caption and class ids (H, W) uint8 of each, in order.
        colors: (C, 3) uint8.
    """
    size = (_WIDTH, max(1, round(_WIDTH * image.shape[0] / image.shape[1])))
    above, palette = _quantized(image, size, colors)
    black, white = len(colors), len(colors) + 1
    pictures = []
    for caption, class_ids in frames:
        # NEAREST: other filters invent classes at the edges
        resized = Image.fromarray(class_ids).resize(size, Image.Resampling.NEAREST)
        band = np.full((_BAND, above.shape[1]), black, dtype=np.uint8)
        picture = Image.fromarray(np.concatenate([above, band, np.asarray(resized)])).convert("P")
        picture.putpalette(palette)
        draw = ImageDraw.Draw(picture)
        draw.fontmode = "1"  # no shades between the two colours, which the palette has not
        place, font = (8, len(above) + _BAND // 2), ImageFont.load_default(_BAND * 0.6)
        draw.text(place, caption, fill=white, font=font, anchor="lm")
        pictures.append(picture)
    options = {"loop": 0, "optimize": False, "save_all": True, "append_images": pictures[1:]}
    durations = [_FRAME_MS] * (len(pictures) - 1) + [_LAST_MS]
    with atomic_file(path) as temporary:
        pictures[0].save(temporary, format="GIF", duration=durations, **options)


def _quantized(
    image: np.ndarray, size: tuple[int, int], colors: np.ndarray
) -> tuple[np.ndarray, bytes]:
    """The picture at (width, height) `size`, as places in a palette, and the palette.

    The palette has the colours of the classes, black, white, and the picture's most frequent ones.
    """
    photograph = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    photograph = photograph.quantize(max(1, 254 - len(colors)), Image.Quantize.MEDIANCUT)
    shades = np.array(photograph.getpalette(), dtype=np.uint8).reshape(-1, 3)
    palette = np.concatenate([colors, [[0, 0, 0], [255, 255, 255]], shades])[:256]
    places = (np.asarray(photograph).astype(int) + len(colors) + 2).clip(max=255)
    return places.astype(np.uint8), palette.astype(np.uint8).tobytes()
