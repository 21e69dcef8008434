"""Layouts of public datasets, rebuilt in small, are found without any option."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from roadseg.prepare.discovery.files import open_files
from roadseg.prepare.discovery.layouts.layout import Layout, discover_layout
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.limits import Limits
from tests.layouts import LAYOUTS

LIMITS = Limits(files=1000, bytes=1 << 30, ratio=100, pixels=10**6)
VOC_VAL = ("2007_000004", "2007_000005")
EXPECTED: dict[str, dict[str, Any]] = {
    "kitti": {
        "images": "training/image_2/{id}.png",
        "masks": "training/semantic/{id}.png",
        "test_images": "testing/image_2/{id}.png",
        "num_pairs": 6,
    },
    "cityscapes": {
        "images": "leftImg8bit/{split:train,val}/*/{id}_leftImg8bit.png",
        "masks": "gtFine/{split:train,val}/*/{id}_gtFine_labelIds.png",
        "test_images": "leftImg8bit/test/berlin/{id}_leftImg8bit.png",
        "val_ids": "^val_",
        "num_pairs": 6,
    },
    "camvid_segnet": {
        "images": "{split:train,val}/{id}.png",
        "masks": "{split:train,val}annot/{id}.png",
        "test_images": "test/{id}.png",
        "val_ids": "^val_",
        "num_pairs": 7,
    },
    "camvid_original": {
        "images": "701_StillsRaw_full/{id}.png",
        "masks": "LabeledApproved_full/{id}_L.png",
        "kind": "colors",
        "num_pairs": 7,
    },
    "camvid_kaggle": {
        "images": "{split:train,val}/{id}.png",
        "masks": "{split:train,val}_labels/{id}_L.png",
        "test_images": "test/{id}.png",
        "val_ids": "^val_",
        "kind": "colors",
        "num_pairs": 7,
    },
    "voc": {
        "images": "JPEGImages/{id}.jpg",
        "masks": "SegmentationClass/{id}.png",
        "unmasked": "skip",
        "val_ids": VOC_VAL,
        "num_pairs": 6,
    },
    "ade20k": {
        "images": "images/{split:training,validation}/{id}.jpg",
        "masks": "annotations/{split:training,validation}/{id}.png",
        "val_ids": "^validation_",
        "num_pairs": 7,
    },
    "coco": {
        "images": "{split:train,val}2017/{id}.jpg",
        "masks": "annotations/instances_{split:train,val}2017.json",
        "val_ids": "^val_",
        "kind": "coco",
        "num_pairs": 7,
    },
    "roboflow_coco": {
        "images": "{split:train,valid}/{id}.jpg",
        "masks": "{split:train,valid}/_annotations.coco.json",
        "test_images": "test/{id}.jpg",
        "val_ids": "^valid_",
        "kind": "coco",
        "num_pairs": 7,
    },
    "labelme": {
        "images": "{id}.jpg",
        "masks": "{id}.json",
        "kind": "labelme",
        "num_pairs": 6,
    },
    "cvat_xml": {
        "images": "images/{id}.jpg",
        "masks": "annotations.xml",
        "kind": "cvat",
        "num_pairs": 6,
    },
    "cvat_masks": {
        "images": "JPEGImages/{id}.jpg",
        "masks": "SegmentationClass/{id}.png",
        "kind": "colors",
        "num_pairs": 6,
    },
    "yolo": {
        "images": "images/{split:train,val}/{id}.jpg",
        "masks": "labels/{split:train,val}/{id}.txt",
        "val_ids": "^val_",
        "kind": "yolo",
        "num_pairs": 7,
    },
    "same_folder": {
        "images": "{id}.png",
        "masks": "{id}_mask.png",
        "num_pairs": 6,
    },
    "nested": {
        "images": "{folder}/Images/{id}.png",
        "masks": "{folder}/Labels/{id}.png",
        "group_by": "^([^_]+)_",
        "num_pairs": 9,
    },
    "binary": {"images": "images/{id}.jpg", "masks": "masks/{id}.png", "num_pairs": 6},
    "gray_as_rgb": {"images": "images/{id}.jpg", "masks": "labels/{id}.png", "num_pairs": 6},
}
DEFAULTS = {
    **{"test_images": None, "unmasked": "error", "val_ids": None, "group_by": None, "kind": "ids"},
}


def discover(path: Path) -> Layout:
    with open_files(path, LIMITS) as files:
        return discover_layout(files)


def facts(layout: Layout) -> dict[str, Any]:
    keys = ("images", "masks", "test_images", "unmasked", "val_ids", "group_by", "kind")
    return {key: getattr(layout, key) for key in keys} | {"num_pairs": len(layout.pairs)}


@pytest.mark.parametrize("name", LAYOUTS)
def test_patterns_splits_and_pairs_are_found(name: str, tmp_path: Path):
    folder = tmp_path / "around" / "it"
    LAYOUTS[name](folder)
    layout = discover(tmp_path / "around")
    assert facts(layout) == DEFAULTS | EXPECTED[name]
    patterns = FilePatterns(
        images=layout.images,
        masks=layout.masks,
        test_images=layout.test_images,
        skip_unmasked=layout.unmasked == "skip",
    )
    places = patterns.match(patterns.files(tmp_path / "around")).places
    stems = {pair.image: places[pair.image].rpartition("/")[2] for pair in layout.pairs}
    assert {pair.image_id for pair in layout.pairs} == {
        stem.rpartition(".")[0] for stem in stems.values()
    }
    assert {pair.mask for pair in layout.pairs} <= places.keys()


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_has_the_layout_of_its_directory(kind: str, tmp_path: Path):
    LAYOUTS["camvid_segnet"](tmp_path / "in" / "CamVid")
    archive = Path(shutil.make_archive(str(tmp_path / "data"), kind, tmp_path / "in"))
    layout = discover(archive)
    assert layout == discover(tmp_path / "in")
    assert facts(layout) == DEFAULTS | EXPECTED["camvid_segnet"]
    assert layout.pairs[0] == (
        "train_0001TP_000000",
        "CamVid/train/0001TP_000000.png",
        "CamVid/trainannot/0001TP_000000.png",
    )
    assert layout.test_names == ("CamVid/test/0006R0_000007.png", "CamVid/test/0016E5_000008.png")


def test_notes_say_which_other_masks_there_are_and_what_is_left_out(tmp_path: Path):
    for name in ("kitti", "voc", "cityscapes"):
        LAYOUTS[name](tmp_path / name)
    assert discover(tmp_path / "kitti").notes == (
        "training/semantic/{id}.png (ids) is used; data.masks can also choose "
        "training/instance/{id}.png (ids), training/semantic_rgb/{id}.png (colors)",
    )
    assert discover(tmp_path / "voc").notes == (
        "SegmentationClass/{id}.png (ids) is used; data.masks can also choose "
        "SegmentationObject/{id}.png (ids)",
        "3 of 9 images have no mask and are skipped, such as JPEGImages/2007_000006.jpg "
        "(data.unmasked)",
    )
    assert discover(tmp_path / "cityscapes").notes[1] == (
        "2 images of the test split have masks, which are not used (data.test_images)"
    )
