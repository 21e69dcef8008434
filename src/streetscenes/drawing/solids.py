"""Boxes and frustums, from which vehicles and houses are built."""

import math
from dataclasses import dataclass

from streetscenes.drawing.canvas import Canvas
from streetscenes.drawing.light import Color

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """Coordinate system of an object: `along` its heading, `across` it, and up, in meters."""

    x: float
    z: float
    heading: float = 0.0  # radians, clockwise seen from above; 0 points away from the camera

    def world(self, along: float, across: float, y: float) -> Point:
        """Convert a point to world coordinates; z is at least 1, so never behind the camera."""
        sin, cos = math.sin(self.heading), math.cos(self.heading)
        x = self.x + along * sin + across * cos
        return x, y, max(self.z + along * cos - across * sin, 1.0)


class Face:
    """A flat quadrilateral with coordinates s (0..1 to the right) and t (0..1 up), from outside."""

    def __init__(self, canvas: Canvas, corners: tuple[Point, ...], shade: float) -> None:
        """`corners`: low left, low right, high right, high left."""
        self._canvas = canvas
        self._corners = corners
        self._shade = shade

    @property
    def visible(self) -> bool:
        """True if the outside faces the camera."""
        project = self._canvas.camera.project
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = (project(*corner) for corner in self._corners)
        return (cx - ax) * (dy - by) - (cy - ay) * (dx - bx) < 0

    def _at(self, s: float, t: float) -> Point:
        p, q, r, o = self._corners
        # Written out: called thousands of times per scene, and a loop would be three times slower.
        a, b, c, d = (1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t
        return (
            a * p[0] + b * q[0] + c * r[0] + d * o[0],
            a * p[1] + b * q[1] + c * r[1] + d * o[1],
            a * p[2] + b * q[2] + c * r[2] + d * o[2],
        )

    def patch(
        self,
        s0: float,
        t0: float,
        s1: float,
        t1: float,
        color: Color,
        tag: int,
        shade: float = 1.0,
    ) -> None:
        """Draw the rectangle s0..s1, t0..t1 of the face."""
        self.polygon([(s0, t0), (s1, t0), (s1, t1), (s0, t1)], color, tag, shade)

    def polygon(
        self, outline: list[tuple[float, float]], color: Color, tag: int, shade: float = 1.0
    ) -> None:
        """Draw a polygon of (s, t) points."""
        points = [self._at(s, t) for s, t in outline]
        depth = sum(point[2] for point in points) / len(points)
        ink = self._canvas.light.attenuate(color, depth, self._shade * shade)
        self._canvas.fill([self._canvas.camera.project(*point) for point in points], ink, tag)


@dataclass(frozen=True)
class Block:
    """A box in a frame; its top is smaller by `inset` meters at the rear, front, left and right."""

    along: tuple[float, float]
    across: tuple[float, float]
    up: tuple[float, float]
    inset: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def draw_block(
    canvas: Canvas, frame: Frame, block: Block, color: Color, tag: int
) -> dict[str, Face]:
    """Draw the visible faces; return them by name (rear, front, left, right, top).

    The visible faces of a convex block never overlap, so their order does not matter.
    """
    visible = {name: face for name, face in _faces(canvas, frame, block).items() if face.visible}
    for face in visible.values():
        face.patch(0, 0, 1, 1, color, tag)
    return visible


def _faces(canvas: Canvas, frame: Frame, block: Block) -> dict[str, Face]:
    (a0, a1), (b0, b1), (y0, y1) = block.along, block.across, block.up
    rear, front, left, right = block.inset
    low = [frame.world(a, b, y0) for a, b in ((a0, b0), (a0, b1), (a1, b1), (a1, b0))]
    top = [
        frame.world(a, b, y1)
        for a, b in (
            (a0 + rear, b0 + left), (a0 + rear, b1 - right),
            (a1 - front, b1 - right), (a1 - front, b0 + left),
        )
    ]  # fmt: skip
    faces = {"top": Face(canvas, tuple(top), 1.08)}
    sin, cos = math.sin(frame.heading), math.cos(frame.heading)
    sides = {"rear": (-sin, -cos), "right": (cos, -sin), "front": (sin, cos), "left": (-cos, sin)}
    for i, (name, normal) in enumerate(sides.items()):
        j = (i + 1) % 4
        corners = (low[i], low[j], top[j], top[i])
        faces[name] = Face(canvas, corners, canvas.light.shade(*normal))
    return faces


def disc(frame: Frame, along: float, across: float, y: float, radius: float) -> list[Point]:
    """Return the outline of an upright wheel that rolls in the direction of the heading."""
    turns = [2 * math.pi * i / 14 for i in range(14)]
    return [
        frame.world(along + radius * math.cos(a), across, y + radius * math.sin(a)) for a in turns
    ]
