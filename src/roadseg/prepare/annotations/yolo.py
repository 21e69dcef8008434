"""Reader of YOLO's segmentation labels (https://docs.ultralytics.com/datasets/segment/).

Each line is an object: the index of its class, then x y x y ... as fractions of width and height.
Objects are drawn in the order of the lines, by Pillow. An empty file is an image without objects.
"""

from roadseg.prepare.annotations.records import AnnotatedImage
from roadseg.prepare.annotations.shapes import Polygon, Shape, build_shape
from roadseg.system.errors import InputError

_BOX = 5  # numbers: class, center, width and height


def read_yolo(data: bytes, name: str, height: int, width: int) -> AnnotatedImage:
    """Read the annotations of one image of height x width pixels; labels are class indices.

    Args:
        name: the file, for error messages.

    Raises:
        InputError: names the file and the line.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not a text in UTF-8: {error}") from None
    shapes = [
        _read_line(line.split(), f"{name}: line {i}", height, width)
        for i, line in enumerate(lines, start=1)
        if line.strip()
    ]
    return AnnotatedImage("", height, width, shapes)


def _read_line(words: list[str], where: str, height: int, width: int) -> Shape:
    if len(words) == _BOX:
        raise InputError(
            f"{where}: 5 numbers are a box (class, center, width, height); polygons are needed: "
            "use the labels of a segmentation data set"
        )
    try:
        label, numbers = int(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise InputError(f"{where}: should be a class index and numbers, got {words}") from None
    for number in numbers:
        if not -1 <= number <= 2:  # also refuses NaN
            raise InputError(f"{where}: {number} is not a fraction of the image's width or height")
    points = [number * (height if i % 2 else width) for i, number in enumerate(numbers)]
    return build_shape(Polygon, where, (height, width), label=label, points=points)
