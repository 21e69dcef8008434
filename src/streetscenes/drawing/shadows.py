"""Shadows on the ground: those cast by the sun, and the dark ground below vehicles."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from streetscenes.drawing.camera import Camera
from streetscenes.drawing.light import Light

SHADOW_NEAREST = 2.5  # meters; corners of shadows that are nearer are moved to this depth

Pixel = tuple[float, float]


@dataclass(frozen=True)
class Footprint:
    """Bounding box of an object: a rectangle on the ground and a range of heights, in meters."""

    left: float
    right: float
    near: float
    far: float
    low: float
    high: float
    rests: bool = False  # the ground below it is dark in any weather


def shadow_map(camera: Camera, light: Light, footprints: Iterable[Footprint]) -> np.ndarray:
    """Return (rows, columns) float32 in 0..0.75: the fraction of light missing on the ground."""
    image = Image.new("L", (camera.columns, camera.rows))
    draw = ImageDraw.Draw(image)
    depth = int(140 * light.strength)
    footprints = list(footprints)
    if depth > 40:
        for body in footprints:
            corners = [
                *_corners(camera, light, body, body.low),
                *_corners(camera, light, body, body.high),
            ]
            draw.polygon(_hull(corners), fill=depth)
    for body in footprints:
        if body.rests:
            draw.polygon(_hull(_corners(camera, light, body, 0.0)), fill=190)
    soft = image.filter(ImageFilter.BoxBlur(camera.columns / 500))
    return np.asarray(soft, dtype=np.float32) / 255


def _corners(camera: Camera, light: Light, body: Footprint, height: float) -> list[Pixel]:
    reach = height * light.shadow_length
    dx, dz = -light.sun_x * reach, -light.sun_z * reach
    return [
        camera.project(x + dx, 0, max(z + dz, SHADOW_NEAREST))
        for x in (body.left, body.right)
        for z in (body.near, body.far)
    ]


def _hull(points: list[Pixel]) -> list[Pixel]:
    """Return the convex hull (Andrew's monotone chain)."""
    points = sorted(points)

    def chain(ordered: Iterable[Pixel]) -> list[Pixel]:
        line: list[Pixel] = []
        for p in ordered:
            while len(line) > 1 and _turn(line[-2], line[-1], p) <= 0:
                line.pop()
            line.append(p)
        return line[:-1]

    return chain(points) + chain(reversed(points))


def _turn(a: Pixel, b: Pixel, c: Pixel) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
