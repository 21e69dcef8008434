"""Pictures that belong together, such as those of one drive, and dealing them to folds whole."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from roadseg.system.errors import InputError


def assign_groups(sizes: Mapping[str, tuple[int, int]], group_by: str) -> dict[str, str]:
    """The name of each picture's group, by its id.

    Args:
        sizes: (height, width) of each picture as it was recorded, by its id.
        group_by: `size`, or a regular expression with one group that is searched for in the id;
            what the group matches names the picture's group.

    Raises:
        InputError: an id in which the expression finds no group, or one group of all pictures.
    """
    if group_by == "size":
        groups = {name: f"{height}x{width}" for name, (height, width) in sizes.items()}
    else:
        found = {name: re.search(group_by, name) for name in sizes}
        groups = {name: match[1] for name, match in found.items() if match and match[1]}
        strangers = sorted(sizes.keys() - groups.keys())
        if strangers:
            raise InputError(
                f"split.group_by: {group_by!r} finds no group in the picture id {strangers[0]!r} "
                f"({len(strangers)} of {len(sizes)} ids); change it, or use null for no groups"
            )
    if len(set(groups.values())) == 1:
        (only,) = set(groups.values())
        raise InputError(
            f"split.group_by: {group_by!r} puts all {len(groups)} pictures into one group, "
            f"{only!r}; training and validation need 2"
        )
    return groups


def deal_groups(groups: Mapping[str, str], targets: Sequence[int], seed: int) -> list[list[str]]:
    """The ids of `groups` in folds, each group whole in one of them and no fold empty.

    The largest group comes first, groups of one size in an order that `seed` draws; each goes to
    the fold with the most room left, or, when only as many groups as empty folds are left, to
    one of these. So seeds differ only where groups are equally large.

    Args:
        groups: the group of each picture, by its id.
        targets: how many pictures each fold is to have, in sum all; no more folds than groups.
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
        open_to_it = empty if len(names) - done <= len(empty) else range(len(folds))
        roomiest = max(open_to_it, key=lambda fold: (targets[fold] - len(folds[fold]), -fold))
        folds[roomiest] += members[group]
    return folds
