"""Cars and vans."""

from dataclasses import dataclass

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Color, vary
from streetscenes.drawing.solids import Block, Face, Frame, draw_block
from streetscenes.objects.vehicle_parts import (
    BRAKING,
    GLASS,
    HEAD_LAMP,
    RED_LAMP,
    RUBBER,
    draw_wheels,
)

PAINTS: tuple[Color, ...] = (
    (200, 202, 205), (225, 226, 226), (45, 46, 50), (28, 29, 33), (120, 124, 130), (90, 94, 100),
    (40, 62, 110), (135, 28, 32), (70, 105, 150), (165, 155, 135), (60, 85, 70), (190, 60, 40),
)  # fmt: skip


@dataclass(frozen=True)
class CarShape:
    """Sizes in meters; `bonnet` and `boot` are the lengths in front of and behind the cabin."""

    length: float
    width: float
    height: float
    waist: float
    bonnet: float
    boot: float


CAR_SHAPES = (
    CarShape(4.2, 1.76, 1.46, 0.92, 1.0, 0.1),  # hatchback
    CarShape(4.6, 1.8, 1.44, 0.9, 1.1, 0.7),  # saloon
    CarShape(4.6, 1.8, 1.48, 0.92, 1.1, 0.12),  # estate
    CarShape(4.5, 1.86, 1.7, 1.05, 1.0, 0.1),  # off-roader
    CarShape(3.6, 1.64, 1.48, 0.9, 0.7, 0.05),  # city car
    CarShape(4.8, 1.94, 1.95, 1.1, 0.8, 0.05),  # van
)


def draw_car(canvas: Canvas, rng: np.random.Generator, frame: Frame) -> None:
    """Draw a car of random shape and color, centered at the frame's origin."""
    shape = CAR_SHAPES[rng.choice(6, p=[0.28, 0.2, 0.18, 0.14, 0.1, 0.1])]
    paint = vary(rng, PAINTS[rng.integers(len(PAINTS))], 0.12)
    half, side = shape.length / 2, shape.width / 2
    _draw_undercarriage(canvas, frame, shape.length, shape.width)
    body = Block((-half, half), (-side, side), (0.26, shape.waist), (0.06, 0.12, 0.05, 0.05))
    faces = draw_block(canvas, frame, body, paint, pixel_tags.CAR)
    _draw_car_sides(faces, paint)
    draw_wheels(canvas, frame, faces, shape.length * 0.31, side, 0.32, pixel_tags.CAR)
    cabin = Block(
        (-half + shape.boot, half - shape.bonnet), (-side + 0.06, side - 0.06),
        (shape.waist, shape.height), (0.32, 0.75, 0.2, 0.2),
    )  # fmt: skip
    windows = draw_block(canvas, frame, cabin, paint, pixel_tags.CAR)
    _draw_car_glass(windows)
    _draw_car_ends(faces, rng)


def _draw_car_sides(faces: dict[str, Face], paint: Color) -> None:
    for name in ("left", "right"):
        if side := faces.get(name):
            side.patch(0, 0, 1, 0.18, (40, 40, 42), pixel_tags.CAR)
            side.patch(0, 0.72, 1, 0.8, paint, pixel_tags.CAR, 1.2)
            side.patch(0, 0.18, 1, 0.45, paint, pixel_tags.CAR, 0.82)
            for door in (0.32, 0.55, 0.74):
                side.patch(door, 0.2, door + 0.006, 0.98, RUBBER, pixel_tags.CAR)


def _draw_car_glass(windows: dict[str, Face]) -> None:
    for name, face in windows.items():
        if name == "top":
            continue
        if name in ("left", "right"):
            face.patch(0.06, 0.12, 0.48, 0.9, GLASS, pixel_tags.CAR)
            face.patch(0.52, 0.12, 0.93, 0.9, GLASS, pixel_tags.CAR)
        else:
            face.patch(0.07, 0.1, 0.93, 0.92, GLASS, pixel_tags.CAR)
            # The upper part of a slanted pane reflects the sky.
            face.polygon(
                [(0.1, 0.55), (0.9, 0.75), (0.92, 0.9), (0.1, 0.9)], (105, 118, 130), pixel_tags.CAR
            )


def _draw_car_ends(faces: dict[str, Face], rng: np.random.Generator) -> None:
    lamp = BRAKING if rng.random() < 0.35 else RED_LAMP
    plate = (225, 222, 205)
    if rear := faces.get("rear"):
        rear.patch(0, 0, 1, 0.22, (38, 38, 40), pixel_tags.CAR)
        for left in (0.03, 0.77):
            rear.patch(left, 0.6, left + 0.2, 0.86, lamp, pixel_tags.CAR)
        rear.patch(0.34, 0.42, 0.66, 0.58, plate, pixel_tags.CAR)
        rear.patch(0.02, 0.3, 0.98, 0.34, RUBBER, pixel_tags.CAR)
    if front := faces.get("front"):
        front.patch(0.05, 0, 0.95, 0.2, (38, 38, 40), pixel_tags.CAR)
        front.patch(0.28, 0.5, 0.72, 0.78, (34, 35, 38), pixel_tags.CAR)
        for left in (0.03, 0.75):
            front.patch(left, 0.55, left + 0.22, 0.82, HEAD_LAMP, pixel_tags.CAR)
        front.patch(0.35, 0.28, 0.65, 0.42, plate, pixel_tags.CAR)


def _draw_undercarriage(canvas: Canvas, frame: Frame, length: float, width: float) -> None:
    half, side = length / 2 - 0.15, width / 2 - 0.08
    floor = Block((-half, half), (-side, side), (0.06, 0.32))
    draw_block(canvas, frame, floor, (18, 18, 20), pixel_tags.CAR)
