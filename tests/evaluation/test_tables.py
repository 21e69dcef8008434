from pathlib import Path

import numpy as np
import pytest

from roadseg.config.class_map import read_class_map
from roadseg.evaluation.tables import confusion_pairs, per_class, per_image
from roadseg.system.tables import write_table
from tests.factories import ROOT

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
# Only two of the twelve classes occur: void (0) and road (1).
CONFUSION = np.zeros((12, 12), dtype=int)
CONFUSION[0, 0], CONFUSION[0, 1], CONFUSION[1, 0], CONFUSION[1, 1] = 2, 6, 1, 3
BOUNDARY_F = np.array([np.nan, 0.5, *[np.nan] * 10])


def test_per_class_table_by_hand():
    table = per_class(TWELVE, CONFUSION, BOUNDARY_F).set_index("class")
    # void: TP 2, FN 6, FP 1; road, without true void pixels: TP 3, FN 1
    assert table.loc["void", "iou"] == pytest.approx(2 / 9)
    assert table.loc["road", "iou"] == pytest.approx(3 / 4)
    assert table.loc["road", "accuracy"] == pytest.approx(3 / 4)
    assert table.loc["sky", ["iou", "dice", "accuracy"]].isna().all()
    assert table["pixels"].tolist() == [8, 4] + [0] * 10


def test_metrics_of_an_absent_class_are_empty_fields(tmp_path: Path):
    write_table(tmp_path / "t.csv", per_class(TWELVE, CONFUSION, BOUNDARY_F))
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "class,iou,dice,accuracy,boundary_f,pixels,color"
    assert lines[1] == "void,0.222222,0.363636,0.25,,8,#000000"
    assert lines[2] == "road,0.75,0.857143,0.75,0.5,4,#804080"
    assert lines[3] == "sidewalk,,,,,0,#f423e8"


def test_confusion_pairs_are_in_class_order_with_fractions_of_the_actual_class():
    table = confusion_pairs(TWELVE, CONFUSION)
    assert len(table) == 144
    assert table["actual"].tolist()[::12] == TWELVE.names
    assert table["predicted"].tolist()[:12] == TWELVE.names
    assert table["share"].tolist()[:2] == [0.25, 0.75]
    assert table["share"].tolist()[12:14] == [0.25, 0.75]
    assert table["share"][24:].isna().all()


def test_per_image_sorts_by_ascending_miou_and_omits_void_images():
    correct, wrong, void = (np.zeros((12, 12), dtype=np.int64) for _ in range(3))
    correct[1, 1], correct[2, 2] = 30, 10
    wrong[1, 1], wrong[1, 2] = 10, 30  # IoU of road 1/4, of sidewalk 0
    void[0, 3] = 40  # not counted
    table = per_image(TWELVE, ["a", "b", "c"], np.stack([correct, wrong, void]))
    assert table.to_dict("list") == {
        "rank": [1, 2],
        "picture": ["b", "a"],
        "miou": [0.125, 1.0],
        "pixel_accuracy": [0.25, 1.0],
    }
