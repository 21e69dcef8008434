"""Groups of images, such as the frames of one drive, and folds that do not divide groups."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from roadseg.system.errors import InputError


def assign_groups(sizes: Mapping[str, tuple[int, int]], group_by: str) -> dict[str, str]:
    """Return the name of each image's group, by image id.

    Args:
        sizes: original (height, width) of each image, by id.
        group_by: `size`, or a regular expression that is searched for in the id; the text that its
            capturing group matches is the name of the image's group.

    Raises:
        InputError: the expression does not match an id, or all images are in one group.
    """
    if group_by == "size":
        groups = {name: f"{height}x{width}" for name, (height, width) in sizes.items()}
    else:
        found = {name: re.search(group_by, name) for name in sizes}
        groups = {name: match[1] for name, match in found.items() if match and match[1]}
        unmatched = sorted(sizes.keys() - groups.keys())
        if unmatched:
            raise InputError(
                f"split.group_by: {group_by!r} finds no group in the image id {unmatched[0]!r} "
                f"({len(unmatched)} of {len(sizes)} ids); change it, or use null for no groups"
            )
    if len(set(groups.values())) == 1:
        (only,) = set(groups.values())
        raise InputError(
            f"split.group_by: {group_by!r} puts all {len(groups)} images into one group, "
            f"{only!r}; training and validation need two groups"
        )
    return groups


def deal_groups(groups: Mapping[str, str], targets: Sequence[int], seed: int) -> list[list[str]]:
    """Distribute the ids of `groups` over folds; no group is divided and no fold is empty.

    Greedy: groups are taken from the largest to the smallest, and each goes to the fold that lacks
    most images. The last groups go to empty folds, if there are any. `seed` only shuffles groups of
    equal size.

    Args:
        groups: the group of each image, by id.
        targets: desired number of images of each fold; their sum is the number of ids, and there
            are at most as many folds as groups.
    """
    members = defaultdict(list)
    for name in sorted(groups):
        members[groups[name]].append(name)
    names = sorted(members)
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    largest_first = sorted(shuffled, key=lambda name: -len(members[name]))  # stable
    folds: list[list[str]] = [[] for _ in targets]
    for done, group in enumerate(largest_first):
        empty = [fold for fold, ids in enumerate(folds) if not ids]
        allowed = empty if len(names) - done <= len(empty) else range(len(folds))
        chosen = max(allowed, key=lambda fold: (targets[fold] - len(folds[fold]), -fold))
        folds[chosen] += members[group]
    return folds
