"""Shapes drawn on small grids, worked out by hand from the rules in the module's docstring."""

import json
import warnings

import numpy as np
import pytest
from pycocotools import mask as coco

from roadseg.prepare.annotations.shapes import (
    Ellipse,
    Polygon,
    Regions,
    Runs,
    Shapes,
    read_shapes,
    write_shapes,
)
from roadseg.system.errors import InputError
from tests.prepare.annotations.grids import CLASS_MAP, draw, grid

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]
TRIANGLE = [1, 0, 5, 0, 1, 4]


def car(points: list[float]) -> Polygon:
    return Polygon(label="car", points=points)


def regions(*polygons: list[float], label: str = "car") -> Regions:
    return Regions(label=label, polygons=list(polygons))


def test_pillow_includes_the_boundary():
    assert draw(car(SQUARE)) == grid("""
        ......
        .ccc..
        .ccc..
        .ccc..
        ......
    """)


def test_pillow_truncates_coordinates_to_pixels():
    assert draw(car([value + 0.9 for value in SQUARE])) == draw(car(SQUARE))


def test_pycocotools_includes_pixels_with_their_center_inside():
    assert draw(regions(SQUARE)) == grid("""
        ......
        .cc...
        .cc...
        ......
        ......
    """)


def test_pycocotools_half_pixel_edges_belong_to_the_pixels_right_and_below():
    assert draw(regions([value + 0.5 for value in SQUARE])) == grid("""
        ......
        ......
        ..cc..
        ..cc..
        ......
    """)
    assert draw(regions([value + 0.4 for value in SQUARE])) == draw(regions(SQUARE))


def test_triangle_by_both_rules():
    assert draw(car(TRIANGLE)) == grid("""
        .ccccc
        .cccc.
        .ccc..
        .cc...
        .c....
    """)
    assert draw(regions(TRIANGLE)) == grid("""
        .ccc..
        .cc...
        .c....
        ......
        ......
    """)


def test_later_shape_covers_earlier_shape():
    square, tree = car(SQUARE), Polygon(label="tree", points=[2, 2, 5, 2, 5, 4, 2, 4])
    assert draw(square, tree) == grid("""
        ......
        .ccc..
        .ctttt
        .ctttt
        ..tttt
    """)
    assert draw(tree, square) == grid("""
        ......
        .ccc..
        .ccctt
        .ccctt
        ..tttt
    """)


def test_polygons_of_one_coco_object_are_its_union():
    inner = [2, 2, 3, 2, 3, 3, 2, 3]
    assert draw(regions([1, 1, 4, 1, 4, 4, 1, 4], inner, [4, 0, 6, 0, 6, 1, 4, 1])) == grid("""
        ....cc
        .ccc..
        .ccc..
        .ccc..
        ......
    """)


def test_runs_have_holes_and_go_along_columns_or_rows():
    counts = [1, 3, 1, 1, 1, 1, 1]  # of 3x3 pixels
    by_column = Runs(label="car", box=[2, 1, 3, 3], counts=counts, order="F")
    assert draw(by_column) == grid("""
        ......
        ...c..
        ..c.c.
        ..c...
        ......
    """).replace("..c...", "..cc..")
    by_row = Runs(label="car", box=[2, 1, 3, 3], counts=counts, order="C")
    assert draw(by_row) == grid("""
        ......
        ...cc.
        ..c.c.
        ...c..
        ......
    """)


def test_ellipse_touches_its_box():
    assert draw(Ellipse(label="car", box=[1, 0, 5, 4])) == grid("""
        ..ccc.
        .ccccc
        .ccccc
        .ccccc
        ..ccc.
    """)


def test_shape_that_overhangs_the_border_is_clipped():
    corner = [-2, -2, 1, -2, 1, 1, -2, 1]
    assert draw(car(corner), size=(3, 3)) == "cc.\ncc.\n..."
    assert draw(regions(corner), size=(3, 3)) == "c..\n...\n..."
    assert draw(Ellipse(label="car", box=[-2, -2, 2, 2]), size=(3, 3)) == "ccc\nccc\ncc."


@pytest.mark.parametrize(
    ("label", "drawn"), [("van", "c"), (1, "c"), ("ego", "i"), (9, "i"), ("ground", ".")]
)
def test_labels_are_names_text_labels_or_label_ids(label: str | int, drawn: str):
    assert draw(Polygon(label=label, points=[0, 0, 1, 0, 0, 1]), size=(1, 1)) == drawn


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("vam", r"a.json: label 'vam' \(2 of 3 shapes\) has no class; did you mean 'van'\?"),
        (7, r"label 7 \(2 of 3 shapes\) has no class; known labels: 9, 0, 1, 2; add it to the"),
        ("1", r"label '1' .* known labels: ego, ground, car, van, tree"),
    ],
)
def test_unknown_label_is_an_error(label: str | int, message: str):
    unknown = Polygon(label=label, points=SQUARE)
    with pytest.raises(InputError, match=message):
        draw(unknown, car(SQUARE), unknown)


def test_unknown_label_may_be_ignored_or_a_class():
    point = Polygon(label="bird", points=[0, 0, 0, 0, 0, 0])
    for choice, drawn in (("ignore", "i."), ("tree", "t.")):
        class_map = CLASS_MAP.model_copy(update={"unknown_label_ids": choice})
        assert draw(point, size=(1, 2), class_map=class_map) == drawn


def test_pixels_without_shape_are_the_background():
    class_map = CLASS_MAP.model_copy(update={"background": "ignore"})
    assert draw(car([0, 0, 0, 0, 0, 0]), size=(1, 2), class_map=class_map) == "ci"
    class_map = CLASS_MAP.model_copy(update={"background": None})
    with pytest.raises(InputError, match=r"a.json: pixels that no shape covers .* set background"):
        draw(class_map=class_map)


def test_regions_equal_the_masks_of_pycocotools():
    generator = np.random.default_rng(0)
    for _ in range(20):
        polygon = generator.uniform(-3, 12, 2 * generator.integers(3, 9)).round(1).tolist()
        encoded = coco.merge(coco.frPyObjects([polygon], 9, 8))
        drawn = np.array([list(row) for row in draw(regions(polygon), size=(9, 8)).split()])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of numpy, in pycocotools
            np.testing.assert_array_equal(drawn == "c", coco.decode(encoded))


def test_file_of_shapes_is_read_as_it_was_written(tmp_path):
    written = Shapes(
        source="a.json",
        height=4,
        width=5,
        shapes=[
            car([0.1, 1 / 3, 1e-9, 2, 4, 4]),
            Ellipse(label=3, box=[0, 0, 1, 1]),
            regions(SQUARE),
            Runs(label="é", box=[1, 1, 2, 2], counts=[1, 3], order="C"),
        ],
    )
    write_shapes(tmp_path / "a.json", written)
    assert read_shapes(tmp_path / "a.json") == written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [0, 0, 1, 1]}, "at least 3 points, got 2"),
        ({"points": [0, 0, 1e9, 1, 1, 1]}, r"x = 1e\+09 is far outside"),
        ({"kind": "spline"}, "kind"),
        ({"more": 1}, "more"),
    ],
)
def test_damaged_file_of_shapes_is_an_error(tmp_path, change: dict, message: str):
    shape = {"kind": "polygon", "label": "car", "points": SQUARE, **change}
    content = {"source": "a.json", "height": 4, "width": 5, "shapes": [shape]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"a.json: .*{message}.*run dvc repro"):
        read_shapes(tmp_path / "a.json")
