"""Choose the validation images: a pure function of ids, sizes, seed and fold."""

from collections.abc import Mapping

import numpy as np

from roadseg.data.split_file import Split
from roadseg.prepare.groups import assign_groups, deal_groups
from roadseg.prepare.id_list import VAL_IDS, select_ids
from roadseg.system.errors import InputError

_SIZE = "picture size"


def draw_order(sizes: Mapping[str, tuple[int, int]], seed: int, stratify_by: str) -> list[str]:
    """Shuffle the ids of `sizes` within each stratum, and concatenate the strata.

    In KITTI, images of one size were recorded on the same day and resemble each other. Evenly
    spaced members of this order contain each stratum in its proportion.

    Args:
        stratify_by: `size`, or `none` for a single stratum.
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
    """Return the number of images in each fold; the sum is `count`.

    The first fold has `val_fraction` of the images, rounded, but at least 1 and not all of them.
    The other folds divide the rest evenly; earlier ones are larger by at most 1. There are
    round(1 / val_fraction) folds, at least 2 and at most `most` or the number of images.
    """
    num_val = min(max(1, round(count * val_fraction)), count - 1)
    rest = count - num_val
    others = min(max(2, round(1 / val_fraction)), most, rest + 1) - 1
    return [num_val, *(rest // others + (fold < rest % others) for fold in range(others))]


def draw_folds(order: list[str], targets: list[int]) -> list[list[str]]:
    """Divide `order` into folds of the sizes `targets`, each evenly spaced over `order`."""
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
    """Return the sorted validation ids of cross-validation fold number `fold`.

    The folds of one seed are disjoint, and together they contain each image once.

    Args:
        sizes: original (height, width) of each image, by id.
        val_fraction: fraction of the images, 0..1; see `fold_sizes`.
        group_by: see `assign_groups`. No group is divided, so a fold has approximately its number
            of images, and nothing is stratified. None: no groups.
        stratify_by: `size` keeps the proportion of each image size in each fold; or `none`.

    Raises:
        InputError: fewer than 2 images or groups, an id without a group, or no such fold.
    """
    count = len(sizes)
    if count < 2:
        raise InputError(f"split: {count} image with a mask; training and validation need two")
    groups = None if group_by is None else assign_groups(sizes, group_by)
    most = count if groups is None else len(set(groups.values()))
    targets = fold_sizes(count, val_fraction, most)
    if fold >= len(targets):
        in_groups = "" if groups is None else f" in {most} groups"
        raise InputError(
            f"split.fold: {fold} is too high; {count} images{in_groups} give {len(targets)} "
            f"disjoint validation sets, 0 to {len(targets) - 1}"
        )
    if groups is None:
        return sorted(draw_folds(draw_order(sizes, seed, stratify_by), targets)[fold])
    return sorted(deal_groups(groups, targets, seed)[fold])


def select_validation_ids(
    sizes: Mapping[str, tuple[int, int]], val_ids: list[str] | str, group_by: str | None = None
) -> list[str]:
    """Return the sorted validation ids that params.yaml lists.

    Args:
        val_ids: ids, or a regular expression that is searched for in each id.

    Raises:
        InputError: an id is unknown or repeated, none or all are selected, or a group is divided.
    """
    val_ids = select_ids(VAL_IDS, val_ids, sizes)
    if len(val_ids) == len(sizes):
        raise InputError("split.val_ids: selects every image; none is left for training")
    if group_by is not None:
        groups = assign_groups(sizes, group_by)
        held_out = {groups[name] for name in val_ids}
        missing = sorted(n for n in sizes.keys() - set(val_ids) if groups[n] in held_out)
        if missing:
            raise InputError(
                f"split.val_ids: {missing[0]!r} is also in group {groups[missing[0]]!r}; list all "
                "images of a group, or set split.group_by to null"
            )
    return val_ids


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
    """Choose the validation images; the other images in `sizes` are the training set.

    Arguments as in `validation_ids`; `val_ids` overrides the random choice. Training and validation
    ids are disjoint and not empty, and together they are all of `sizes`.
    """
    is_listed = val_ids is not None
    val = (
        select_validation_ids(sizes, val_ids, group_by)
        if val_ids is not None
        else validation_ids(sizes, val_fraction, seed, fold, group_by, stratify_by)
    )
    held_out = set(val)
    stratified = not is_listed and group_by is None and stratify_by == "size"
    return Split(
        train=sorted(name for name in sizes if name not in held_out),
        val=val,
        test=sorted(test_ids),
        grouped_by=_SIZE if group_by == "size" else group_by,
        stratified_by=_SIZE if stratified else None,
        seed=None if is_listed else seed,
        fold=None if is_listed else fold,
    )
