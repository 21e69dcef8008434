import re
from pathlib import Path

import numpy as np
import pytest

from roadseg.config.class_map import (
    IGNORE_INDEX,
    ClassMap,
    LabelClass,
    find_class_map,
    read_class_map,
)
from roadseg.config.schema import validate
from roadseg.system.errors import InputError
from tests.factories import ROOT

CLASSES = ROOT / "classes"
# Class ids of KITTI's label ids 0..33, from the listing in the course report.
REPORT_TABLE = [
    0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 0, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 8,
    9, 9, 9, 9, 9, 10, 11, 11,
]  # fmt: skip
# Train ids of the Cityscapes benchmark; other label ids are ignored.
TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12,
    26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip


def test_kitti12_matches_the_table_of_the_report():
    class_map = read_class_map(CLASSES / "kitti12.yaml")
    table, known = class_map.table()
    assert table[:34].tolist() == REPORT_TABLE
    assert known.tolist() == [True] * 34 + [False] * 222
    assert (class_map.num_classes, class_map.void_id) == (12, 0)


def test_kitti11_is_kitti12_with_void_ignored():
    twelve, _ = read_class_map(CLASSES / "kitti12.yaml").table()
    eleven, known = read_class_map(CLASSES / "kitti11.yaml").table()
    expected = np.where(twelve[:34] == 0, IGNORE_INDEX, twelve[:34] - 1)
    assert eleven[:34].tolist() == expected.tolist()
    assert known.sum() == 34


def test_cityscapes19_has_the_train_ids_of_the_benchmark():
    table, known = read_class_map(CLASSES / "cityscapes19.yaml").table()
    expected = [TRAIN_IDS.get(label_id, IGNORE_INDEX) for label_id in range(34)]
    assert table[:34].tolist() == expected
    assert known.sum() == 34


def write_map(tmp_path: Path, **changes: str) -> Path:
    lines = {
        "void": "null",
        "ignored_label_ids": "[]",
        "unknown_label_ids": "error",
        "classes": "[{name: a, color: [1, 2, 3], label_ids: [4]},"
        " {name: b, color: [4, 5, 6], label_ids: [9]}]",
        **changes,
    }
    path = tmp_path / "own.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return path


@pytest.mark.parametrize(
    ("choice", "filled", "is_known"), [("error", 255, 0), ("ignore", 255, 1), ("b", 1, 1)]
)
def test_unknown_label_ids_follow_the_map(tmp_path, choice, filled, is_known):
    table, known = read_class_map(write_map(tmp_path, unknown_label_ids=choice)).table()
    assert table[4] == 0
    assert table[9] == 1
    assert table[200] == filled
    assert known[200] == is_known


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"void": "c"}, "void: no class is named 'c'"),
        ({"ignored_label_ids": "[4]"}, "classes: label id 4 is assigned more than once"),
        (
            {"ignored_label_ids": "[65536]"},
            r"ignored_label_ids\[0\]: .* less than 65536, got 65536",
        ),
        ({"unknown_label_ids": "c"}, "unknown_label_ids: 'c' is not error, ignore or a class"),
        ({"classes": "[]"}, "classes: list should have at least 1 item"),
        (
            {"classes": "[{name: a, color: [1, 2], label_ids: []}]"},
            r"classes\[0\].color: .*\[1, 2\]",
        ),
        (
            {"classes": r'[{name: "a\e[8m", color: [1, 2, 3], label_ids: []}]'},
            r"classes\[0\].name: should have no control characters, got 'a\\x1b\[8m'",
        ),
        ({"hue": "1"}, "hue: unknown key"),
        ({"background": "c"}, "background: 'c' is not ignore or a class"),
        ({"ignored_labels": "[b]"}, "classes: label 'b' is assigned more than once"),
        ({"ignored_labels": "[' ']"}, r"ignored_labels\[0\]: string should match"),
        (
            {"ignored_colors": "[[1, 2, 3], [1, 2, 3]]"},
            r"classes: color \[1, 2, 3\] is assigned more than once",
        ),
        (
            {"ignored_colors": "[[1, 2, 256]]"},
            r"ignored_colors\[0\]\[2\]: .* equal to 255, got 256",
        ),
        (
            {"classes": "[{name: a, color: [1, 2, 3], labels: [b]}, {name: b, color: [1, 2, 3]}]"},
            "classes: label 'b' is assigned more than once",
        ),
    ],
)
def test_error_of_an_invalid_map_has_file_and_key(tmp_path, changes, message):
    with pytest.raises(InputError, match=f"own.yaml: {message}"):
        read_class_map(write_map(tmp_path, **changes))


def make_map(*classes: LabelClass, **changes: object) -> ClassMap:
    values = {"void": None, "ignored_label_ids": [], "unknown_label_ids": "error", **changes}
    return ClassMap(classes=list(classes), **values)


def test_table_of_16_bits_continues_the_one_of_8_bits():
    class_map = make_map(
        LabelClass(name="a", color=[1, 2, 3], label_ids=[4, 1000]), ignored_label_ids=[65535]
    )
    table, known = class_map.table(65536)
    assert np.flatnonzero(known).tolist() == [4, 1000, 65535]
    assert table[[4, 1000, 65535]].tolist() == [0, 0, IGNORE_INDEX]
    assert [array.tolist() for array in class_map.table()] == [
        array[:256].tolist() for array in (table, known)
    ]


def test_label_ids_to_write_are_the_first_of_each_class():
    a, b = (LabelClass(name=n, color=[0, 0, 0], label_ids=i) for n, i in (("a", [7, 0]), ("b", [])))
    assert make_map(a, b).label_ids().tolist() == [7, 1]  # 1 is the smallest unused one
    assert make_map(a, b).label_ids().dtype == np.uint8
    deep = LabelClass(name="c", color=[0, 0, 0], label_ids=[256])
    assert make_map(a, deep).label_ids().tolist() == [7, 256]
    assert make_map(a, deep).label_ids().dtype == np.uint16


def test_class_ids_are_written_if_no_class_has_label_ids():
    classes = [LabelClass(name=name, color=[0, 0, 0]) for name in "abc"]
    assert make_map(*classes, ignored_label_ids=[0]).label_ids().tolist() == [0, 1, 2]


def test_labels_and_label_ids_have_the_id_of_their_class():
    class_map = make_map(
        LabelClass(name="car", color=[0, 0, 0], labels=["Auto", "car"], label_ids=[3]),
        LabelClass(name="road", color=[0, 0, 0]),
        ignored_labels=["crowd"],
        ignored_label_ids=[9],
    )
    assert class_map.label_class_ids() == {
        **{"car": 0, "Auto": 0, 3: 0, "road": 1},
        **{"crowd": IGNORE_INDEX, 9: IGNORE_INDEX},
    }


def test_mask_colors_replace_the_color_of_a_class():
    class_map = make_map(
        LabelClass(name="a", color=[1, 2, 3]),
        LabelClass(name="b", color=[1, 2, 3], mask_colors=[[7, 7, 7], [8, 8, 8]]),
        ignored_colors=[[255, 255, 255]],
    )
    assert class_map.color_class_ids() == {
        **{(1, 2, 3): 0, (7, 7, 7): 1, (8, 8, 8): 1},
        (255, 255, 255): IGNORE_INDEX,
    }


def test_color_of_two_classes_is_an_error_for_painted_masks_only():
    class_map = make_map(*(LabelClass(name=name, color=[1, 2, 3]) for name in "ab"))
    with pytest.raises(InputError, match=r"\[1, 2, 3\] is the color of both a and b; give"):
        class_map.color_class_ids()


@pytest.mark.parametrize(
    ("choice", "class_id"), [("error", None), ("ignore", IGNORE_INDEX), ("b", 1)]
)
def test_ids_of_unknown_values_and_of_the_background(choice: str, class_id: int | None):
    classes = [LabelClass(name=name, color=[0, 0, 0]) for name in "ab"]
    assert make_map(*classes, unknown_label_ids=choice).unknown_class_id == class_id
    background = None if choice == "error" else choice
    assert make_map(*classes, background=background).background_class_id == class_id


def test_map_is_unchanged_by_a_round_trip_through_json():
    class_map = read_class_map(CLASSES / "kitti12.yaml")
    assert validate(ClassMap, class_map.model_dump()) == class_map


def test_map_is_found_by_name_or_by_path(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    write_map(tmp_path)
    assert find_class_map("kitti11", CLASSES) == CLASSES / "kitti11.yaml"
    assert find_class_map("own.yaml", CLASSES) == tmp_path / "own.yaml"
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)  # as in dvc exp run --temp
    (copy / "own.yaml").write_text((tmp_path / "own.yaml").read_text())
    assert find_class_map("own.yaml", CLASSES) == Path("own.yaml")
    with pytest.raises(
        InputError, match=re.escape("use camvid11, cityscapes19, kitti11, kitti12, or")
    ):
        find_class_map("kitti13", CLASSES)


@pytest.mark.parametrize("name", ["own", "classes/own.yaml"])
def test_class_map_missing_in_the_copy_is_named_with_git_add(tmp_path, monkeypatch, name):
    """DVC runs an experiment in a copy of the repository, which has no untracked files."""
    (tmp_path / "classes").mkdir()
    write_map(tmp_path / "classes")
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    message = (
        "classes/own.yaml is not in this copy .* only files that Git tracks; run: git add classes"
    )
    with pytest.raises(InputError, match=message):
        find_class_map(name, Path("classes"))
