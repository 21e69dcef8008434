"""Walls, fences and guard rails along the road, drawn piece by piece."""

import numpy as np

from streetscenes.drawing import pixel_tags
from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Color
from streetscenes.drawing.solids import Face

PIECE = 2.5
"""Length of a piece of wall, fence, rail or hedge, in meters."""

STONES: tuple[Color, ...] = ((150, 142, 130), (136, 96, 80), (176, 170, 160), (120, 116, 110))
BOARDS: tuple[Color, ...] = ((126, 98, 70), (150, 140, 124), (92, 84, 76), (198, 196, 188))
BARS: tuple[Color, ...] = ((58, 62, 60), (84, 90, 88), (46, 66, 52))


def _panel(canvas: Canvas, x: float, z: float, length: float, low: float, high: float) -> Face:
    """Return the face, on the street side, of an upright strip along the road."""
    left = x < canvas.camera.lateral
    a, b = (z, z + length) if left else (z + length, z)
    corners = ((x, low, a), (x, low, b), (x, high, b), (x, high, a))
    return Face(canvas, corners, canvas.light.shade(1.0 if left else -1.0, 0))


def draw_wall(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float, stone: Color
) -> None:
    """Draw one piece of a garden wall along the road."""
    face = _panel(canvas, x, z, PIECE, 0, height)
    face.patch(0, 0, 1, 1, stone, pixel_tags.WALL)
    if z < 30:
        for row in range(4):
            t = 0.05 + row * 0.22
            face.patch(0, t, 1, t + 0.03, stone, pixel_tags.WALL, 0.82)
            for s in (rng.random(3) * 0.95).tolist():
                face.patch(s, t + 0.03, s + 0.12, t + 0.2, stone, pixel_tags.WALL, 0.9 + 0.25 * s)
    face.patch(0, 0.92, 1, 1, stone, pixel_tags.WALL, 1.15)


def draw_board_fence(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float, board: Color
) -> None:
    """Draw one piece of a fence of upright boards."""
    face = _panel(canvas, x, z, PIECE, 0, height)
    face.patch(0, 0.04, 1, 0.96, board, pixel_tags.FENCE)
    boards = 10 if z < 30 else 4
    for i, tone in enumerate(rng.uniform(0.85, 1.1, boards).tolist()):
        s = i / boards
        face.patch(s, 0.02, s + 0.8 / boards, 1, board, pixel_tags.FENCE, tone)
        face.patch(s + 0.8 / boards, 0.04, s + 1 / boards, 0.96, board, pixel_tags.FENCE, 0.5)


def draw_bar_fence(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float, bar: Color
) -> None:
    """Draw a metal fence. The background shows through; the label covers the whole panel."""
    face = _panel(canvas, x, z, PIECE, 0, height)
    project = canvas.camera.project
    steps = 12
    for i in range(steps):
        # Drawn in strips, each blended with the background's color at its center.
        for low in (0.05, 0.35, 0.65):
            spot = project(x, height * (low + 0.15), z + PIECE * (i + 0.5) / steps)
            behind = canvas.color_at(*spot)
            red, green, blue = (0.62 * c + 0.38 * b for c, b in zip(behind, bar, strict=True))
            outline = [
                project(x, height * t, z + PIECE * s / steps)
                for s, t in ((i, low), (i + 1, low), (i + 1, low + 0.3), (i, low + 0.3))
            ]
            canvas.fill(outline, (red, green, blue), pixel_tags.FENCE)
        face.patch(i / steps, 0, (i + 0.22) / steps, 1, bar, pixel_tags.FENCE)
    for t in (0.08, 0.9):
        face.patch(0, t, 1, t + 0.06, bar, pixel_tags.FENCE)


def draw_guard_rail(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw one piece of a steel crash barrier and its posts."""
    steel = (168, 170, 172)
    for s in (0.1, 0.6):
        post = _panel(canvas, x, z + s * PIECE, 0.14, 0, 0.7)
        post.patch(0, 0, 1, 1, (110, 112, 114), pixel_tags.GUARD_RAIL)
    face = _panel(canvas, x, z, PIECE, 0.42, 0.78)
    for t, shade in ((0, 0.8), (0.25, 1.1), (0.5, 0.75), (0.7, 1.1)):
        face.patch(0, t, 1, t + 0.3, steel, pixel_tags.GUARD_RAIL, shade)
