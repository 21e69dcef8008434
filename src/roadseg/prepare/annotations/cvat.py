"""Reader of CVAT for images 1.1 (XML): polygons, boxes, ellipses, masks.

Shapes are drawn by Pillow in the order of `z_order`, and those of the same z_order in the order of
the file. Boxes and ellipses are rotated clockwise around their center by `rotation` degrees; a
rotated ellipse is drawn as a polygon of 360 points. Tags, which describe whole images, are ignored.
"""

import math
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from roadseg.config.schema import validate
from roadseg.prepare.annotations.records import AnnotatedImage, ImageRecord, normalize
from roadseg.prepare.annotations.shapes import Ellipse, Polygon, Runs, Shape, build_shape
from roadseg.system.errors import InputError

_ELLIPSE_POINTS = 360


class _TreeBuilder(ElementTree.TreeBuilder):
    """TreeBuilder that refuses a DOCTYPE, without which XML has no entities."""

    def doctype(self, *_: object) -> None:
        raise InputError("has a DOCTYPE, which CVAT does not write; do not trust it")


def read_cvat(data: bytes, name: str) -> Iterator[AnnotatedImage]:
    """Yield the images of a CVAT file with their shapes, in the order of the file.

    Args:
        name: the file, for error messages.

    Raises:
        InputError: names the file and the image.
    """
    parser = ElementTree.XMLParser(target=_TreeBuilder())  # noqa: S314, see _TreeBuilder
    try:
        parser.feed(data)
        root = parser.close()
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{name}: not XML: {error}") from None
    if root.tag != "annotations" or root.find("track") is not None:
        raise InputError(f"{name}: not in the format CVAT for images 1.1; export it as that")
    for image in root.iterfind("image"):
        where = f"{name}: image {image.get('name')!r}"
        sides = {side: _integer(image.attrib, side, where) for side in ("height", "width")}
        try:
            record = validate(ImageRecord, {"file_name": image.get("name"), **sides})
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        size = record.height, record.width
        elements = [element for element in image if element.tag != "tag"]
        orders = [_integer(element.attrib, "z_order", where, "0") for element in elements]
        drawn = sorted(range(len(elements)), key=orders.__getitem__)  # a stable sort
        shapes = [_build(elements[i], f"{where}, shape {i + 1}", size) for i in drawn]
        yield AnnotatedImage(record.file_name, *size, shapes)


def _build(element: ElementTree.Element, where: str, size: tuple[int, int]) -> Shape:
    kind, values = element.tag, element.attrib
    label = normalize(values.get("label", ""))
    if kind == "polygon":
        points = _numbers(values, "points", where)
        return build_shape(Polygon, where, size, label=label, points=points)
    if kind == "mask":
        box = [_integer(values, key, where) for key in ("left", "top", "width", "height")]
        counts = [int(count) for count in _numbers(values, "rle", where)]
        return build_shape(Runs, where, size, label=label, box=box, counts=counts, order="C")
    if kind in ("box", "ellipse"):
        return _build_rotated(values, label, where, size, is_box=kind == "box")
    raise InputError(f"{where}: a {kind} has no area; only polygon, box, ellipse and mask have")


def _build_rotated(
    values: Mapping[str, str], label: str, where: str, size: tuple[int, int], is_box: bool
) -> Shape:
    angle = math.radians(_number(values, "rotation", where, "0"))
    if is_box:
        left, top, right, bottom = (_number(values, k, where) for k in ("xtl", "ytl", "xbr", "ybr"))
        x, y = (left + right) / 2, (top + bottom) / 2
        outline = [(left, top), (right, top), (right, bottom), (left, bottom)]
    else:
        x, y, rx, ry = (_number(values, k, where) for k in ("cx", "cy", "rx", "ry"))
        if not angle:
            box = [x - rx, y - ry, x + rx, y + ry]
            return build_shape(Ellipse, where, size, label=label, box=box)
        steps = [2 * math.pi * i / _ELLIPSE_POINTS for i in range(_ELLIPSE_POINTS)]
        outline = [(x + rx * math.cos(step), y + ry * math.sin(step)) for step in steps]
    points = _rotate(outline, x, y, angle) if angle else outline
    flat = [coordinate for point in points for coordinate in point]
    return build_shape(Polygon, where, size, label=label, points=flat)


def _rotate(
    points: list[tuple[float, float]], x: float, y: float, angle: float
) -> list[tuple[float, float]]:
    """Rotate points clockwise around (x, y) by an angle in radians; the y axis points down."""
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        (x + (px - x) * cos - (py - y) * sin, y + (px - x) * sin + (py - y) * cos)
        for px, py in points
    ]


def _number(values: Mapping[str, str], key: str, where: str, default: str | None = None) -> float:
    numbers = _numbers(values, key, where, default)
    if len(numbers) != 1:
        raise InputError(f"{where}: {key} should be one number, got {values.get(key)!r}")
    return numbers[0]


def _integer(values: Mapping[str, str], key: str, where: str, default: str | None = None) -> int:
    number = _number(values, key, where, default)
    if not number.is_integer():
        raise InputError(f"{where}: {key} should be an integer, got {number:g}")
    return int(number)


def _numbers(
    values: Mapping[str, str], key: str, where: str, default: str | None = None
) -> list[float]:
    """Parse finite numbers that are separated by commas or semicolons."""
    text = values.get(key, default)
    if text is None:
        raise InputError(f"{where}: has no {key}")
    try:
        numbers = [float(word) for word in text.replace(";", ",").split(",")]
    except ValueError:
        raise InputError(f"{where}: {key} should be numbers, got {text!r:.200}") from None
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{where}: {key} should be finite numbers, got {text!r:.200}")
    return numbers
