import pytest

from roadseg.prepare.annotations.cvat import read_cvat
from roadseg.prepare.annotations.records import AnnotatedImage
from roadseg.prepare.annotations.shapes import Ellipse, Polygon, Runs
from roadseg.system.errors import InputError
from tests.prepare.annotations.grids import draw, grid

SIZE = 'name="a.jpg" width="6" height="5"'


def read(shapes: str, image: str = SIZE) -> list[AnnotatedImage]:
    text = f"""<?xml version="1.0" encoding="utf-8"?>
        <annotations><version>1.1</version><meta><task><id>1</id></task></meta>
        <image id="0" {image}>{shapes}</image><image id="1" name="b.jpg" width="1" height="1"/>
        </annotations>"""
    return list(read_cvat(text.encode(), "annotations.xml"))


def test_shapes_are_read():
    first, second = read(
        '<tag label="sunny" source="manual"/>'
        '<polygon label="car" source="manual" occluded="0" points="1,0;5.5,0;1,4" z_order="0">'
        '<attribute name="color">red</attribute></polygon>'
        '<box label="tree" xtl="1" ytl="2" xbr="3" ybr="4" z_order="0"/>'
        '<ellipse label="car" cx="3" cy="2" rx="2" ry="1" z_order="0"/>'
        '<mask label="car" rle="1, 2, 1" left="3" top="1" width="2" height="2" z_order="0"/>'
    )
    assert first == AnnotatedImage(
        "a.jpg",
        5,
        6,
        [
            Polygon(label="car", points=[1, 0, 5.5, 0, 1, 4]),
            Polygon(label="tree", points=[1, 2, 3, 2, 3, 4, 1, 4]),
            Ellipse(label="car", box=[1, 1, 5, 3]),
            Runs(label="car", box=[3, 1, 2, 2], counts=[1, 2, 1], order="C"),
        ],
    )
    assert second == AnnotatedImage("b.jpg", 1, 1, [])


def test_shapes_are_in_the_order_of_z_order_then_of_the_file():
    box = '<box label="{}" xtl="0" ytl="0" xbr="1" ybr="1" z_order="{}"/>'
    orders = [("a", 2), ("b", 0), ("c", 2), ("d", -1), ("e", 10)]
    first, _ = read("".join(box.format(*order) for order in orders))
    assert [shape.label for shape in first.shapes] == ["d", "b", "a", "c", "e"]


def test_box_and_ellipse_are_rotated_clockwise_around_their_center():
    first, _ = read(
        '<box label="car" xtl="0.5" ytl="1.5" xbr="4.5" ybr="2.5" rotation="90"/>'
        '<box label="car" xtl="0" ytl="2" xbr="4" ybr="2" rotation="45"/>'
        '<ellipse label="car" cx="2.5" cy="2.5" rx="2" ry="0.4" rotation="270"/>'
    )
    upright, slanted, ellipse = first.shapes
    assert upright.points == pytest.approx([3, 0, 3, 4, 2, 4, 2, 0])
    half = 2**0.5
    start, end = (2 - half, 2 - half), (2 + half, 2 + half)  # down to the right
    assert slanted.points == pytest.approx([*start, *end, *end, *start])
    assert draw(ellipse) == grid("""
        ..c...
        ..c...
        ..c...
        ..c...
        ..c...
    """)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<polyline label="car" points="0,0;1,1"/>', "shape 1: a polyline has no area; only"),
        ('<points label="car" points="0,0"/>', "a points has no area"),
        ('<skeleton label="car"/>', "a skeleton has no area"),
        ('<cuboid label="car"/>', "a cuboid has no area"),
        ('<polygon label="car" points="0,0;1,1"/>', "at least 3 points, got 2"),
        ('<polygon label="car" points="0,0;1,x;3,3"/>', "points should be numbers, got '0,0;1,x"),
        ('<polygon label="car" points="0,0;1,nan;3,3"/>', "points should be finite numbers"),
        ('<polygon label="car"/>', "shape 1: has no points"),
        ('<polygon label="car" points="0,0;1,99;3,3"/>', "y = 99 is far outside"),
        ('<box label="car" xtl="0" ytl="0" xbr="1"/>', "has no ybr"),
        ('<box label="car" xtl="0,1" ytl="0" xbr="1" ybr="1"/>', "xtl should be one number"),
        ('<ellipse label="car" cx="1" cy="1" rx="-1" ry="1"/>', "is reversed"),
        ('<mask label="car" rle="1" left="0" top="0" width="2" height="1"/>', "runs have 1 pixels"),
        ('<mask label="car" rle="12" left="5" top="0" width="2" height="6"/>', "not within the"),
        ('<mask label="car" rle="2" left="0" top="0.5" width="2" height="1"/>', "an integer"),
        ('<box label="car" xtl="0" ytl="0" xbr="1" ybr="1" z_order="top"/>', "z_order should be"),
    ],
)
def test_invalid_shape_is_an_error_with_image_and_position(shape: str, message: str):
    with pytest.raises(InputError, match=f"^annotations.xml: image 'a.jpg'.*{message}"):
        read(shape)


BILLION = "<!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><annotations>&b;</annotations>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not XML: no element found"),
        ("<annotations>", "not XML"),
        ("<annotation/>", "not in the format CVAT for images 1.1"),
        ("<annotations><track id='0'/></annotations>", "not in the format CVAT for images 1.1"),
        (BILLION, "has a DOCTYPE, which CVAT does not write"),
        ("<annotations><image/></annotations>", "image None: has no height"),
        (f"<annotations><image {SIZE.replace('6', '0')}/></annotations>", "width: should be"),
        ('<annotations><image width="1" height="1"/></annotations>', "file_name: should be"),
    ],
)
def test_invalid_file_is_an_error(text: str, message: str):
    with pytest.raises(InputError, match=f"^annotations.xml: .*{message}"):
        list(read_cvat(text.encode(), "annotations.xml"))
    utf16 = text.encode("utf-16")
    with pytest.raises(InputError, match=f"^annotations.xml: .*{message}"):
        list(read_cvat(utf16, "annotations.xml"))
