from collections import Counter

import pytest

from roadseg.prepare.groups import assign_groups, deal_groups
from roadseg.prepare.split import fold_sizes, split_dataset, validation_ids
from roadseg.system.errors import InputError

DRIVE = r"^drive([0-9]+)_"
# 100 images of 14 drives of 20 to 1 images.
LENGTHS = [20, 15, 12, 10, 9, 8, 7, 6, 4, 3, 3, 1, 1, 1]
NAMES = [f"drive{d:02d}_{i:03d}" for d, length in enumerate(LENGTHS) for i in range(length)]
SIZES = {name: (370, 1242 - i // 50) for i, name in enumerate(NAMES)}
EVEN = {f"drive{d:02d}_{i}": (370, 1242) for d in range(12) for i in range(5)}


def folds(sizes, val_fraction, seed, group_by):
    """Return all validation sets."""
    num_groups = len(set(assign_groups(sizes, group_by).values()))
    count = len(fold_sizes(len(sizes), val_fraction, num_groups))
    return [validation_ids(sizes, val_fraction, seed, fold, group_by) for fold in range(count)]


def test_groups_by_expression_and_by_size():
    assert assign_groups({"a_1": (2, 3), "b_2": (2, 4)}, "^([a-z])") == {"a_1": "a", "b_2": "b"}
    assert assign_groups({"a_1": (2, 3), "b_2": (2, 4)}, "size") == {"a_1": "2x3", "b_2": "2x4"}


def test_distribution_of_groups_computed_by_hand():
    """Room for 3, 3 and 4: b goes to the last, c to the first, a and d to the second."""
    lengths = {"a": 2, "b": 4, "c": 3, "d": 1}
    groups = {f"{group}{i}": group for group, n in lengths.items() for i in range(n)}
    dealt = deal_groups(groups, [3, 3, 4], seed=0)
    assert [sorted({groups[name] for name in fold}) for fold in dealt] == [["c"], ["a", "d"], ["b"]]


@pytest.mark.parametrize("group_by", [DRIVE, "size"])
@pytest.mark.parametrize("val_fraction", [0.03, 0.1, 0.25, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_each_group_and_each_image_is_in_one_fold(group_by, val_fraction, seed):
    found = folds(SIZES, val_fraction, seed, group_by)
    groups = assign_groups(SIZES, group_by)
    assert sorted(name for fold in found for name in fold) == sorted(SIZES)
    homes = Counter(group for fold in found for group in {groups[name] for name in fold})
    assert set(homes.values()) == {1}
    assert len(found) == min(max(2, round(1 / val_fraction)), len(homes))
    assert all(found)


def test_no_fold_is_empty_if_one_group_is_very_large():
    groups = {**{f"long{i}": "long" for i in range(50)}, "x": "x", "y": "y", "z": "z"}
    assert sorted(len(fold) for fold in deal_groups(groups, [5, 16, 16, 16], seed=0)) == [
        1,
        1,
        1,
        50,
    ]


def test_folds_have_approximately_the_requested_size():
    assert [len(fold) for fold in folds(SIZES, 0.25, 0, DRIVE)] == [25, 25, 25, 25]
    # the longest drives are larger than a tenth; short drives fill the other folds
    tenths = [len(fold) for fold in folds(SIZES, 0.1, 0, DRIVE)]
    assert tenths == [20, 15, 12, 10, 9, 8, 7, 7, 6, 6]


def test_folds_depend_only_on_ids_and_seed():
    shuffled = dict(reversed(list(EVEN.items())))
    first = folds(EVEN, 0.25, 0, DRIVE)
    assert folds(shuffled, 0.25, 0, DRIVE) == first
    assert folds(EVEN, 0.25, 1, DRIVE) != first
    assert [len(fold) for fold in first] == [15] * 4


def test_split_records_its_grouping():
    options = {"val_fraction": 0.25, "stratify_by": "size", "seed": 0, "fold": 0}
    split = split_dataset(SIZES, [], val_ids=None, group_by=DRIVE, **options)
    assert (split.grouped_by, split.stratified_by) == (DRIVE, None)
    assert sorted(split.train + split.val) == sorted(SIZES)
    split = split_dataset(SIZES, [], val_ids=None, group_by="size", **options)
    assert split.grouped_by == "picture size"
    drive = [name for name in NAMES if name.startswith("drive03_")]
    split = split_dataset(SIZES, [], val_ids=drive, group_by=DRIVE, **options)
    assert split.val == drive
    assert split.grouped_by == DRIVE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_by": "^drive0([0-9])_"}, r"no group in the image id 'drive10_000' \(6 of 100"),
        ({"group_by": "^(x?)drive"}, r"no group in the image id 'drive00_000' \(100 of 100"),
        ({"group_by": "^(drive)"}, "puts all 100 images into one group, 'drive'"),
        ({"group_by": DRIVE, "fold": 10}, "100 images in 14 groups give 10 disjoint .* 0 to 9"),
        ({"group_by": "size", "fold": 2}, "100 images in 2 groups give 2 disjoint .* 0 to 1"),
        ({"val_ids": ["drive09_000"]}, "'drive09_001' is also in group '09'; list all"),
    ],
)
def test_invalid_grouping_is_one_line(changes, message):
    default = {"val_fraction": 0.1, "val_ids": None, "group_by": DRIVE, "stratify_by": "size"}
    with pytest.raises(InputError, match=message) as caught:
        split_dataset(SIZES, [], **{**default, "seed": 0, "fold": 0, **changes})
    assert str(caught.value).startswith("split.")
    assert "\n" not in str(caught.value)
