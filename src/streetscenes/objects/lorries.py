"""Lorries and buses."""

from collections.abc import Callable

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Color, vary
from streetscenes.drawing.solids import Block, Frame, draw_block
from streetscenes.objects.vehicle_parts import GLASS, HEAD_LAMP, RED_LAMP, draw_wheels

TRUCK_PAINTS: tuple[Color, ...] = ((215, 216, 214), (170, 60, 50), (60, 90, 140), (200, 170, 60))
BUS_PAINTS: tuple[Color, ...] = ((205, 60, 50), (225, 222, 210), (60, 110, 165), (215, 180, 60))


def draw_truck(canvas: Canvas, rng: np.random.Generator, frame: Frame) -> None:
    """Draw a lorry of 6.5 to 10 m, its cab towards the heading."""
    paint = vary(rng, TRUCK_PAINTS[rng.integers(len(TRUCK_PAINTS))], 0.1)
    cargo = vary(rng, ((222, 222, 218), (200, 190, 170), paint)[rng.integers(3)], 0.08)
    length, high = rng.uniform(6.5, 10), rng.uniform(3.0, 3.7)
    half, tag = length / 2, pixel_tags.TRUCK
    chassis = Block((-half, half), (-1.15, 1.15), (0.25, 0.95))
    faces = draw_block(canvas, frame, chassis, (40, 40, 42), tag)
    parts: list[Callable[[], None]] = [
        lambda: _draw_truck_cab(canvas, frame, half, paint),
        lambda: _draw_truck_box(canvas, frame, half, high, cargo),
    ]
    if np.cos(frame.heading) < 0:  # it comes towards the camera, so the box is the farther part
        parts.reverse()
    for draw in parts:
        draw()
    draw_wheels(canvas, frame, faces, half * 0.68, 1.2, 0.48, tag)


def _draw_truck_cab(canvas: Canvas, frame: Frame, half: float, paint: Color) -> None:
    cab = Block((half - 1.9, half), (-1.18, 1.18), (0.5, 2.75), (0, 0.25, 0.05, 0.05))
    faces = draw_block(canvas, frame, cab, paint, pixel_tags.TRUCK)
    if front := faces.get("front"):
        front.patch(0.06, 0.52, 0.94, 0.88, GLASS, pixel_tags.TRUCK)
        front.patch(0.2, 0.16, 0.8, 0.42, (45, 46, 48), pixel_tags.TRUCK)
        for left in (0.03, 0.79):
            front.patch(left, 0.08, left + 0.18, 0.2, HEAD_LAMP, pixel_tags.TRUCK)
    for name in ("left", "right"):
        if side := faces.get(name):
            side.patch(0.25, 0.52, 0.8, 0.86, GLASS, pixel_tags.TRUCK)


def _draw_truck_box(canvas: Canvas, frame: Frame, half: float, high: float, cargo: Color) -> None:
    box = Block((-half, half - 2.1), (-1.25, 1.25), (0.95, high))
    faces = draw_block(canvas, frame, box, cargo, pixel_tags.TRUCK)
    if rear := faces.get("rear"):
        rear.patch(0.49, 0.03, 0.51, 0.97, (70, 70, 72), pixel_tags.TRUCK)
        rear.patch(0, 0, 1, 0.05, (50, 50, 52), pixel_tags.TRUCK)
        for left in (0.03, 0.82):
            rear.patch(left, -0.12, left + 0.15, -0.02, RED_LAMP, pixel_tags.TRUCK)
    for name in ("left", "right"):
        if side := faces.get(name):
            side.patch(0.1, 0.3, 0.9, 0.55, (120, 90, 80), pixel_tags.TRUCK)


def draw_bus(canvas: Canvas, rng: np.random.Generator, frame: Frame) -> None:
    """Draw a city bus of 9.5 to 12 m."""
    paint = vary(rng, BUS_PAINTS[rng.integers(len(BUS_PAINTS))], 0.1)
    length, tag = rng.uniform(9.5, 12), pixel_tags.BUS
    half = length / 2
    body = Block((-half, half), (-1.25, 1.25), (0.3, 3.05), (0, 0.08, 0.04, 0.04))
    faces = draw_block(canvas, frame, body, paint, tag)
    for name, face in faces.items():
        if name in ("left", "right"):
            face.patch(0.02, 0.46, 0.98, 0.86, GLASS, tag)
            for post in np.arange(0.14, 0.95, 0.13).tolist():
                face.patch(post, 0.46, post + 0.012, 0.86, (30, 32, 34), tag)
            face.patch(0, 0, 1, 0.08, (45, 45, 48), tag)
        elif name != "top":
            face.patch(0.06, 0.42, 0.94, 0.8, GLASS, tag)
            face.patch(0.2, 0.84, 0.8, 0.95, (30, 28, 24), tag)
            face.patch(0.3, 0.87, 0.7, 0.92, (250, 170, 50), tag)
            lamp = RED_LAMP if name == "rear" else HEAD_LAMP
            for left in (0.04, 0.8):
                face.patch(left, 0.12, left + 0.16, 0.22, lamp, tag)
    draw_wheels(canvas, frame, faces, half * 0.6, 1.26, 0.48, tag)
