from collections import Counter

import pytest

from src.data.split import split_dataset, validation_ids
from src.files import InputError

# As many pictures of each size as KITTI has days of recording, about.
SIZES = {f"{i:06d}_10": (370 + i // 70, 1242 - i // 90) for i in range(200)}
DEFAULT = {"val_percent": 0.1, "val_ids": None, "seed": 0, "fold": 0}


def split(sizes=SIZES, test_ids=("b", "a"), **changes):
    return split_dataset(sizes, list(test_ids), **{**DEFAULT, **changes})


@pytest.mark.parametrize("count", [2, 3, 9, 64, 200])
@pytest.mark.parametrize("val_percent", [0.001, 0.1, 0.34, 0.9])
def test_disjoint_whole_and_never_empty(count, val_percent):
    sizes = dict(list(SIZES.items())[:count])
    result = split(sizes, val_percent=val_percent)
    assert sorted(result["train"] + result["val"]) == sorted(sizes)
    assert len(result["val"]) == min(max(1, round(count * val_percent)), count - 1)
    assert result["test"] == ["a", "b"]


def test_a_function_of_ids_sizes_seed_and_fold_only():
    shuffled = dict(reversed(list(SIZES.items())))
    assert split(shuffled) == split()
    assert split(seed=1)["val"] != split()["val"]
    assert split(fold=1)["val"] != split()["val"]


@pytest.mark.parametrize("val_percent", [0.1, 0.15, 0.3, 0.35, 0.6])
@pytest.mark.parametrize("count", [57, 64, 200])
def test_each_size_is_there_in_its_proportion(val_percent, count):
    sizes = dict(list(SIZES.items())[:count])
    strata = Counter(sizes.values())
    num_val = round(count * val_percent)
    for fold in range(count // num_val):
        val = Counter(sizes[n] for n in split(sizes, val_percent=val_percent, fold=fold)["val"])
        for size, total in strata.items():
            # evenly spaced positions: a run of them holds its share, give or take the two ends
            assert abs(val[size] - total * num_val / count) < 2, (fold, size)


def test_folds_never_share_a_picture():
    for val_percent in (0.03, 0.07, 0.15, 0.3, 0.45):
        folds = 200 // round(200 * val_percent)
        seen = [n for fold in range(folds) for n in validation_ids(SIZES, val_percent, 0, fold)]
        assert len(seen) == len(set(seen)) == folds * round(200 * val_percent)


def test_folds_are_disjoint_and_together_everything():
    seen = [name for fold in range(10) for name in validation_ids(SIZES, 0.1, 0, fold)]
    assert sorted(seen) == sorted(SIZES)
    with pytest.raises(InputError, match=r"split.fold: 10 is too high; .* 0 to 9"):
        split(fold=10)


def test_named_ids_are_the_validation_set():
    result = split(val_ids=["000011_10", "000001_10"])
    assert result["val"] == ["000001_10", "000011_10"]
    assert len(result["train"]) == 198
    assert result["seed"] is None


@pytest.mark.parametrize(
    ("val_ids", "message"),
    [
        (["x"], "no picture 'x' with a mask"),
        (["000001_10", "000001_10"], "'000001_10' stands there twice"),
        (list(SIZES), "names every picture"),
    ],
)
def test_wrong_names_are_refused(val_ids, message):
    with pytest.raises(InputError, match=f"split.val_ids: .*{message}"):
        split(val_ids=val_ids)


def test_one_picture_cannot_be_split():
    with pytest.raises(InputError, match="split: 1 picture"):
        split({"a": (2, 2)})
