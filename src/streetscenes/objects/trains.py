"""Trains and trams."""

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Color, vary
from streetscenes.drawing.solids import Block, Face, Frame, draw_block

LIVERIES: tuple[tuple[Color, Color], ...] = (
    ((190, 48, 44), (226, 224, 216)), ((228, 226, 220), (44, 84, 144)),
    ((216, 178, 54), (64, 66, 70)), ((70, 120, 96), (220, 214, 196)),
    ((172, 176, 180), (180, 52, 48)),
)  # fmt: skip
PANE: Color = (44, 52, 60)


def draw_train(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, cars: int, length: float
) -> None:
    """Draw coupled cars of `length` meters; the first starts at the frame's origin."""
    body, band = LIVERIES[rng.integers(len(LIVERIES))]
    body, band = vary(rng, body, 0.1), vary(rng, band, 0.1)
    order = range(cars) if np.cos(frame.heading) < 0.5 else reversed(range(cars))
    for i in order:
        start = i * (length + 0.7)
        under = Block((start + 0.5, start + length - 0.5), (-1.2, 1.2), (0.15, 0.75))
        draw_block(canvas, frame, under, (44, 42, 42), pixel_tags.TRAIN)
        nose = 0.7 if i == 0 else 0.0
        shell = Block((start, start + length), (-1.4, 1.4), (0.7, 3.7), (nose, 0, 0.1, 0.1))
        faces = draw_block(canvas, frame, shell, body, pixel_tags.TRAIN)
        for name in ("left", "right"):
            if side := faces.get(name):
                _draw_side(side, length, band)
        for name in ("rear", "front"):
            if end := faces.get(name):
                end.patch(0, 0.1, 1, 0.34, band, pixel_tags.TRAIN)
                end.patch(0.1, 0.45, 0.9, 0.82, PANE, pixel_tags.TRAIN)
                for left in (0.08, 0.78):
                    end.patch(left, 0.18, left + 0.14, 0.27, (240, 236, 215), pixel_tags.TRAIN)
        roof = Block((start + 2, start + length - 2), (-0.8, 0.8), (3.7, 4.0))
        draw_block(canvas, frame, roof, (96, 98, 100), pixel_tags.TRAIN)


def _draw_side(side: Face, length: float, band: Color) -> None:
    side.patch(0, 0.12, 1, 0.36, band, pixel_tags.TRAIN)
    side.patch(0, 0.93, 1, 1, (90, 92, 94), pixel_tags.TRAIN)
    bays = max(4, round(length / 1.9))
    for i in range(bays):
        s = i / bays
        if i % 4 == 2:  # a door
            side.patch(s + 0.1 / bays, 0.02, s + 0.9 / bays, 0.86, band, pixel_tags.TRAIN, 0.85)
            side.patch(s + 0.2 / bays, 0.45, s + 0.8 / bays, 0.8, PANE, pixel_tags.TRAIN)
        else:
            side.patch(s + 0.08 / bays, 0.46, s + 0.92 / bays, 0.82, PANE, pixel_tags.TRAIN)
