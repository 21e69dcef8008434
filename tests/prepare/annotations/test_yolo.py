import pytest

from roadseg.prepare.annotations.shapes import Polygon
from roadseg.prepare.annotations.yolo import read_yolo
from roadseg.system.errors import InputError


def read(text: str) -> list:
    return list(read_yolo(text.encode(), "a.txt", height=10, width=20).shapes)


def test_coordinates_are_fractions_of_width_and_height():
    assert read("1 0.1 0.1 0.5 0.1 0.25 1\n\n 0 0 0 1 0 1 1.0 \r\n") == [
        Polygon(label=1, points=[2, 1, 10, 1, 5, 10]),
        Polygon(label=0, points=[0, 0, 20, 0, 20, 10]),
    ]


@pytest.mark.parametrize("text", ["", "\n", "\ufeff"])
def test_empty_file_is_an_image_without_objects(text: str):
    assert read(text) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", r"5 numbers are a box \(class, center, width, height\)"),
        ("0 0.5 0.5 0.2", "4 numbers|3 coordinates"),
        ("0", "at least 3 points, got 0"),
        ("0.5 0 0 1 0 1 1", "should be a class index and numbers"),
        ("car 0 0 1 0 1 1", "should be a class index and numbers"),
        ("0 0 0 nan 0 1 1", "nan is not a fraction of the image's width or height"),
        ("0 0 0 640 0 1 1", "640.0 is not a fraction"),
        ("0 0 0 1e400 0 1 1", "inf is not a fraction"),
        ("0 -0.9 0 -0.1 0 -0.1 1", "outside of the image: x is -18 to -2"),
        ("0 " + "0 1 " * 100_001, "100,001 points; the limit is 100,000"),
    ],
)
def test_invalid_line_is_an_error_with_its_number(line: str, message: str):
    with pytest.raises(InputError, match=f"^a.txt: line 2: .*(?:{message})"):
        read(f"0 0 0 1 0 1 1\n{line}")


def test_other_encoding_is_an_error():
    with pytest.raises(InputError, match=r"^a.txt: not a text in UTF-8"):
        read_yolo(b"\xff\xfe0", "a.txt", 10, 20)
