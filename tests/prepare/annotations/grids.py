"""Class maps and small grids, in which each character is a pixel, for the tests of shapes."""

import numpy as np

from roadseg.config.class_map import IGNORE_INDEX, ClassMap, LabelClass
from roadseg.prepare.annotations.shapes import Shape, Shapes, rasterize

CLASS_MAP = ClassMap(
    void=None,
    ignored_label_ids=[9],
    unknown_label_ids="error",
    classes=[
        LabelClass(name="ground", color=[0, 0, 0], label_ids=[0]),
        LabelClass(name="car", color=[0, 0, 255], label_ids=[1], labels=["van"]),
        LabelClass(name="tree", color=[0, 255, 0], label_ids=[2]),
    ],
    ignored_labels=["ego"],
    background="ground",
)
_CHARACTERS = {0: ".", 1: "c", 2: "t", IGNORE_INDEX: "i"}


def draw(*shapes: Shape, size: tuple[int, int] = (5, 6), class_map: ClassMap = CLASS_MAP) -> str:
    """Draw shapes on an image of `size`, (H, W), one line per row: ground ., car c, tree t."""
    height, width = size
    drawn = rasterize(
        Shapes(source="a.json", height=height, width=width, shapes=list(shapes)), class_map
    )
    assert drawn.dtype == np.uint8
    return "\n".join("".join(_CHARACTERS[class_id] for class_id in row) for row in drawn.tolist())


def grid(text: str) -> str:
    """Remove the indentation of a grid."""
    return "\n".join(text.split())
