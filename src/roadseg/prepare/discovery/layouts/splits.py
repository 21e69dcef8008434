"""Find the predefined split of a dataset, or groups of images in their names.

A split is in the names of directories and annotation files, or in lists of ids such as VOC's
ImageSets.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.layouts.names import File, Split, find_split, parse_name

_MAX_PREFIXES = 8
"""Alternatives in a regular expression; more validation images are listed one by one."""
_MIN_GROUPS = 3
_IMAGES_PER_GROUP = 3
_MAX_WORDS = 4
"""Words with which the names of a group begin."""
_MAX_LISTS = 12
"""Text files with the name of a split in one directory; more are files of single images."""
_MAX_FOLDERS = 8
"""Directories whose lists are read."""
_MAX_BYTES = 32 << 20
"""Bytes that are read of a list."""
_MAX_DEPTH = 8
"""Names at the end of a path that are compared."""


class _IdList(NamedTuple):
    name: str
    images: frozenset[File]
    """The images with masks that it lists."""
    num_unknown: int
    """Its lines that name none of them."""


def find_splits(
    pairs: Iterable[tuple[File, File | None]], is_shared: bool
) -> dict[File, Split | None]:
    """Return the split of each image by the names in which the paths differ.

    Args:
        pairs: images with their masks, or with the annotation files if `is_shared`.
    """
    paths = {
        image: (*image.folders, *mask.folders, *((mask.stem,) if is_shared else ()))
        if mask
        else image.folders
        for image, mask in pairs
    }
    common = set.intersection(*map(set, paths.values())) if paths else set()
    found = {
        image: [find_split(name) for name in path if name not in common]
        for image, path in paths.items()
    }
    return {image: next(filter(None, splits), None) for image, splits in found.items()}


def find_val_ids(
    dataset: DatasetFiles,
    files: Iterable[File],
    ids: Mapping[File, str],
    splits: Mapping[File, Split | None],
) -> tuple[str | tuple[str, ...] | None, list[str]]:
    """Return split.val_ids, None without a predefined split, and notes.

    Args:
        ids: ids of the images with masks.
        splits: as from `find_splits`.
    """
    val = {image for image in ids if splits[image] == "val"}
    notes: list[str] = []
    if not 0 < len(val) < len(ids):
        lists = _find_lists(dataset, files, ids)
        chosen = lists.get("val") or lists.get("test")
        val, notes = set(chosen.images) if chosen else set(), list(_list_notes(lists))
    if not 0 < len(val) < len(ids):
        return None, []
    val_ids = {ids[image] for image in val}
    return _val_ids_expression(ids.values(), val_ids) or tuple(sorted(val_ids)), notes


def _val_ids_expression(ids: Iterable[str], val_ids: Collection[str]) -> str | None:
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


def _list_notes(lists: Mapping[Split, _IdList]) -> Iterator[str]:
    val, test = lists.get("val"), lists.get("test")
    if val is None and test is not None:
        yield f"unsure: {test.name} is used for validation, because there is no validation list"
    elif val is not None and test is not None and test.images - val.images:
        yield (
            f"unsure: {len(test.images - val.images)} images of {test.name} have masks and are "
            "trained on; move them to another directory to keep them for testing"
        )
    chosen = val or test
    if chosen is not None and chosen.num_unknown:
        yield f"unsure: {chosen.num_unknown} lines of {chosen.name} name no image with a mask"


def _find_lists(
    dataset: DatasetFiles, files: Iterable[File], images: Iterable[File]
) -> dict[Split, _IdList]:
    """Return the lists of ids, file names or paths that best fit the images; empty without any."""
    folders: dict[str, list[File]] = defaultdict(list)
    for file in files:
        if file.suffix in (".txt", ".lst") and find_split(file.stem):
            folders[file.folder].append(file)
    few = [members for members in folders.values() if len(members) <= _MAX_LISTS]
    lists = {file.name: file for members in few[:_MAX_FOLDERS] for file in members}
    index = _index(images) if lists else {}
    found: dict[str, dict[Split, _IdList]] = defaultdict(dict)
    contents = dict(dataset.read_each(lists, _MAX_BYTES))
    for file in sorted(lists.values(), key=lambda file: len(file.stem)):
        lines = contents[file.name].decode("utf-8-sig", "replace").splitlines()
        listed = [_find_image(line.strip(), index) for line in lines if line.strip()]
        known = frozenset(image for image in listed if image is not None)
        if split := find_split(file.stem):
            found[file.folder].setdefault(split, _IdList(file.path, known, listed.count(None)))
    return max((splits for _, splits in sorted(found.items())), key=_fitness, default={})


def _fitness(lists: Mapping[Split, _IdList]) -> tuple[bool, float, int]:
    """Sort key: lists with a validation set, and those of which most images have masks."""
    num_known = sum(len(entry.images) for entry in lists.values())
    num_unknown = sum(entry.num_unknown for entry in lists.values())
    return "val" in lists, num_known / max(1, num_known + num_unknown), num_known


def _index(images: Iterable[File]) -> dict[str, File | None]:
    """Map the ends of the paths without suffix to the images; None if two have the same end."""
    index: dict[str, File | None] = {}
    for image in images:
        for end in _path_ends(image.base):
            index[end] = None if end in index else image
    return index


def _path_ends(base: str) -> Iterator[str]:
    """Yield a/b/c, b/c and c."""
    names = base.split("/")[-_MAX_DEPTH:]
    yield from ("/".join(names[start:]) for start in range(len(names)))


def _find_image(line: str, index: Mapping[str, File | None]) -> File | None:
    """Find the image that a line names first, by id, file name or the end of its path."""
    for text in (line, re.split(r"[\s,;]+", line)[0]):
        path = unicodedata.normalize("NFC", text).replace("\\", "/")
        ends = (end for base in (path, parse_name(path).base) for end in _path_ends(base))
        if found := next(filter(None, map(index.get, ends)), None):
            return found
    return None
