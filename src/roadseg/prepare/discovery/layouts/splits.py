"""Find the predefined split of a dataset, or groups of images in their names."""

import re
from collections.abc import Collection, Iterable, Sequence

from roadseg.prepare.discovery.layouts.templates import File
from roadseg.prepare.discovery.layouts.words import Split, find_split

_MAX_PREFIXES = 8
"""Alternatives in a regular expression; more validation images are listed one by one."""
_MIN_GROUPS = 3
_IMAGES_PER_GROUP = 3
_MAX_WORDS = 4
"""Words with which the names of a group begin."""


def split_path(image: File, mask: File | None, is_shared: bool) -> tuple[str, ...]:
    """Return the names that may contain the split of an image.

    Args:
        image: the image.
        mask: its mask or annotation file, if there is one.
        is_shared: the annotation file describes many images.
    """
    if mask is None:
        return image.folders
    return (*image.folders, *mask.folders, *((mask.stem,) if is_shared else ()))


class SplitFinder:
    """Finds the splits of images by the names in which their paths differ."""

    def __init__(self, paths: Iterable[Sequence[str]]) -> None:
        """Remember the names that all `paths` have, such as those of an outer directory."""
        names = [frozenset(path) for path in paths]
        self._common = frozenset.intersection(*names) if names else frozenset()

    def find(self, path: Iterable[str]) -> Split | None:
        """Return the split of the image with the directories `path`; None if there is none."""
        found = (find_split(name) for name in path if name not in self._common)
        return next((split for split in found if split is not None), None)


def val_ids_expression(ids: Iterable[str], val_ids: Collection[str]) -> str | None:
    """Return a regular expression for the beginning of the validation ids, such as `^val_`.

    None if there is no short one that finds exactly `val_ids` among `ids`.
    """
    prefixes = sorted({re.escape(image_id.partition("_")[0]) for image_id in val_ids})
    if len(prefixes) > _MAX_PREFIXES:
        return None
    expression = f"^{prefixes[0]}_" if len(prefixes) == 1 else f"^({'|'.join(prefixes)})_"
    found = {image_id for image_id in ids if re.search(expression, image_id)}
    return expression if found == set(val_ids) else None


def suggest_group_by(ids: Collection[str]) -> str | None:
    """Return a regular expression for the first words of the ids, as split.group_by.

    None if no number of words gives at least three groups of three images on average.
    """
    for separator in "_-":
        for num_words in range(1, _MAX_WORDS + 1):
            word = f"[^{separator}]+"
            expression = f"^({separator.join([word] * num_words)}){separator}"
            groups = [found[1] for text in ids if (found := re.search(expression, text))]
            num_groups = len(set(groups))
            if len(groups) < len(ids) or num_groups * _IMAGES_PER_GROUP > len(ids):
                break
            if num_groups >= _MIN_GROUPS:
                return expression
    return None
