"""Labeled shapes of an image, their normalized JSON file, and how they are drawn.

Shapes are drawn in the order of the file: a later shape covers the earlier ones. Coordinates are in
pixels, x to the right and y down; the pixel in column c and row r extends from (c, r) to
(c + 1, r + 1), so its center is (c + 0.5, r + 0.5). What lies beyond the border is not drawn.

- `Polygon` and `Ellipse` are drawn by Pillow, as in LabelMe's own masks. Pillow truncates each
  coordinate to the pixel that contains it, and includes the boundary: the square from (1, 1) to
  (3, 3) covers 3x3 pixels.
- `Regions` are drawn by pycocotools, as in COCO's own masks. pycocotools rounds coordinates to
  fifths of a pixel and includes the pixels with the center inside: the square from (1, 1) to (3, 3)
  covers 2x2 pixels. A center on an upright or level edge is inside if the edge is on the right or
  below. Several polygons of one object are its union, even where one lies within another; only
  run-length encodings can have holes.
- `Runs` are the pixels themselves, run-length encoded.
"""

import difflib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from PIL import Image, ImageDraw
from pydantic import AfterValidator, Field, model_validator

from roadseg.config.class_map import ClassMap
from roadseg.config.json_files import read_model
from roadseg.config.schema import StrictModel, validate
from roadseg.prepare.annotations.geometry import check_box, check_polygon
from roadseg.prepare.annotations.run_lengths import check_counts, decode_counts, to_pixels
from roadseg.system.errors import InputError, missing_package
from roadseg.system.files import attach_path


def _check_unicode(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("should be valid Unicode")  # JSON can escape half of a character
    return text


_Label = Annotated[str, AfterValidator(_check_unicode)] | int
_Points = list[float]
"""x, y, x, y, ..."""


class Polygon(StrictModel):
    """A filled polygon with its boundary, drawn by Pillow."""

    kind: Literal["polygon"] = "polygon"
    label: _Label
    points: _Points

    def check(self, height: int, width: int) -> None:
        """Raise ValueError if the polygon cannot belong to an image of this size."""
        check_polygon(self.points, height, width)

    def draw(self, canvas: Image.Image, value: int) -> None:
        """Set the pixels of `canvas`, mode L, to `value`."""
        ImageDraw.Draw(canvas).polygon(self.points, fill=value)


class Ellipse(StrictModel):
    """A filled ellipse with its boundary, drawn by Pillow."""

    kind: Literal["ellipse"] = "ellipse"
    label: _Label
    box: Annotated[_Points, Field(min_length=4, max_length=4)]
    """x and y of the left top corner, then of the right bottom corner."""

    def check(self, height: int, width: int) -> None:
        """Raise ValueError if the ellipse cannot belong to an image of this size."""
        check_box(self.box, height, width)

    def draw(self, canvas: Image.Image, value: int) -> None:
        """Set the pixels of `canvas`, mode L, to `value`."""
        ImageDraw.Draw(canvas).ellipse(self.box, fill=value)


class Regions(StrictModel):
    """The union of polygons, drawn by pycocotools."""

    kind: Literal["regions"] = "regions"
    label: _Label
    polygons: Annotated[list[_Points], Field(min_length=1)]

    def check(self, height: int, width: int) -> None:
        """Raise ValueError if a polygon cannot belong to an image of this size."""
        for points in self.polygons:
            check_polygon(points, height, width)

    def draw(self, canvas: Image.Image, value: int) -> None:
        """Set the pixels of `canvas`, mode L, to `value`."""
        try:
            from pycocotools import mask as coco  # only needed for COCO
        except ImportError:
            raise missing_package("pycocotools", extra="pipeline") from None

        encoded = coco.merge(coco.frPyObjects(self.polygons, canvas.height, canvas.width))
        left, top, width, height = map(int, coco.toBbox(encoded))
        # pycocotools' own decode uses a deprecated function of numpy
        counts = decode_counts(encoded["counts"].decode())
        inside = to_pixels(counts, canvas.height, canvas.width, order="F")
        inside = inside[top : top + height, left : left + width]
        canvas.paste(value, (left, top), Image.fromarray(inside))


class Runs(StrictModel):
    """Pixels in a rectangle by run-length encoding, which begins with those outside the shape."""

    kind: Literal["runs"] = "runs"
    label: _Label
    box: Annotated[list[int], Field(min_length=4, max_length=4)]
    """Left, top, width and height in pixels."""
    counts: list[int]
    """Lengths of runs, alternately outside of and in the shape."""
    order: Literal["C", "F"]
    """Pixels are encoded row by row (C, as in CVAT) or column by column (F, as in COCO)."""

    def check(self, height: int, width: int) -> None:
        """Raise ValueError if the runs do not fill a rectangle in an image of this size."""
        check_counts(self.counts, self.box, height, width)

    def draw(self, canvas: Image.Image, value: int) -> None:
        """Set the pixels of `canvas`, mode L, to `value`."""
        left, top, width, height = self.box
        inside = to_pixels(self.counts, height, width, self.order)
        canvas.paste(value, (left, top), Image.fromarray(inside))


Shape = Annotated[Polygon | Ellipse | Regions | Runs, Field(discriminator="kind")]
_Shape = TypeVar("_Shape", Polygon, Ellipse, Regions, Runs)


class Shapes(StrictModel):
    """The shapes of one image in drawing order, a file in data/raw/training/semantic."""

    source: str
    """The annotation file in the user's data set, for error messages."""
    height: int
    width: int
    shapes: list[Shape]

    @model_validator(mode="after")
    def _check_shapes(self) -> "Shapes":
        for i, shape in enumerate(self.shapes):
            try:
                shape.check(self.height, self.width)
            except ValueError as error:
                raise ValueError(f"shapes[{i}]: {error}") from None
        return self


def build_shape(kind: type[_Shape], where: str, size: tuple[int, int], **values: object) -> _Shape:
    """Build a shape of an untrusted annotation file and check it against the image's size.

    Args:
        where: file, and image or annotation, for the error message.
        size: (height, width) of the image.

    Raises:
        InputError: begins with `where`.
    """
    try:
        shape = validate(kind, values)
        shape.check(*size)
    except (InputError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None
    return shape


def read_shapes(path: Path) -> Shapes:
    """Read a file of `write_shapes`. Raises InputError if it is missing or invalid."""
    return read_model(Shapes, path)


def write_shapes(path: Path, shapes: Shapes) -> None:
    """Write the JSON file `path` without indentation, because coordinates are many."""
    with attach_path(path):
        path.write_text(shapes.model_dump_json() + "\n", encoding="utf-8")


def rasterize(shapes: Shapes, class_map: ClassMap) -> np.ndarray:
    """Draw shapes as class ids.

    Returns:
        (H, W) uint8, class ids and IGNORE_INDEX; pixels without a shape are the background of the
        class map.

    Raises:
        InputError: the class map does not have a label, or has no background.
    """
    background = class_map.background_class_id
    if background is None:
        raise InputError(
            f"{shapes.source}: pixels that no shape covers have no class; set background in the "
            "class map to a class, or to ignore"
        )
    class_ids = _class_ids(shapes, class_map)
    canvas = Image.new("L", (shapes.width, shapes.height), background)
    for shape in shapes.shapes:
        shape.draw(canvas, class_ids[shape.label])
    return np.asarray(canvas)


def _class_ids(shapes: Shapes, class_map: ClassMap) -> dict[str | int, int]:
    """Return class id or IGNORE_INDEX by label; raise InputError for a label without class."""
    known, default = class_map.label_class_ids(), class_map.unknown_class_id
    counts = Counter(shape.label for shape in shapes.shapes)
    if default is not None:
        return {**dict.fromkeys(counts, default), **known}
    for label, count in counts.items():
        if label not in known:
            raise InputError(
                f"{shapes.source}: label {label!r} ({count} of {counts.total()} shapes) has no "
                f"class; {_suggest(label, known)}; add it to the class map, or set "
                "unknown_label_ids there"
            )
    return known


def _suggest(label: str | int, known: Iterable[str | int]) -> str:
    names = [str(other) for other in known if type(other) is type(label)]
    close = difflib.get_close_matches(str(label), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known labels: {', '.join(names) or 'none'}"
