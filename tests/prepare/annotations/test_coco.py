import copy
import json

import numpy as np
import pytest
from pycocotools import mask as coco

from roadseg.prepare.annotations.coco import read_coco
from roadseg.prepare.annotations.records import AnnotatedImage
from roadseg.prepare.annotations.shapes import Regions, Runs
from roadseg.system.errors import InputError
from tests.prepare.annotations.grids import draw, grid

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]
FILE = {
    "info": {"description": "as exported by Roboflow"},
    "licenses": [],
    "images": [
        {"id": 0, "file_name": "a_jpg.rf.0123.jpg", "height": 5, "width": 6, "date_captured": ""},
        {"id": 1, "file_name": "b.jpg", "height": 5, "width": 6},
    ],
    "categories": [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "car", "supercategory": "things"},
        {"id": 2},
    ],
    "annotations": [
        {"id": 7, "image_id": 0, "category_id": 2, "segmentation": [SQUARE], "iscrowd": 0},
        {"id": 8, "image_id": 0, "category_id": 1, "segmentation": [SQUARE, [4, 0, 6, 0, 6, 1]]},
    ],
}


def read(**changes: object) -> list[AnnotatedImage]:
    """Read FILE with changes in its first annotation."""
    content = copy.deepcopy(FILE)
    content["annotations"][0].update(changes)
    return list(read_coco(json.dumps(content).encode(), "train.json"))


def test_annotations_are_the_shapes_of_their_image_in_the_order_of_the_file():
    first, second = read()
    assert first == AnnotatedImage(
        "a_jpg.rf.0123.jpg",
        5,
        6,
        [
            Regions(label=2, polygons=[SQUARE]),
            Regions(label="car", polygons=[SQUARE, [4, 0, 6, 0, 6, 1]]),
        ],
    )
    assert second == AnnotatedImage("b.jpg", 5, 6, [])


def test_crowds_have_run_lengths_by_column_plain_or_compressed():
    mask = np.zeros((5, 6), dtype=np.uint8, order="F")
    mask[1:4, 2], mask[0, 4:] = 1, 1
    counts = [11, 3, 6, 1, 4, 1, 4]
    for encoded in (counts, coco.encode(mask)["counts"].decode()):
        first, _ = read(segmentation={"size": [5, 6], "counts": encoded}, iscrowd=1)
        runs = first.shapes[0]
        assert runs == Runs(label=2, box=[0, 0, 6, 5], counts=counts, order="F")
        assert draw(runs) == grid("""
            ....tt
            ..t...
            ..t...
            ..t...
            ......
        """)


def test_compressed_run_lengths_of_random_masks_are_decoded():
    generator = np.random.default_rng(0)
    for _ in range(20):
        mask = np.asfortranarray(generator.random((5, 6)) < generator.random(), dtype=np.uint8)
        counts = coco.encode(mask)["counts"].decode()
        first, _ = read(segmentation={"size": [5, 6], "counts": counts}, category_id=1)
        assert draw(first.shapes[0]).replace("\n", "") == "".join(np.where(mask, "c", ".").ravel())


RUNS = {"size": [5, 6], "counts": [30]}
NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation": []}, "annotation 7 has no segmentation, only a box or key points"),
        ({"segmentation": None}, "annotation 7 has no segmentation"),
        ({"segmentation": [[1, 1, 3, 3]]}, "annotation 7: a polygon needs at least 3 points"),
        ({"segmentation": [[1, 1, 3, 3, 2]]}, "5 coordinates, which are not pairs of x and y"),
        ({"segmentation": [[1, 1, 3, NAN, 3, 3]]}, r"segmentation\[0\]\[3\]: .* finite .* nan"),
        ({"segmentation": [[1, 1, 3, 1e999, 3, 3]]}, "finite number, got inf"),
        ({"segmentation": [[1, 1, 3, "2", 3, 3]]}, "valid number, got '2'"),
        ({"segmentation": [[1, 1, 13, 1, 3, 3]]}, "x = 13 is far outside .* a width of 6"),
        ({"segmentation": [[1, 6, 3, 6, 3, 7]]}, "outside of the image: y is 6 to 7"),
        ({"segmentation": [[0, 1] * 100_001]}, "100,001 points; the limit is 100,000"),
        ({"segmentation": {**RUNS, "counts": [29]}}, "the runs have 29 pixels, but 5x6 are 30"),
        ({"segmentation": {**RUNS, "counts": [-1, 31]}}, "a run of -1 pixels"),
        ({"segmentation": {**RUNS, "counts": "n"}}, "the runs have 0 pixels|cut off"),
        ({"segmentation": {**RUNS, "counts": "oooooooooooo"}}, "not a compressed run-length"),
        ({"segmentation": {**RUNS, "counts": "é"}}, "not a compressed run-length"),
        ({"segmentation": {**RUNS, "size": [6, 5]}}, r"the size \[6, 5\], the image \[5, 6\]"),
        ({"image_id": 5}, "annotation 7: no image has the id 5"),
        ({"category_id": 5}, "annotation 7: no category has the id 5"),
        ({"category_id": "car"}, "annotation 7: category_id: should be a valid integer"),
    ],
)
def test_invalid_annotation_is_an_error_with_its_id(changes: dict, message: str):
    with pytest.raises(InputError, match=f"^train.json: .*(?:{message})"):
        read(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON in UTF-8: Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "should be a JSON object"),
        ('{"a": 1, "a": 2}', "the key 'a' is in one object twice"),
        ('{"images": []}', "neither COCO nor LabelMe: categories: missing"),
        (json.dumps({**FILE, "images": FILE["images"] * 2}), "have the same id"),
        (
            json.dumps({**FILE, "annotations": [{"bbox": []}]}),
            r"annotations\[0\].image_id: missing",
        ),
        (json.dumps(FILE).replace('"height": 5', '"height": 0', 1), r"images\[0\].height: should"),
    ],
)
def test_invalid_file_is_an_error(text: str, message: str):
    with pytest.raises(InputError, match=f"^train.json: .*{message}"):
        list(read_coco(text.encode(), "train.json"))
