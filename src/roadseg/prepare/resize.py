"""Sizes and resampling of images."""

from PIL import Image

MIN_IMAGE_SIDE = 32
"""Pixels; after four halvings 2 are left, enough for the statistics of a batch norm."""


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """(width, height) at `scale`, rounded to whole pixels, at least 1."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize_image(picture: Image.Image, scale: float) -> Image.Image:
    """The picture as the network sees it at `scale`."""
    size = scaled_size(*picture.size, scale)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC)
