"""Street lamps, utility poles and traffic lights."""

import math

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas, Plate
from streetscenes.drawing.light import Color, vary

METALS: tuple[Color, ...] = ((112, 116, 118), (88, 92, 92), (142, 144, 144), (70, 82, 74))


def draw_shaft(plate: Plate, rng: np.random.Generator, height: float, width: float) -> Color:
    """Draw an upright pole; return its color, for parts attached to it."""
    metal = vary(rng, METALS[rng.integers(len(METALS))], 0.12)
    width = max(width, 3.2 / plate.scale)  # a pole thinner than a pixel would vanish
    plate.rectangle(-width / 2, 0, width / 2, height, metal, pixel_tags.POLE)
    plate.polygon(
        [(0, 0), (width / 2, 0), (width / 2, height), (0, height)], metal, pixel_tags.POLE, 0.72
    )
    return metal


def draw_lamp(canvas: Canvas, rng: np.random.Generator, x: float, z: float, reach: float) -> None:
    """Draw a street lamp with an arm of `reach` meters (to the right if positive)."""
    plate = canvas.plate(x, z)
    height = rng.uniform(5.5, 8.5)
    metal = draw_shaft(plate, rng, height, 0.2)
    if rng.random() < 0.25:
        plate.ellipse(0, height, 0.28, 0.28, (232, 230, 220), pixel_tags.POLE)
        return
    plate.limb(
        [(0, height - 0.1), (reach * 0.4, height + 0.3), (reach, height + 0.4)],
        0.12,
        metal,
        pixel_tags.POLE,
    )
    tip = reach + math.copysign(0.7, reach)
    plate.polygon(
        [(reach, height + 0.5), (tip, height + 0.42), (tip, height + 0.26), (reach, height + 0.3)],
        (72, 76, 80),
        pixel_tags.POLE,
    )


def draw_wire_pole(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw a mast of 7 to 9 m with two cross arms."""
    plate = canvas.plate(x, z)
    height = rng.uniform(7, 9)
    draw_shaft(plate, rng, height, 0.28)
    for drop in (0.3, 1.0):
        plate.limb(
            [(-0.9, height - drop), (0.9, height - drop)], 0.14, (84, 74, 66), pixel_tags.POLE
        )


def draw_traffic_light(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, reach: float
) -> None:
    """Draw a traffic light at the kerb and, if `reach` is not 0, one over the lane."""
    plate = canvas.plate(x, z)
    lit = int(rng.integers(3))
    high = 5.6 if reach else 3.3
    metal = draw_shaft(plate, rng, high, 0.17)
    if reach:
        plate.limb([(0, high - 0.1), (reach, high)], 0.15, metal, pixel_tags.POLE)
        _draw_signal_head(plate, reach, high - 0.75, lit)
    _draw_signal_head(plate, 0.0, 2.75, lit)


def _draw_signal_head(plate: Plate, a: float, b: float, lit: int) -> None:
    """Draw the three lamps, centered at (a, b); `lit` is 0 (red), 1 (amber) or 2 (green)."""
    tag = pixel_tags.TRAFFIC_LIGHT
    plate.rectangle(a - 0.27, b - 0.66, a + 0.27, b + 0.66, (34, 36, 36), tag)
    glow = ((255, 62, 46), (255, 186, 44), (70, 240, 150))
    dull = ((84, 32, 30), (86, 68, 30), (28, 70, 48))
    for i in range(3):
        color = glow[i] if i == lit else dull[i]
        plate.ellipse(a, b + 0.41 - 0.41 * i, 0.17, 0.17, color, tag)
