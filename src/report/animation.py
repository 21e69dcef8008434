"""One picture over the epochs, as an animated GIF.

Shapes: H, W pixels, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.files import replaced_file

_FRAME_MS, _LAST_MS = 600, 2400
_BAND = 24  # pixels of the text's height
_WIDTH = 640  # pixels that narrower pictures are enlarged to


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
    times = max(1, round(_WIDTH / image.shape[1]))
    size = (image.shape[1] * times, image.shape[0] * times)
    black, white = len(colors), len(colors) + 1
    photograph = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    photograph = photograph.quantize(max(1, 254 - len(colors)), Image.Quantize.MEDIANCUT)
    shades = np.array(photograph.getpalette(), dtype=np.uint8).reshape(-1, 3)
    table = np.concatenate([colors, [[0, 0, 0], [255, 255, 255]], shades]).astype(np.uint8)[:256]
    above = (np.asarray(photograph).astype(int) + white + 1).clip(max=255).astype(np.uint8)
    pictures = []
    for caption, class_ids in frames:
        enlarged = class_ids.repeat(times, axis=0).repeat(times, axis=1)
        band = np.full((_BAND, size[0]), black, dtype=np.uint8)
        picture = Image.fromarray(np.concatenate([above, band, enlarged])).convert("P")
        picture.putpalette(table.tobytes())
        place = (8, size[1] + _BAND // 2)
        font = ImageFont.load_default(_BAND * 0.6)
        draw = ImageDraw.Draw(picture)
        draw.fontmode = "1"  # no shades between the two colours, which the palette has not
        draw.text(place, caption, fill=white, font=font, anchor="lm")
        pictures.append(picture)
    durations = [_FRAME_MS] * (len(pictures) - 1) + [_LAST_MS]
    first, *rest = pictures
    with replaced_file(path) as temporary:
        first.save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=rest,
            duration=durations,
            loop=0,
            optimize=False,
        )
