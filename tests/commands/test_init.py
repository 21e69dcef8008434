"""`roadseg init`: from a data set in a public layout to prepared arrays, without manual edits."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from roadseg.commands.main import main
from roadseg.config.json_files import read_model
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.reporting import contact_sheet
from tests.factories import ROOT
from tests.layouts import (
    IMAGE_COLORS,
    LAYOUTS,
    NAMES,
    make_classes,
    make_points,
)
from tests.stage_runner import arguments


class Expected(NamedTuple):
    """What is prepared of a layout."""

    classes: tuple[str | None, ...]
    """Classes of sky, building, road and car; None is ignored."""
    num_classes: int
    num_train: int
    num_val: int
    num_test: int = 0


CAMVID = ("Sky", "Building", "Road", "Car")
OBJECTS = ("background", "building", "road", "car")
NUMBERED = ("class_0", "class_1", "class_2", "class_3")
EXPECTED = {
    "kitti": Expected(("sky", "construction", "road", "vehicle"), 12, 5, 1, 2),
    "cityscapes": Expected(NAMES, 19, 4, 2, 2),
    "camvid_segnet": Expected(NAMES, 11, 5, 2, 2),
    "camvid_original": Expected(CAMVID, 31, 4, 3),
    "camvid_kaggle": Expected(CAMVID, 31, 5, 2, 2),
    "voc": Expected(("background", "person", "background", "car"), 21, 4, 2),
    "ade20k": Expected(NAMES, 21, 5, 2),
    "coco": Expected(OBJECTS, 4, 5, 2),
    "roboflow_coco": Expected(("background", "background", "road", "car"), 3, 5, 2, 2),
    "labelme": Expected(NAMES, 4, 5, 1),
    "cvat_xml": Expected(NAMES, 4, 5, 1),
    "cvat_masks": Expected(OBJECTS, 4, 5, 1),
    "yolo": Expected(OBJECTS, 4, 5, 2),
    "same_folder": Expected(NUMBERED, 4, 5, 1),
    "nested": Expected(NUMBERED, 4, 6, 3),
    "binary": Expected(("background", "background", "object", "background"), 2, 5, 1),
    "gray_as_rgb": Expected(("class_2", "class_1", "class_0", None), 3, 5, 1),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of the project without code, which is the working directory."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "classes", tmp_path / "classes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch):
    def save(path: Path, *_: object) -> None:
        path.write_bytes(b"")

    monkeypatch.setattr(contact_sheet, "save_contact_sheet", save)


def run_stage(stage: str) -> None:
    words = [word.removeprefix(f"{ROOT}/") for word in arguments(stage, Path(), Path())]
    __import__(f"stages.{stage}", fromlist=["main"]).main(words)


def find_scene(image: np.ndarray) -> int:
    """Return the number of the scene that the image shows."""
    distances = [abs(IMAGE_COLORS[make_classes(n)] - image.astype(int)).mean() for n in range(9)]
    return int(np.argmin(distances))


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_public_layouts_need_no_manual_edits(layout: str, project: Path):
    LAYOUTS[layout](project / "datasets" / layout)
    main(["init", f"datasets/{layout}"])
    for stage in ("fetch", "remap", "split"):
        run_stage(stage)
    expected = EXPECTED[layout]
    prepared = PreparedDataset(project / "data/prepared")
    split = read_model(Split, project / "data/split.json")
    counts = len(split.train), len(split.val), len(split.test)
    assert counts == (expected.num_train, expected.num_val, expected.num_test)
    names = prepared.class_map().names
    assert len(names) == expected.num_classes
    scenes = set()
    for name in prepared.train_ids():
        image, mask = prepared.pair(name)
        scenes.add(scene := find_scene(image))
        found = [int(mask[point]) for point in make_points(scene)]
        assert [None if i == 255 else names[i] for i in found] == list(expected.classes)
    assert len(scenes) == len(prepared.train_ids())
