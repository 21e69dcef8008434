"""Data sets with annotation files, from a directory or archive to prepared arrays."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.data.prepared import PreparedDataset
from roadseg.prepare.annotations.shapes import read_shapes
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.manifest import Manifest
from roadseg.prepare.fetch.source import fetch
from roadseg.prepare.layout import TRAIN_MASKS
from roadseg.prepare.remap import remap_dataset, remap_test_set
from roadseg.system.errors import InputError
from tests.factories import LIMITS, STORE
from tests.prepare.annotations.grids import CLASS_MAP

SPLITS = FilePatterns(
    images="{split:train,valid}/{id}.jpg",
    masks="{split:train,valid}/_annotations.coco.json",
    test_images="test/{id}.jpg",
)
SQUARE = [4, 4, 20, 4, 20, 14, 4, 14]
CAR = {"id": 5, "image_id": 1, "category_id": 1, "segmentation": [SQUARE]}


def write_image(path: Path, orientation: int = 1) -> None:
    """Write an image of 32x48 pixels, or 48x32 if one looks at it upright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (48, 32), "gray").save(path, exif=exif)


def write_splits(root: Path) -> Path:
    """Write a data set as Roboflow exports it: in each split, image a has a car and b nothing."""
    for split in ("train", "valid", "test"):
        names = [f"{split}_a.jpg", f"{split}_b.jpg"]
        images = [
            {"id": i, "file_name": name, "height": 32, "width": 48}
            for i, name in enumerate(names, start=1)
        ]
        for name in names:
            write_image(root / split / name)
        content = {"images": images, "annotations": [CAR], "categories": [{"id": 1, "name": "car"}]}
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    return root


def run_fetch(source: Path, patterns: FilePatterns, out: Path) -> Manifest:
    return fetch(str(source), None, patterns, LIMITS, {}, out, STORE, set())


@pytest.mark.parametrize("packed", [False, True])
def test_annotations_of_each_split_become_masks_of_its_images(tmp_path: Path, packed: bool):
    source = write_splits(tmp_path / "set")
    if packed:
        source = Path(shutil.make_archive(str(tmp_path / "set"), "zip", source))
    manifest = run_fetch(source, SPLITS, tmp_path / "raw")
    assert (manifest.num_train, manifest.num_test) == (4, 2)
    files = sorted(path.name for path in (tmp_path / "raw" / TRAIN_MASKS).iterdir())
    ids = ["train_train_a", "train_train_b", "valid_valid_a", "valid_valid_b"]
    assert files == [f"{image_id}.json" for image_id in ids]
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [
        "manifest.json",
        "testing",
        "training",
    ]
    shapes = read_shapes(tmp_path / "raw" / TRAIN_MASKS / "valid_valid_a.json")
    assert shapes.source == "valid/_annotations.coco.json: image 'valid_a.jpg'"
    pixels = remap_dataset(tmp_path / "raw", tmp_path / "prepared", CLASS_MAP, 1.0).pixels
    assert pixels[:2].tolist() == [4 * 32 * 48 - 2 * 16 * 10, 2 * 16 * 10]
    assert not PreparedDataset(tmp_path / "prepared").mask("train_train_b").any()


def test_polygons_of_test_images_become_masks_of_the_test_set_only(tmp_path: Path):
    """Test masks in files of another format than the training masks, one for each image."""
    source = write_splits(tmp_path / "set")
    points = [SQUARE[i : i + 2] for i in range(0, len(SQUARE), 2)]
    shape = {"label": "car", "points": points, "shape_type": "polygon"}
    for name, shapes in (("a", [shape]), ("b", [])):
        content = {"imagePath": f"test_{name}.jpg", "imageHeight": 32, "imageWidth": 48}
        path = source / f"x/test_{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**content, "shapes": shapes}))
    manifest = run_fetch(source, replace(SPLITS, test_masks="x/{id}.json"), tmp_path / "raw")
    assert (manifest.num_test, manifest.num_test_masks) == (2, 2)
    remap_dataset(tmp_path / "raw", tmp_path / "prepared", CLASS_MAP, 1.0)
    assert remap_test_set(tmp_path / "raw", tmp_path / "test", CLASS_MAP, 1.0) == 2
    prepared, test_set = PreparedDataset(tmp_path / "prepared"), PreparedDataset(tmp_path / "test")
    assert len(prepared.train_ids()) == 4
    assert prepared.test_ids() == test_set.train_ids() == ["test_a", "test_b"]
    image, mask = test_set.pair("test_a")
    assert np.array_equal(image, prepared.test_image("test_a"))
    assert np.array_equal(
        np.argwhere(mask)[[0, -1]], [[4, 4], [14, 20]]
    )  # inclusive, as in LabelMe
    assert mask[4:15, 4:21].all()
    assert np.count_nonzero(mask) == 11 * 17
    assert not test_set.mask("test_b").any()
    (source / "x/test_b.json").unlink()
    with pytest.raises(InputError, match=r"test/test_b.jpg has no mask in x/{id}.json"):
        run_fetch(source, replace(SPLITS, test_masks="x/{id}.json"), tmp_path / "raw")


def test_images_that_no_annotation_file_lists_are_unmasked(tmp_path: Path):
    source = write_splits(tmp_path / "set")
    for name in ("c", "d"):
        write_image(source / f"train/{name}.jpg")
    with pytest.raises(InputError, match=r"train/c.jpg has no mask in .*coco.json, and 1 more"):
        run_fetch(source, SPLITS, tmp_path / "raw")
    manifest = run_fetch(source, replace(SPLITS, skip_unmasked=True), tmp_path / "raw")
    assert (manifest.num_train, manifest.num_unmasked) == (4, 2)


PAIRS = FilePatterns(images="{id}.jpg", masks="{id}.{json,txt}", test_images=None)


def write_pair(root: Path, annotation: str, text: str, orientation: int = 1) -> Path:
    write_image(root / "a.jpg", orientation)
    (root / annotation).write_text(text)
    return root


def labelme(**keys: object) -> str:
    return json.dumps({"shapes": [], **keys})


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (
            "a.json",
            labelme(imageHeight=48, imageWidth=32),
            "a.json: 48x32 pixels, but a.jpg has 32",
        ),
        ("b.json", labelme(), r"b.json has no image in \{id\}.jpg"),
        ("a.txt", "0 0.5 0.5 0.1 0.1", "a.txt: line 1: 5 numbers are a box"),
        ("a.json", '{"shapes": [', "a.json: not JSON"),
    ],
)
def test_errors_name_the_annotation_file_and_keep_the_old_data(
    tmp_path: Path, annotation: str, text: str, message: str
):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/old").touch()
    source = write_pair(tmp_path / "set", annotation, text)
    with pytest.raises(InputError, match=f"^{source}: {message}"):
        run_fetch(source, PAIRS, tmp_path / "raw")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["old"]


def test_annotations_of_a_rotated_image_without_its_rotation_are_reported(tmp_path: Path):
    text = labelme(imageHeight=32, imageWidth=48)
    source = write_pair(tmp_path / "set", "a.json", text, orientation=6)
    with pytest.raises(InputError, match=r"a.json: 32x48 pixels, but a.jpg has 48x32 after its EX"):
        run_fetch(source, PAIRS, tmp_path / "raw")
