"""Bicycles and motorcycles, parked or ridden, seen from the side or from behind."""

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas, Pixels, Plate
from streetscenes.drawing.light import Color
from streetscenes.objects.people import HAIRS, SKINS, TOPS, TROUSERS, pick

PAINTS: tuple[Color, ...] = (
    (35, 35, 40), (150, 35, 40), (40, 75, 140), (50, 110, 80), (170, 170, 172), (200, 160, 60),
)  # fmt: skip
HELMETS: tuple[Color, ...] = ((230, 230, 225), (45, 45, 50), (190, 50, 45), (60, 95, 150))
TYRE: Color = (32, 32, 34)
STEEL: Color = (165, 166, 168)


def draw_bicycle(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, *, ridden: bool, side: bool
) -> None:
    """Draw a bicycle from the side (`side`) or from behind, with a rider if `ridden`."""
    plate = canvas.plate(x, z)
    turn = 1.0 if rng.random() < 0.5 else -1.0
    if side:
        _draw_bicycle_side(plate, rng, turn)
        if ridden:
            _draw_rider_side(plate, rng, turn, seat=0.95, grip=(0.42, 1.05), pedal=(0.08, 0.32))
    else:
        if ridden:
            _draw_legs_behind(plate, rng)
        _draw_bicycle_behind(plate, rng)
        if ridden:
            _draw_rider_behind(plate, rng)


def draw_motorcycle(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, *, ridden: bool, side: bool
) -> None:
    """Draw a motorcycle from the side (`side`) or from behind, with a rider if `ridden`."""
    plate = canvas.plate(x, z)
    paint = pick(rng, PAINTS)
    turn = 1.0 if rng.random() < 0.5 else -1.0
    if side:
        _draw_motorcycle_side(plate, paint, turn)
        if ridden:
            _draw_rider_side(plate, rng, turn, seat=0.82, grip=(0.45, 1.0), pedal=(0.1, 0.3))
        return
    if ridden:
        _draw_legs_behind(plate, rng)
    tag = pixel_tags.MOTORCYCLE
    plate.limb([(0, 0.04), (0, 0.62)], 0.16, TYRE, tag)
    plate.limb([(-0.38, 1.02), (0.38, 1.02)], 0.07, (50, 50, 52), tag)
    plate.polygon(
        [(-0.2, 0.42), (0.2, 0.42), (0.24, 0.82), (0.1, 1.0), (-0.1, 1.0), (-0.24, 0.82)],
        paint,
        tag,
    )
    plate.ellipse(0, 0.8, 0.09, 0.07, (225, 70, 60) if rng.random() < 0.5 else (245, 240, 220), tag)
    if ridden:
        _draw_rider_behind(plate, rng)


def _draw_bicycle_side(plate: Plate, rng: np.random.Generator, turn: float) -> None:
    paint, tag = pick(rng, PAINTS), pixel_tags.BICYCLE
    for center in (-0.52, 0.52):
        plate.veil(center * turn, 0.34, 0.34, (70, 70, 72), 0.35, tag)
        _draw_ring(plate, center * turn, 0.34, 0.33, tag)
    hub, crank, seat, head = (-0.52, 0.34), (-0.06, 0.3), (-0.2, 0.86), (0.36, 0.84)
    for line in ((hub, crank, seat, hub), (seat, head, crank), (head, (0.52, 0.34))):
        plate.limb([(a * turn, b) for a, b in line], 0.055, paint, tag)
    plate.limb([(0.36 * turn, 0.84), (0.33 * turn, 1.02), (0.46 * turn, 1.05)], 0.05, STEEL, tag)
    plate.limb([(-0.2 * turn, 0.86), (-0.22 * turn, 0.97)], 0.04, STEEL, tag)
    plate.limb([(-0.36 * turn, 0.98), (-0.1 * turn, 0.97)], 0.08, TYRE, tag)
    if rng.random() < 0.35:
        plate.polygon(
            [(a * turn, b) for a, b in ((0.4, 0.7), (0.74, 0.7), (0.8, 0.98), (0.38, 0.98))],
            (150, 120, 80),
            tag,
        )


def _draw_ring(plate: Plate, a: float, b: float, radius: float, tag: int) -> None:
    angles = np.linspace(0, 2 * np.pi, 17)
    line = [
        (a + radius * c, b + radius * s)
        for c, s in zip(np.cos(angles), np.sin(angles), strict=True)
    ]
    plate.limb([(float(p), float(q)) for p, q in line], 0.06, TYRE, tag)


def _draw_motorcycle_side(plate: Plate, paint: Color, turn: float) -> None:
    tag = pixel_tags.MOTORCYCLE

    def shape(outline: Pixels, color: Color) -> None:
        plate.polygon([(a * turn, b) for a, b in outline], color, tag)

    for hub in (-0.68, 0.7):
        plate.ellipse(hub * turn, 0.31, 0.31, 0.31, TYRE, tag)
        plate.ellipse(hub * turn, 0.31, 0.15, 0.15, STEEL, tag)
    shape([(-0.45, 0.25), (0.3, 0.22), (0.38, 0.62), (-0.4, 0.62)], (62, 62, 66))
    shape([(-0.85, 0.72), (-0.1, 0.6), (0.42, 0.6), (0.5, 0.9), (0.1, 0.92), (-0.3, 0.78)], paint)
    shape([(-0.8, 0.74), (-0.05, 0.7), (-0.05, 0.82), (-0.75, 0.85)], (36, 34, 34))
    plate.limb([(0.7 * turn, 0.31), (0.45 * turn, 1.02), (0.35 * turn, 1.05)], 0.08, STEEL, tag)
    plate.ellipse(0.56 * turn, 0.86, 0.1, 0.1, (230, 228, 215), tag)
    plate.limb([(-0.9 * turn, 0.32), (-0.1 * turn, 0.28)], 0.1, STEEL, tag)


def _draw_bicycle_behind(plate: Plate, rng: np.random.Generator) -> None:
    paint, tag = pick(rng, PAINTS), pixel_tags.BICYCLE
    plate.limb([(0, 0.02), (0, 0.7)], 0.09, TYRE, tag)
    plate.limb([(0, 0.5), (0, 0.95)], 0.07, paint, tag)
    plate.limb([(-0.31, 1.04), (0.31, 1.04)], 0.06, (60, 60, 62), tag)
    plate.limb([(-0.12, 0.3), (0.12, 0.28)], 0.07, TYRE, tag)
    plate.limb([(-0.1, 0.96), (0.1, 0.96)], 0.1, TYRE, tag)
    plate.rectangle(-0.04, 0.62, 0.04, 0.72, (205, 45, 40), tag)
    if rng.random() < 0.4:
        bag = pick(rng, PAINTS)
        for a in (-0.2, 0.08):
            plate.rectangle(a, 0.4, a + 0.13, 0.76, bag, tag)


def _draw_rider_side(
    plate: Plate,
    rng: np.random.Generator,
    turn: float,
    *,
    seat: float,
    grip: tuple[float, float],
    pedal: tuple[float, float],
) -> None:
    top, legs, skin = pick(rng, TOPS), pick(rng, TROUSERS), pick(rng, SKINS)
    lean = rng.uniform(0.12, 0.3)

    def limb(line: Pixels, width: float, color: Color, shade: float = 1.0) -> None:
        plate.limb([(a * turn, b) for a, b in line], width, color, pixel_tags.RIDER, shade)

    limb([(-0.18, seat + 0.05), (0.22, seat - 0.2), (-0.12, 0.42)], 0.13, legs, 0.7)
    limb([(-0.18, seat + 0.05), (0.2, seat - 0.1), pedal], 0.15, legs)
    limb([(pedal[0] - 0.06, pedal[1] - 0.02), (pedal[0] + 0.14, pedal[1] - 0.02)], 0.08, TYRE)
    shoulder = (-0.18 + lean, seat + 0.52)
    back = [(-0.32, seat), (-0.05, seat - 0.02), (shoulder[0] + 0.12, shoulder[1] - 0.1)]
    outline = [
        *back,
        (shoulder[0] + 0.05, shoulder[1] + 0.04),
        (shoulder[0] - 0.12, shoulder[1] - 0.02),
    ]
    plate.polygon([(a * turn, b) for a, b in outline], top, pixel_tags.RIDER)
    limb([shoulder, (shoulder[0] + 0.2, seat + 0.25), grip], 0.1, top, 0.85)
    _draw_head(plate, rng, (shoulder[0] + 0.08) * turn, shoulder[1] + 0.18, skin)


def _draw_legs_behind(plate: Plate, rng: np.random.Generator) -> None:
    legs = pick(rng, TROUSERS)
    for side, lift in ((-1, 0.1), (1, 0.32)):
        plate.limb(
            [(0.1 * side, 0.95), (0.17 * side, 0.6 + lift / 3), (0.13 * side, lift + 0.08)],
            0.14,
            legs,
            pixel_tags.RIDER,
        )
        plate.ellipse(0.13 * side, lift + 0.05, 0.06, 0.06, TYRE, pixel_tags.RIDER)


def _draw_rider_behind(plate: Plate, rng: np.random.Generator) -> None:
    top, skin = pick(rng, TOPS), pick(rng, SKINS)
    for side, shade in ((-1, 0.95), (1, 0.75)):
        plate.limb(
            [(0.2 * side, 1.45), (0.33 * side, 1.2), (0.28 * side, 1.05)],
            0.1,
            top,
            pixel_tags.RIDER,
            shade,
        )
    body = [(-0.17, 0.88), (0.17, 0.88), (0.22, 1.4), (0.12, 1.52), (-0.12, 1.52), (-0.22, 1.4)]
    plate.polygon(body, top, pixel_tags.RIDER)
    plate.polygon(
        [(0.05, 0.88), (0.17, 0.88), (0.22, 1.4), (0.08, 1.5)], top, pixel_tags.RIDER, 0.78
    )
    _draw_head(plate, rng, 0.0, 1.67, skin)


def _draw_head(plate: Plate, rng: np.random.Generator, a: float, b: float, skin: Color) -> None:
    plate.ellipse(a, b, 0.1, 0.13, skin, pixel_tags.RIDER)
    cover = pick(rng, HELMETS if rng.random() < 0.6 else HAIRS)
    plate.ellipse(a, b + 0.06, 0.125, 0.09, cover, pixel_tags.RIDER)
