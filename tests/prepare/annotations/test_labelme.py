import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from roadseg.prepare.annotations.labelme import read_labelme
from roadseg.prepare.annotations.shapes import Ellipse, Polygon
from roadseg.system.errors import InputError
from tests.prepare.annotations.grids import draw, grid


def read(*shapes: dict, **keys: object) -> list:
    """Read the shapes of a file for an image of 5x6 pixels; each has the label car."""
    content = {"version": "5.5.0", "flags": {}, "shapes": [{"label": "car", **s} for s in shapes]}
    size = {"imageHeight": 5, "imageWidth": 6, "imageData": "not decoded"}
    annotated = read_labelme(json.dumps({**content, **size, **keys}).encode(), "a.json", 5, 6)
    assert (annotated.file_name, annotated.height, annotated.width) == ("", 5, 6)
    return list(annotated.shapes)


def test_polygons_rectangles_and_circles_are_read():
    triangle = {"points": [[1, 0], [5, 0], [1, 4]]}
    shapes = read(
        {**triangle, "shape_type": "polygon"},
        triangle,
        {"points": [[4.5, 3], [1, 1]], "shape_type": "rectangle"},
        {"points": [[2.5, 2], [2.5, 4]], "shape_type": "circle"},
    )
    assert shapes == [
        Polygon(label="car", points=[1, 0, 5, 0, 1, 4]),
        Polygon(label="car", points=[1, 0, 5, 0, 1, 4]),
        Polygon(label="car", points=[4.5, 3, 1, 3, 1, 1, 4.5, 1]),
        Ellipse(label="car", box=[0.5, 0, 4.5, 4]),
    ]
    assert draw(shapes[2]) == grid("""
        ......
        .cccc.
        .cccc.
        .cccc.
        ......
    """)


def test_circle_reaches_from_center_to_the_second_point():
    (circle,) = read({"points": [[3, 2], [3, 4]], "shape_type": "circle"})
    assert draw(circle) == grid("""
        ..ccc.
        .ccccc
        .ccccc
        .ccccc
        ..ccc.
    """)


def test_mask_is_placed_at_its_first_point():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[1, 0], [1, 1]], dtype=bool)).save(buffer, "PNG")
    mask = {"mask": base64.b64encode(buffer.getvalue()).decode(), "shape_type": "mask"}
    (shape,) = read({**mask, "points": [[3, 1], [4, 2]]})
    assert draw(shape) == grid("""
        ......
        ...c..
        ...cc.
        ......
        ......
    """)
    with pytest.raises(InputError, match="mask of 2x2 pixels at row 4, column 3 is not within"):
        read({**mask, "points": [[3, 4], [4, 5]]})


@pytest.mark.parametrize("size", [{}, {"imageHeight": None, "imageWidth": None}])
def test_size_may_be_missing(size: dict):
    data = json.dumps({"shapes": [], **size}).encode()
    annotated = read_labelme(data, "a.json", 5, 6)
    assert (annotated.height, annotated.width, annotated.shapes) == (5, 6, [])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"shape_type": "line", "points": [[0, 0], [1, 1]]}, "a line has no area; only polygon"),
        ({"shape_type": "linestrip", "points": []}, "a linestrip has no area"),
        ({"shape_type": "circle", "points": [[0, 0]]}, "a circle should have 2 points, got 1"),
        ({"shape_type": "circle", "points": [[0, 0], [9, 0]]}, "x = -9 is far outside"),
        ({"points": [[0, 0], [1, 1]]}, "at least 3 points, got 2"),
        ({"points": [[0, 0], [1]]}, r"shapes\[0\].points\[1\]: "),
        ({"points": "abc"}, r"shapes\[0\].points: "),
        ({"points": [], "label": None}, r"shapes\[0\].label: should be a valid string"),
        ({"shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "??"}, "not a PNG in base64"),
        ({"shape_type": "mask", "points": [[0, 0], [1, 1]]}, "mask: not a PNG"),
        ({"points": [[0, 0], [1, 1], [1, 0]], "label": "\ud800"}, "label: should be valid Unicode"),
        ({"points": [[0, 0], [1, 1], [float("-inf"), 1]]}, "finite number, got -inf"),
    ],
)
def test_invalid_shape_is_an_error_with_its_position(shape: dict, message: str):
    with pytest.raises(InputError, match=rf"^a.json: shapes\[0\].*{message}|^a.json: {message}"):
        read(shape)


def test_mask_with_more_pixels_than_the_image_is_not_decoded():
    buffer = io.BytesIO()
    Image.new("1", (100, 100)).save(buffer, "PNG")
    mask = {"mask": base64.b64encode(buffer.getvalue()).decode(), "shape_type": "mask"}
    with pytest.raises(InputError, match=r"shapes\[0\]: mask: 100x100 pixels; the limit is"):
        read_labelme(
            json.dumps(
                {
                    "imageHeight": 1000,
                    "imageWidth": 1000,
                    "shapes": [{"label": "car", "points": [[0, 0], [99, 99]], **mask}],
                }
            ).encode(),
            "a.json",
            5,
            6,
        )
