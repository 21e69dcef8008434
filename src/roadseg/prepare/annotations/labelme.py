"""Reader of LabelMe JSON (https://github.com/wkentaro/labelme).

Polygons, rectangles, circles and masks are drawn in the order of the file, with the same calls of
Pillow as in LabelMe's `shape_to_mask`. The embedded image (`imageData`) is not decoded.
"""

import base64
import io
import math
from typing import Annotated

import numpy as np
from pydantic import Field

from roadseg.config.schema import validate
from roadseg.prepare.annotations.records import (
    AnnotatedImage,
    Record,
    Side,
    normalize,
    read_json_object,
)
from roadseg.prepare.annotations.shapes import Ellipse, Polygon, Runs, Shape, build_shape
from roadseg.prepare.images.decoding import open_image
from roadseg.system.errors import InputError

_Point = Annotated[list[float], Field(min_length=2, max_length=2)]
_POLYGONS = ("polygon", "rectangle", "oriented_rectangle")
_TWO_POINTS = ("rectangle", "circle", "mask")


class _Shape(Record):
    label: str
    points: list[_Point]
    shape_type: str | None = None
    mask: str | None = None


class _File(Record):
    shapes: list[_Shape]
    imageHeight: Side | None = None  # noqa: N815
    imageWidth: Side | None = None  # noqa: N815


def read_labelme(data: bytes, name: str, height: int, width: int) -> AnnotatedImage:
    """Read the annotations of one image.

    Args:
        name: the file, for error messages.
        height: height of the image in pixels, if the file does not have it; `width` likewise. A
            mask may not have more pixels than height * width.

    Raises:
        InputError: names the file and the position of the shape.
    """
    value = read_json_object(data, name)
    try:
        file = validate(_File, value)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    size = file.imageHeight or height, file.imageWidth or width
    shapes = [
        _build(shape, f"{name}: shapes[{i}]", size, height * width)
        for i, shape in enumerate(file.shapes)
    ]
    return AnnotatedImage("", *size, shapes)


def _build(shape: _Shape, where: str, size: tuple[int, int], max_pixels: int) -> Shape:
    kind, label = shape.shape_type or "polygon", normalize(shape.label)
    if kind not in (*_POLYGONS, *_TWO_POINTS):
        raise InputError(
            f"{where}: a {kind} has no area; only {', '.join(_POLYGONS)}, circle and mask have"
        )
    points = shape.points
    if kind in _TWO_POINTS and len(points) != 2 and (kind, len(points)) != ("rectangle", 4):
        raise InputError(f"{where}: a {kind} should have 2 points, got {len(points)}")
    if kind == "circle":
        (x, y), (edge_x, edge_y) = points
        radius = math.hypot(edge_x - x, edge_y - y)
        box = [x - radius, y - radius, x + radius, y + radius]
        return build_shape(Ellipse, where, size, label=label, box=box)
    if kind == "mask":
        return _build_mask(shape, label, where, size, max_pixels)
    if len(points) == 2 and kind == "rectangle":
        (x0, y0), (x1, y1) = points
        points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    flat = [coordinate for point in points for coordinate in point]
    return build_shape(Polygon, where, size, label=label, points=flat)


def _build_mask(
    shape: _Shape, label: str, where: str, size: tuple[int, int], max_pixels: int
) -> Shape:
    """Build a shape from a PNG that covers the box from the first to the second point."""
    try:
        data = base64.b64decode(shape.mask or "", validate=True)
    except ValueError:
        raise InputError(f"{where}: mask is not a PNG in base64") from None
    with open_image(io.BytesIO(data), f"{where}: mask", max_pixels) as image:
        inside = np.asarray(image.convert("L")) > 0
    left, top = (int(coordinate) for coordinate in shape.points[0])
    changes = np.flatnonzero(np.diff(inside.ravel(), prepend=False, append=False))
    counts = np.diff(changes, prepend=0, append=inside.size).tolist()
    box = [left, top, inside.shape[1], inside.shape[0]]
    return build_shape(Runs, where, size, label=label, box=box, counts=counts, order="C")
