import re
from pathlib import Path

import numpy as np
import pytest

from roadseg.config.class_map import IGNORE_INDEX, ClassMap, find_class_map, read_class_map
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
        ({"colour": "1"}, "colour: unknown key"),
    ],
)
def test_error_of_an_invalid_map_has_file_and_key(tmp_path, changes, message):
    with pytest.raises(InputError, match=f"own.yaml: {message}"):
        read_class_map(write_map(tmp_path, **changes))


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
    with pytest.raises(InputError, match=re.escape("use cityscapes19, kitti11, kitti12, or")):
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
