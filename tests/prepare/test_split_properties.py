"""Properties of split for random ids, sizes and parameters."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roadseg.prepare.groups import assign_groups, deal_groups
from roadseg.prepare.split import fold_sizes, split_dataset, validation_ids
from roadseg.system.errors import InputError
from tests.hypothesis_profiles import LAW

Sizes = dict[str, tuple[int, int]]

IDS = st.builds("{}_{}".format, st.sampled_from("abcd"), st.integers(0, 999))
SIZES = st.dictionaries(
    IDS, st.sampled_from([(370, 1224), (375, 1242), (376, 1241)]), min_size=2, max_size=40
)
FRACTIONS = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**63 - 1)
DRIVES = "^([a-d])_"


def split(sizes: Mapping[str, tuple[int, int]], **changes: object) -> dict:
    options = {
        **{"val_fraction": 0.2, "val_ids": None, "group_by": None, "stratify_by": "size"},
        **{"seed": 0, "fold": 0, "test_ids": []},
        **changes,
    }
    return split_dataset(sizes, options.pop("test_ids"), **options)


@LAW
@given(SIZES, FRACTIONS, SEEDS, st.sampled_from(["size", "none"]), st.lists(IDS, unique=True))
def test_split_is_disjoint_complete_and_of_the_requested_size(
    sizes: Sizes, fraction: float, seed: int, stratify_by: str, test_ids: list[str]
):
    found = split(
        sizes, val_fraction=fraction, seed=seed, stratify_by=stratify_by, test_ids=test_ids
    )
    assert set(found.train).isdisjoint(found.val)
    assert sorted(found.train + found.val) == sorted(sizes)
    assert found.train
    assert len(found.val) == min(max(1, round(len(sizes) * fraction)), len(sizes) - 1)
    assert found.test == sorted(test_ids)
    assert all(ids == sorted(ids) for ids in (found.train, found.val))


@LAW
@given(SIZES, FRACTIONS, SEEDS, st.sampled_from([None, "size", DRIVES]), st.data())
def test_order_of_the_images_is_irrelevant(
    sizes: Sizes, fraction: float, seed: int, group_by: str | None, data: st.DataObject
):
    options = {"val_fraction": fraction, "seed": seed, "group_by": group_by}
    assume(group_by is None or _num_groups(sizes, group_by) > 1)
    listed = dict(data.draw(st.permutations(list(sizes.items()))))
    assert split(sizes, **options) == split(listed, **options) == split(dict(sizes), **options)


@LAW
@given(SIZES, FRACTIONS, SEEDS, st.sampled_from([None, "size", DRIVES]))
def test_folds_are_disjoint_and_complete(
    sizes: Sizes, fraction: float, seed: int, group_by: str | None
):
    groups = len(sizes) if group_by is None else _num_groups(sizes, group_by)
    assume(groups > 1)
    targets = fold_sizes(len(sizes), fraction, groups)
    assert sum(targets) == len(sizes)
    assert min(targets) >= 1
    folds = [validation_ids(sizes, fraction, seed, fold, group_by) for fold in range(len(targets))]
    assert all(folds)
    assert sorted(name for fold in folds for name in fold) == sorted(sizes)
    with pytest.raises(InputError, match=f"split.fold: {len(targets)} is too high"):
        validation_ids(sizes, fraction, seed, len(targets), group_by)


@LAW
@given(SIZES, FRACTIONS, SEEDS, st.integers(0, 3), st.sampled_from(["size", DRIVES]))
def test_groups_are_never_divided(
    sizes: Sizes, fraction: float, seed: int, fold: int, group_by: str
):
    most = _num_groups(sizes, group_by)
    assume(most > 1)
    assume(fold < len(fold_sizes(len(sizes), fraction, most)))
    found = split(sizes, val_fraction=fraction, seed=seed, fold=fold, group_by=group_by)
    groups = {name: _group(sizes, name, group_by) for name in sizes}
    assert {groups[n] for n in found.train}.isdisjoint(groups[n] for n in found.val)
    assert sorted(found.train + found.val) == sorted(sizes)
    assert found.train
    assert found.val


@LAW
@given(SIZES, SEEDS, st.integers(2, 6))
def test_fold_exceeds_its_target_by_at_most_the_largest_group(sizes: Sizes, seed: int, count: int):
    """Each group goes to the fold that lacks most images, so a full fold gets no further group."""
    groups = {name: name[0] for name in sizes}
    members = [sum(own == group for own in groups.values()) for group in set(groups.values())]
    assume(2 <= len(members) >= count)
    even, rest = divmod(len(sizes), count)
    targets = [even + (fold < rest) for fold in range(count)]
    for fold, target in zip(deal_groups(groups, targets, seed), targets, strict=True):
        assert len(fold) - target <= max(members)


@LAW
@given(SIZES, st.data())
def test_listed_ids_are_the_validation_set(sizes: Sizes, data: st.DataObject):
    ids = sorted(sizes)
    named = data.draw(st.lists(st.sampled_from(ids), unique=True, min_size=1, max_size=len(ids)))
    if len(named) == len(ids):
        with pytest.raises(InputError, match="selects every image"):
            split(sizes, val_ids=named)
        return
    found = split(sizes, val_ids=named)
    assert found.val == sorted(named)
    assert found.train == sorted(set(ids) - set(named))
    assert found.seed is None


def _group(sizes: Sizes, name: str, group_by: str) -> object:
    return sizes[name] if group_by == "size" else re.search(group_by, name)[1]


def _num_groups(sizes: Sizes, group_by: str) -> int:
    found = len({_group(sizes, name, group_by) for name in sizes})
    if found > 1:
        assert len(set(assign_groups(sizes, group_by).values())) == found
    return found
