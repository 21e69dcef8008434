"""Street furniture: bins, benches, advertising pillars."""

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Color, vary

BIN_PAINTS: tuple[Color, ...] = ((70, 92, 74), (90, 92, 95), (208, 170, 50), (120, 116, 106))
CART_PAINTS: tuple[Color, ...] = ((52, 56, 58), (44, 78, 56), (124, 86, 52), (52, 74, 120))
POSTERS: tuple[Color, ...] = ((200, 70, 60), (70, 110, 170), (220, 190, 80), (90, 140, 100))
WHITE: Color = (226, 224, 218)


def draw_bin(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw a litter bin, a post box or a cabinet (label static)."""
    plate = canvas.plate(x, z)
    color = vary(rng, BIN_PAINTS[rng.integers(4)], 0.12)
    wide, high = rng.uniform(0.25, 0.5), rng.uniform(0.85, 1.4)
    plate.rectangle(-wide, 0, wide, high, color, pixel_tags.STATIC)
    plate.polygon(
        [(wide * 0.4, 0), (wide, 0), (wide, high), (wide * 0.4, high)],
        color,
        pixel_tags.STATIC,
        0.75,
    )
    plate.rectangle(-wide * 1.08, high * 0.88, wide * 1.08, high, (60, 62, 64), pixel_tags.STATIC)


def draw_bench(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw a bench (label static)."""
    plate = canvas.plate(x, z)
    wood = vary(rng, (132, 96, 62), 0.15)
    for a in (-0.7, 0.7):
        plate.rectangle(a - 0.05, 0, a + 0.05, 0.85, (60, 60, 62), pixel_tags.STATIC)
    for b in (0.42, 0.6, 0.76):
        plate.rectangle(-0.85, b, 0.85, b + 0.1, wood, pixel_tags.STATIC)


def draw_cart(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw a wheeled bin put out for collection (label dynamic)."""
    plate = canvas.plate(x, z)
    color = vary(rng, CART_PAINTS[rng.integers(4)], 0.12)
    plate.polygon([(-0.25, 0.08), (0.25, 0.08), (0.3, 1.0), (-0.3, 1.0)], color, pixel_tags.DYNAMIC)
    plate.polygon(
        [(-0.33, 0.98), (0.33, 0.98), (0.3, 1.1), (-0.3, 1.1)], color, pixel_tags.DYNAMIC, 0.8
    )
    plate.ellipse(-0.2, 0.1, 0.1, 0.1, (28, 28, 30), pixel_tags.DYNAMIC)
    plate.ellipse(0.2, 0.1, 0.1, 0.1, (28, 28, 30), pixel_tags.DYNAMIC)


def draw_pillar(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw a round advertising pillar with posters (label static)."""
    plate = canvas.plate(x, z)
    stone = vary(rng, (168, 160, 148), 0.12)
    plate.rectangle(-0.6, 0, 0.6, 2.7, stone, pixel_tags.STATIC)
    for left, right in ((-0.55, -0.15), (-0.12, 0.3), (0.33, 0.57)):
        poster = vary(rng, POSTERS[rng.integers(len(POSTERS))], 0.25)
        low = rng.uniform(0.5, 0.9)
        plate.rectangle(left, low, right, rng.uniform(2.0, 2.4), poster, pixel_tags.STATIC)
        plate.rectangle(left + 0.08, low + 0.2, right - 0.08, low + 0.6, WHITE, pixel_tags.STATIC)
    # The side of the cylinder that faces away from the light.
    plate.rectangle(0.42, 0, 0.6, 2.7, (92, 88, 82), pixel_tags.STATIC)
    plate.polygon(
        [(-0.68, 2.6), (0.68, 2.6), (0.5, 2.85), (-0.5, 2.85)], stone, pixel_tags.STATIC, 0.7
    )
