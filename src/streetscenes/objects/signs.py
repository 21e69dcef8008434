"""Traffic signs with their poles."""

import math

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas, Plate
from streetscenes.drawing.light import Color
from streetscenes.objects.poles import draw_shaft

RED: Color = (196, 34, 36)
BLUE: Color = (28, 82, 160)
WHITE: Color = (236, 236, 232)
YELLOW: Color = (240, 198, 40)


def draw_sign(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw a pole with one or two traffic signs."""
    plate = canvas.plate(x, z)
    height = rng.uniform(2.5, 3.1)
    draw_shaft(plate, rng, height, 0.12)
    draw_plate = SIGNS[rng.choice(len(SIGNS), p=SIGN_PROBABILITIES)]
    size = rng.uniform(0.36, 0.48)
    draw_plate(plate, rng, height, size)
    if rng.random() < 0.25:
        plate.rectangle(-0.32, height - 1.05, 0.32, height - 0.6, WHITE, pixel_tags.TRAFFIC_SIGN)
        plate.rectangle(
            -0.22, height - 0.88, 0.22, height - 0.8, (50, 50, 50), pixel_tags.TRAFFIC_SIGN
        )


def _ngon(corners: int, radius: float, b: float, start: float) -> list[tuple[float, float]]:
    turns = [start + 2 * math.pi * i / corners for i in range(corners)]
    return [(radius * math.cos(t), b + radius * math.sin(t)) for t in turns]


def _draw_triangle(plate: Plate, rng: np.random.Generator, b: float, r: float) -> None:
    start = math.pi / 2 if rng.random() < 0.7 else -math.pi / 2  # pointing down means give way
    plate.polygon(_ngon(3, r * 1.15, b, start), RED, pixel_tags.TRAFFIC_SIGN)
    plate.polygon(_ngon(3, r * 0.72, b, start), WHITE, pixel_tags.TRAFFIC_SIGN)
    if start > 0:
        plate.rectangle(-0.05, b - 0.15, 0.05, b + 0.2, (40, 40, 40), pixel_tags.TRAFFIC_SIGN)


def _draw_ban(plate: Plate, rng: np.random.Generator, b: float, r: float) -> None:
    plate.ellipse(0, b, r, r, RED, pixel_tags.TRAFFIC_SIGN)
    if rng.random() < 0.35:  # no entry
        plate.rectangle(
            -r * 0.7, b - r * 0.16, r * 0.7, b + r * 0.16, WHITE, pixel_tags.TRAFFIC_SIGN
        )
        return
    plate.ellipse(0, b, r * 0.72, r * 0.72, WHITE, pixel_tags.TRAFFIC_SIGN)
    for a in (-0.13, 0.05):  # the two digits of a speed limit
        plate.rectangle(a, b - 0.13, a + 0.09, b + 0.13, (35, 35, 35), pixel_tags.TRAFFIC_SIGN)


def _draw_order(plate: Plate, rng: np.random.Generator, b: float, r: float) -> None:
    plate.ellipse(0, b, r, r, BLUE, pixel_tags.TRAFFIC_SIGN)
    turn = float(rng.choice([-0.5, 0.0, 0.5]))
    plate.limb(
        [(-turn * 0.4, b - 0.22), (0, b), (turn * 0.4, b + 0.25)],
        0.11,
        WHITE,
        pixel_tags.TRAFFIC_SIGN,
    )


def _draw_notice(plate: Plate, rng: np.random.Generator, b: float, r: float) -> None:
    plate.rectangle(-r, b - r, r, b + r, WHITE, pixel_tags.TRAFFIC_SIGN)
    plate.rectangle(-r * 0.92, b - r * 0.92, r * 0.92, b + r * 0.92, BLUE, pixel_tags.TRAFFIC_SIGN)
    if rng.random() < 0.5:
        plate.polygon(_ngon(3, r * 0.65, b, math.pi / 2), WHITE, pixel_tags.TRAFFIC_SIGN)
    else:  # parking
        plate.rectangle(
            -r * 0.4, b - r * 0.6, -r * 0.1, b + r * 0.6, WHITE, pixel_tags.TRAFFIC_SIGN
        )
        plate.ellipse(0.02, b + r * 0.28, r * 0.36, r * 0.34, WHITE, pixel_tags.TRAFFIC_SIGN)


def _draw_priority(plate: Plate, rng: np.random.Generator, b: float, r: float) -> None:
    plate.polygon(_ngon(4, r * 1.2, b, 0), WHITE, pixel_tags.TRAFFIC_SIGN)
    plate.polygon(_ngon(4, r * 0.85, b, 0), YELLOW, pixel_tags.TRAFFIC_SIGN)


def _draw_stop(plate: Plate, rng: np.random.Generator, b: float, r: float) -> None:
    plate.polygon(_ngon(8, r * 1.1, b, math.pi / 8), WHITE, pixel_tags.TRAFFIC_SIGN)
    plate.polygon(_ngon(8, r, b, math.pi / 8), RED, pixel_tags.TRAFFIC_SIGN)
    plate.rectangle(-r * 0.65, b - 0.1, r * 0.65, b + 0.1, WHITE, pixel_tags.TRAFFIC_SIGN)


def _draw_direction(plate: Plate, rng: np.random.Generator, b: float, r: float) -> None:
    """Draw a direction sign, which is twice as wide as other signs."""
    color = YELLOW if rng.random() < 0.5 else WHITE
    ink = (40, 40, 42)
    point = [
        (-1.7 * r, b - 0.28),
        (1.5 * r, b - 0.28),
        (1.9 * r, b),
        (1.5 * r, b + 0.28),
        (-1.7 * r, b + 0.28),
    ]
    plate.polygon(point, color, pixel_tags.TRAFFIC_SIGN)
    for low in (-0.17, 0.05):
        plate.rectangle(
            -1.4 * r,
            b + low,
            (0.4 if low < 0 else 1.0) * r,
            b + low + 0.1,
            ink,
            pixel_tags.TRAFFIC_SIGN,
        )


SIGNS = (
    _draw_triangle,
    _draw_ban,
    _draw_order,
    _draw_notice,
    _draw_priority,
    _draw_stop,
    _draw_direction,
)
SIGN_PROBABILITIES = (0.2, 0.22, 0.12, 0.16, 0.1, 0.06, 0.14)
