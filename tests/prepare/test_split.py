from collections import Counter

import pytest

from roadseg.prepare.split import fold_sizes, split_dataset, validation_ids
from roadseg.system.errors import InputError

# About as many image sizes as KITTI has days of recording.
SIZES = {f"{i:06d}_10": (370 + i // 70, 1242 - i // 90) for i in range(200)}
DEFAULT = {
    "val_fraction": 0.1,
    "val_ids": None,
    "group_by": None,
    "stratify_by": "size",
    "seed": 0,
    "fold": 0,
}
# The sample: 64 images in four sizes.
SAMPLE_SIZES = {
    f"{i:06d}_10": ((96, 320), (92, 306), (95, 317), (97, 319))[i // 16] for i in range(64)
}


def split(sizes=SIZES, test_ids=("b", "a"), **changes):
    return split_dataset(sizes, list(test_ids), **{**DEFAULT, **changes})


def test_split_of_the_sample_never_changes():
    """The results in git depend on it."""
    split_of = split(SAMPLE_SIZES)
    assert split_of.val == [f"{i:06d}_10" for i in (5, 11, 20, 21, 41, 50)]
    assert (split_of.stratified_by, split_of.grouped_by) == ("picture size", None)
    assert (split_of.seed, split_of.fold) == (0, 0)


@pytest.mark.parametrize("count", [2, 3, 9, 64, 200])
@pytest.mark.parametrize("val_fraction", [0.001, 0.1, 0.34, 0.9])
def test_split_is_disjoint_complete_and_never_empty(count, val_fraction):
    sizes = dict(list(SIZES.items())[:count])
    result = split(sizes, val_fraction=val_fraction)
    assert sorted(result.train + result.val) == sorted(sizes)
    assert len(result.val) == min(max(1, round(count * val_fraction)), count - 1)
    assert result.test == ["a", "b"]


def test_split_depends_only_on_ids_sizes_seed_and_fold():
    shuffled = dict(reversed(list(SIZES.items())))
    assert split(shuffled) == split()
    assert split(seed=1).val != split().val
    assert split(fold=1).val != split().val


@pytest.mark.parametrize("val_fraction", [0.1, 0.15, 0.3, 0.35, 0.6])
@pytest.mark.parametrize("count", [57, 64, 200])
def test_each_fold_contains_each_size_in_its_proportion(val_fraction, count):
    sizes = dict(list(SIZES.items())[:count])
    strata = Counter(sizes.values())
    folds = fold_sizes(count, val_fraction, count)
    for fold, num_val in enumerate(folds):
        # the first fold is evenly spaced over all images, the others over the rest
        expected = num_val / count if fold == 0 else 1 / (len(folds) - 1)
        val = Counter(sizes[n] for n in split(sizes, val_fraction=val_fraction, fold=fold).val)
        for size, total in strata.items():
            # evenly spaced members of a run: its proportion up to less than one
            assert abs(val[size] - total * expected) < 1, (fold, size)
        if fold == 0:
            strata -= val


def test_without_strata_sizes_do_not_matter():
    alike = dict.fromkeys(SIZES, (370, 1242))
    options = {"stratify_by": "none", "val_fraction": 0.15}
    assert split(**options).val == split(alike, **options).val
    assert split(**options).val != split(val_fraction=0.15).val
    assert split(**options).stratified_by is None
    assert split(seed=1, **options).val != split(**options).val


@pytest.mark.parametrize("stratify_by", ["size", "none"])
@pytest.mark.parametrize("val_fraction", [0.001, 0.03, 0.07, 0.1, 0.15, 0.3, 0.45, 0.6, 0.9])
@pytest.mark.parametrize("count", [2, 3, 9, 64, 200])
def test_folds_are_disjoint_and_complete(count, val_fraction, stratify_by):
    sizes = dict(list(SIZES.items())[:count])
    num_folds = len(fold_sizes(count, val_fraction, count))
    assert num_folds == max(2, round(1 / val_fraction)) or num_folds <= count < 1 / val_fraction
    options = {"stratify_by": stratify_by, "seed": 3}
    seen = [validation_ids(sizes, val_fraction, fold=f, **options) for f in range(num_folds)]
    assert sorted(name for fold in seen for name in fold) == sorted(sizes)
    assert [len(fold) for fold in seen] == fold_sizes(count, val_fraction, count)
    others = [len(fold) for fold in seen[1:]]
    assert max(others) - min(others) <= 1
    with pytest.raises(InputError, match=rf"split.fold: {num_folds} is too high; .* 0 to "):
        validation_ids(sizes, val_fraction, fold=num_folds, **options)


def test_fold_sizes_computed_by_hand():
    assert fold_sizes(64, 0.1, 64) == [6, 7, 7, 7, 7, 6, 6, 6, 6, 6]
    assert fold_sizes(200, 0.1, 200) == [20] * 10
    assert fold_sizes(10, 0.3, 10) == [3, 4, 3]
    assert fold_sizes(10, 0.1, 4) == [1, 3, 3, 3]  # at most 4 folds, for example for 4 groups


def test_listed_ids_are_the_validation_set():
    result = split(val_ids=["000011_10", "000001_10"])
    assert result.val == ["000001_10", "000011_10"]
    assert len(result.train) == 198
    assert result.seed is None


@pytest.mark.parametrize(
    ("val_ids", "message"),
    [
        (["x"], "no image 'x' with a mask"),
        (["000001_10", "000001_10"], "'000001_10' is listed twice"),
        (list(SIZES), "selects every image"),
    ],
)
def test_invalid_val_ids_are_refused(val_ids, message):
    with pytest.raises(InputError, match=f"split.val_ids: .*{message}"):
        split(val_ids=val_ids)


def test_one_image_cannot_be_split():
    with pytest.raises(InputError, match="split: 1 image"):
        split({"a": (2, 2)})


def test_expression_selects_the_validation_set():
    cities = {"aachen": 3, "frankfurt": 2, "lindau": 1}
    sizes = {f"{city}_{i}": (8, 16) for city, count in cities.items() for i in range(count)}
    result = split(sizes, val_ids="^(frankfurt|lindau)_")
    assert result.val == ["frankfurt_0", "frankfurt_1", "lindau_0"]
    assert result.train == ["aachen_0", "aachen_1", "aachen_2"]
    assert (result.seed, result.stratified_by) == (None, None)
    with pytest.raises(InputError, match=r"'\^munster_' matches no image id; an id is 'aach"):
        split(sizes, val_ids="^munster_")
    with pytest.raises(InputError, match="selects every image"):
        split(sizes, val_ids="_")
