"""Drawing surface that stores color, label id and surface type of each pixel."""

from typing import cast

import numpy as np
from PIL import Image, ImageDraw

from streetscenes.drawing.camera import Camera
from streetscenes.drawing.light import Color, Light, mix

Pixels = list[tuple[float, float]]


class Canvas:
    """Draws over what was drawn before, so callers start with the farthest object."""

    def __init__(self, backdrop: np.ndarray, camera: Camera, light: Light) -> None:
        """`backdrop`: (rows, columns, 4) uint8, RGB and tag of sky and ground."""
        self.camera = camera
        self.light = light
        self._image = Image.fromarray(backdrop)
        self._draw = ImageDraw.Draw(self._image)

    def pixels(self) -> np.ndarray:
        """Return (rows, columns, 4) uint8: RGB and tag."""
        return np.asarray(self._image)

    def fill(self, outline: Pixels, color: Color, tag: int) -> None:
        """Draw a filled polygon; `outline` in canvas pixels."""
        self._draw.polygon(outline, fill=_ink(color, tag))

    def fill_ellipse(self, box: tuple[float, float, float, float], ink: Color, tag: int) -> None:
        """Draw a filled ellipse in the box (left, top, right, bottom)."""
        if box[2] >= box[0] and box[3] >= box[1]:
            self._draw.ellipse(box, fill=_ink(ink, tag))

    def stroke(self, line: Pixels, width: float, color: Color, tag: int) -> None:
        """Draw a line of `width` pixels, at least one."""
        self._draw.line(line, fill=_ink(color, tag), width=max(1, round(width)), joint="curve")

    def color_at(self, column: float, row: float) -> Color:
        """Return the color drawn so far at a pixel (coordinates are clamped to the canvas)."""
        column = min(max(int(column), 0), self.camera.columns - 1)
        row = min(max(int(row), 0), self.camera.rows - 1)
        red, green, blue, _ = cast(tuple[int, int, int, int], self._image.getpixel((column, row)))
        return red, green, blue

    def plate(self, x: float, z: float, y: float = 0.0) -> "Plate":
        """Return an upright plane that faces the camera and has its origin at a world point."""
        return Plate(self, x, y, z)


class Plate:
    """An upright plane facing the camera; coordinates in meters right of and above its origin."""

    def __init__(self, canvas: Canvas, x: float, y: float, z: float) -> None:
        self._canvas = canvas
        self._column, self._row = canvas.camera.project(x, y, z)
        self.scale = canvas.camera.focal / z  # pixels per meter
        self.size = self.scale / canvas.camera.rows  # canvas heights per meter
        self._z = z
        self._shade = canvas.light.shade(0, -1)

    def _pixel(self, a: float, b: float) -> tuple[float, float]:
        return self._column + a * self.scale, self._row - b * self.scale

    def _attenuate(self, color: Color, shade: float) -> Color:
        return self._canvas.light.attenuate(color, self._z, self._shade * shade)

    def polygon(self, outline: Pixels, color: Color, tag: int, shade: float = 1.0) -> None:
        """Draw a filled polygon; `shade` scales its brightness."""
        points = [self._pixel(a, b) for a, b in outline]
        self._canvas.fill(points, self._attenuate(color, shade), tag)

    def rectangle(
        self, left: float, low: float, right: float, high: float, color: Color, tag: int
    ) -> None:
        """Draw a filled rectangle."""
        self.polygon([(left, low), (right, low), (right, high), (left, high)], color, tag)

    def ellipse(
        self, a: float, b: float, ra: float, rb: float, color: Color, tag: int, shade: float = 1.0
    ) -> None:
        """Draw a filled ellipse with center (a, b) and radii (ra, rb)."""
        left, top = self._pixel(a - ra, b + rb)
        box = (left, top, left + 2 * ra * self.scale, top + 2 * rb * self.scale)
        self._canvas.fill_ellipse(box, self._attenuate(color, shade), tag)

    def limb(self, line: Pixels, width: float, color: Color, tag: int, shade: float = 1.0) -> None:
        """Draw a line of `width` meters."""
        points = [self._pixel(a, b) for a, b in line]
        self._canvas.stroke(points, width * self.scale, self._attenuate(color, shade), tag)

    def veil(
        self, a: float, b: float, radius: float, color: Color, opacity: float, tag: int
    ) -> None:
        """Draw a translucent disc, which looks like the spokes of a turning wheel."""
        behind = self._canvas.color_at(*self._pixel(a, b))
        left, top = self._pixel(a - radius, b + radius)
        size = 2 * radius * self.scale
        ink = mix(behind, self._attenuate(color, 1.0), opacity)
        self._canvas.fill_ellipse((left, top, left + size, top + size), ink, tag)


def _ink(color: Color, tag: int) -> tuple[int, int, int, int]:
    r, g, b = color
    return min(int(r), 255), min(int(g), 255), min(int(b), 255), tag
