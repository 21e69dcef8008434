"""Which pictures train and which validate: a pure function of ids, sizes, seed and fold."""

from collections.abc import Mapping

import numpy as np

from src.files import InputError


def stratified_order(sizes: Mapping[str, tuple[int, int]], seed: int) -> list[str]:
    """The ids of `sizes`, shuffled within each picture size, one size after the other.

    KITTI's picture size tells the day of the recording, so pictures of one size resemble each
    other. Evenly spaced members of this order hold each size in its proportion.
    """
    order: list[str] = []
    for size in sorted(set(sizes.values())):
        ids = sorted(name for name, own in sizes.items() if own == size)
        rng = np.random.default_rng([seed, *size])
        order += [ids[i] for i in rng.permutation(len(ids))]
    return order


def validation_ids(
    sizes: Mapping[str, tuple[int, int]], val_percent: float, seed: int, fold: int
) -> list[str]:
    """The validation set number `fold`, stratified by size.

    Args:
        sizes: (height, width) of each picture as it was recorded, by its id.
        val_percent: share of the pictures, 0 to 1; the number is rounded, at least 1 and at most
            all but one.
        fold: 0, 1, ...; folds of one seed are disjoint.

    Raises:
        InputError: fewer than 2 pictures, or no such fold.
    """
    count = len(sizes)
    if count < 2:
        raise InputError(f"split: {count} picture with a mask; training and validation need 2")
    num_val = min(max(1, round(count * val_percent)), count - 1)
    num_folds = count // num_val
    if fold >= num_folds:
        raise InputError(
            f"split.fold: {fold} is too high; {count} pictures make {num_folds} disjoint "
            f"validation sets of {num_val}, 0 to {num_folds - 1}"
        )
    order = stratified_order(sizes, seed)
    slots = num_val * num_folds  # evenly spaced over the order; each fold takes its every n-th
    return sorted(order[slot * count // slots] for slot in range(fold, slots, num_folds))


def named_validation_ids(sizes: Mapping[str, tuple[int, int]], val_ids: list[str]) -> list[str]:
    """`val_ids`, checked. Raises InputError: unknown, twice, or nothing left to train on."""
    for name in val_ids:
        if name not in sizes:
            raise InputError(f"split.val_ids: there is no picture {name!r} with a mask")
        if val_ids.count(name) > 1:
            raise InputError(f"split.val_ids: {name!r} stands there twice")
    if len(val_ids) == len(sizes):
        raise InputError("split.val_ids: names every picture; none is left for training")
    return sorted(val_ids)


def split_dataset(
    sizes: Mapping[str, tuple[int, int]],
    test_ids: list[str],
    *,
    val_percent: float,
    val_ids: list[str] | None,
    seed: int,
    fold: int,
) -> dict[str, object]:
    """The split as data/split.json holds it: train, val and test ids, and how they were chosen.

    `val_ids` overrules the drawing. Train and val are disjoint, together all of `sizes`, and
    neither is empty.
    """
    named = val_ids is not None
    val = (
        named_validation_ids(sizes, val_ids)
        if val_ids is not None
        else validation_ids(sizes, val_percent, seed, fold)
    )
    held_out = set(val)
    return {
        "train": sorted(name for name in sizes if name not in held_out),
        "val": val,
        "test": sorted(test_ids),
        "stratified_by": None if named else "picture size",
        "seed": None if named else seed,
        "fold": None if named else fold,
    }
