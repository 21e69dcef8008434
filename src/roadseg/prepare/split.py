"""Which pictures train and which validate: a pure function of ids, sizes, seed and fold."""

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

from roadseg.data.split_file import Split
from roadseg.prepare.groups import assign_groups, deal_groups
from roadseg.system.errors import InputError

_SIZE = "picture size"


def draw_order(sizes: Mapping[str, tuple[int, int]], seed: int, stratify_by: str) -> list[str]:
    """The ids of `sizes`, shuffled within each stratum, one stratum after the other.

    KITTI's picture size tells the day of the recording, so pictures of one size resemble each
    other. Evenly spaced members of this order hold each stratum in its proportion.

    Args:
        stratify_by: `size`, or `none` for one stratum of all.
    """
    strata: dict[tuple[int, ...], list[str]] = {}
    for name in sorted(sizes):
        strata.setdefault(sizes[name] if stratify_by == "size" else (), []).append(name)
    order: list[str] = []
    for stratum, ids in sorted(strata.items()):
        rng = np.random.default_rng([seed, *stratum])
        order += [ids[i] for i in rng.permutation(len(ids))]
    return order


def fold_sizes(count: int, val_fraction: float, most: int) -> list[int]:
    """How many of `count` pictures each fold is to hold, in sum all of them.

    The first holds `val_fraction` of them, rounded, at least 1 and at most all but one; the others
    share the rest evenly, the earlier ones the larger. There are round(1 / val_fraction) folds, at
    least 2, and no more than `most` or than there are pictures.
    """
    num_val = min(max(1, round(count * val_fraction)), count - 1)
    rest = count - num_val
    others = min(max(2, round(1 / val_fraction)), most, rest + 1) - 1
    return [num_val, *(rest // others + (fold < rest % others) for fold in range(others))]


def draw_folds(order: list[str], targets: list[int]) -> list[list[str]]:
    """The ids of `order` in folds of just those sizes, each evenly spaced over the order."""
    count, num_val = len(order), targets[0]
    first = [order[i * count // num_val] for i in range(num_val)]
    taken = set(first)
    rest = [name for name in order if name not in taken]
    others = len(targets) - 1
    return [first, *(rest[fold::others] for fold in range(others))]


def validation_ids(
    sizes: Mapping[str, tuple[int, int]],
    val_fraction: float,
    seed: int,
    fold: int,
    group_by: str | None = None,
    stratify_by: str = "size",
) -> list[str]:
    """The validation set number `fold`, sorted.

    The folds of one seed are disjoint and together hold each picture once: cross-validation.

    Args:
        sizes: (height, width) of each picture as it was recorded, by its id.
        val_fraction: share of the pictures, 0 to 1, as `fold_sizes` says.
        group_by: as `assign_groups` says; then no group stands on both sides, a fold holds as near
            to its share as whole groups come, and nothing is stratified. None: no groups.
        stratify_by: `size`: each fold holds each picture size in its proportion; or `none`.

    Raises:
        InputError: fewer than 2 pictures or groups, an id without a group, or no such fold.
    """
    count = len(sizes)
    if count < 2:
        raise InputError(f"split: {count} picture with a mask; training and validation need 2")
    groups = None if group_by is None else assign_groups(sizes, group_by)
    most = count if groups is None else len(set(groups.values()))
    targets = fold_sizes(count, val_fraction, most)
    if fold >= len(targets):
        of = "" if groups is None else f" in {most} groups"
        raise InputError(
            f"split.fold: {fold} is too high; {count} pictures{of} make {len(targets)} disjoint "
            f"validation sets, 0 to {len(targets) - 1}"
        )
    if groups is None:
        return sorted(draw_folds(draw_order(sizes, seed, stratify_by), targets)[fold])
    return sorted(deal_groups(groups, targets, seed)[fold])


def select_validation_ids(
    sizes: Mapping[str, tuple[int, int]], val_ids: list[str] | str, group_by: str | None = None
) -> list[str]:
    """`val_ids`, checked and sorted.

    Args:
        val_ids: ids, or a regular expression that is searched for in each.

    Raises:
        InputError: unknown, twice, none, nothing left to train on, or only a part of a group.
    """
    if isinstance(val_ids, str):
        expression = val_ids
        val_ids = [name for name in sizes if re.search(expression, name)]
        if not val_ids:
            raise InputError(
                f"split.val_ids: {expression!r} is found in no picture id, such as {min(sizes)!r}"
            )
    counts = Counter(val_ids)
    for name in val_ids:
        if name not in sizes:
            raise InputError(f"split.val_ids: there is no picture {name!r} with a mask")
        if counts[name] > 1:
            raise InputError(f"split.val_ids: {name!r} stands there twice")
    if len(val_ids) == len(sizes):
        raise InputError("split.val_ids: names every picture; none is left for training")
    if group_by is not None:
        groups = assign_groups(sizes, group_by)
        held_out = {groups[name] for name in val_ids}
        torn = sorted(n for n in sizes.keys() - set(val_ids) if groups[n] in held_out)
        if torn:
            raise InputError(
                f"split.val_ids: {torn[0]!r} is of the group {groups[torn[0]]!r} too; name all "
                "pictures of a group, or set split.group_by to null"
            )
    return sorted(val_ids)


def split_dataset(
    sizes: Mapping[str, tuple[int, int]],
    test_ids: list[str],
    *,
    val_fraction: float,
    val_ids: list[str] | str | None,
    group_by: str | None,
    stratify_by: str,
    seed: int,
    fold: int,
) -> Split:
    """Choose the validation images; the other images in `sizes` train.

    `val_ids` overrules the drawing. Train and val are disjoint, together all of `sizes`, and
    neither is empty.
    """
    named = val_ids is not None
    val = (
        select_validation_ids(sizes, val_ids, group_by)
        if val_ids is not None
        else validation_ids(sizes, val_fraction, seed, fold, group_by, stratify_by)
    )
    held_out = set(val)
    stratified = not named and group_by is None and stratify_by == "size"
    return Split(
        train=sorted(name for name in sizes if name not in held_out),
        val=val,
        test=sorted(test_ids),
        grouped_by=_SIZE if group_by == "size" else group_by,
        stratified_by=_SIZE if stratified else None,
        seed=None if named else seed,
        fold=None if named else fold,
    )
