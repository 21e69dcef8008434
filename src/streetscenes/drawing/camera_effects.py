"""Effects that turn the canvas into a photograph: surface texture, lens, exposure, sensor noise."""

import numpy as np
from PIL import Image, ImageFilter

from streetscenes.drawing import pixel_tags

# Relative standard deviation of brightness: per pixel, and per clump of a few pixels.
ROUGHNESS = {
    pixel_tags.SMOOTH: (0.0, 0.015),
    pixel_tags.GRAIN: (0.025, 0.025),
    pixel_tags.FOLIAGE: (0.09, 0.09),
    pixel_tags.MASONRY: (0.018, 0.025),
}


def photograph(
    rng: np.random.Generator, pixels: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Downsample `pixels`, (k height, k width, 4) uint8 RGB and tag; add texture, blur and noise.

    Returns image (height, width, 3) uint8 and label ids (height, width) uint8.
    """
    factor = pixels.shape[0] // height
    tag = pixels[factor // 2 :: factor, factor // 2 :: factor, 3]
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3])).reduce(factor)
    light = np.asarray(image, np.float32) * _texture(rng, tag)[..., None]
    exposed = _expose(rng, light)
    lens = Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8))
    lens = lens.filter(ImageFilter.GaussianBlur(rng.uniform(0.15, 0.5)))
    noise = rng.standard_normal((height, width, 3), dtype=np.float32) * rng.uniform(0.8, 2.8)
    photo = np.clip(np.rint(np.asarray(lens, np.float32) + noise), 0, 255).astype(np.uint8)
    return photo, tag & pixel_tags.LABEL_BITS


def _texture(rng: np.random.Generator, tag: np.ndarray) -> np.ndarray:
    height, width = tag.shape
    fine, clumped = np.zeros(256, np.float32), np.zeros(256, np.float32)
    for surface, (pixelwise, clumps) in ROUGHNESS.items():
        fine[surface : surface + 64], clumped[surface : surface + 64] = pixelwise, clumps
    grain = rng.standard_normal((height, width), dtype=np.float32)
    clump = max(2, height // 64)  # pixels; a leaf cluster is larger in a larger image
    coarse = rng.standard_normal((height // clump + 1, width // clump + 1), dtype=np.float32)
    lumps = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    factors: np.ndarray = 1 + fine[tag] * grain + clumped[tag] * lumps
    return factors


def _expose(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Apply exposure, white balance, contrast and vignetting (darker corners)."""
    height, width = light.shape[:2]
    gain = rng.uniform(0.9, 1.22) * (1 + 0.02 * rng.standard_normal(3)).astype(np.float32)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    vignette = 1 - rng.uniform(0.03, 0.14) * (rows**2 + columns**2)
    contrast = np.float32(rng.uniform(0.95, 1.18))
    value = light * gain.astype(np.float32) * vignette[..., None]
    exposed: np.ndarray = (value - 118) * contrast + 118
    return exposed
