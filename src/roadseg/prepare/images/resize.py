"""Resize images to `remap.scale`."""

from PIL import Image

MIN_IMAGE_SIDE = 32
"""Pixels; the U-Net halves an image four times, and a batch norm needs more than one pixel."""


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Return (width, height) at `scale`, rounded, at least 1 pixel each."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize_image(image: Image.Image, scale: float) -> Image.Image:
    """Resize an image by `scale` with a bicubic filter."""
    size = scaled_size(*image.size, scale)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
