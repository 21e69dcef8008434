"""Find lists of training and validation images next to the data, such as VOC's ImageSets."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.layouts.templates import File, parse_names
from roadseg.prepare.discovery.layouts.words import Split, find_split

_SUFFIXES = (".txt", ".lst")
_MAX_PER_FOLDER = 12
"""Text files with the name of a split in one directory; more are files of single images."""
_MAX_FOLDERS = 8
_MAX_BYTES = 32 << 20
_MAX_DEPTH = 8
"""Names at the end of a path that are compared."""


class IdList(NamedTuple):
    """A list of images."""

    name: str
    images: frozenset[File]
    """The images with masks that it lists."""
    num_unknown: int
    """Its lines that name none of them."""


def find_list_split(
    dataset: DatasetFiles, files: Iterable[File], images: Iterable[File]
) -> dict[Split, IdList]:
    """Return the lists of ids, file names or paths that best fit the images; empty without any.

    Args:
        dataset: reads the lists.
        files: all files of the dataset.
        images: the images with masks.
    """
    lists = _find_lists(files)
    index = _index(images) if lists else {}
    contents = {
        name: _read_list(data, index)
        for name, data in dataset.read_each([file.name for file in lists], _MAX_BYTES)
    }
    found: dict[str, dict[Split, IdList]] = defaultdict(dict)
    for file in sorted(lists, key=lambda file: len(file.stem)):
        listed = contents[file.name]
        known = frozenset(image for image in listed if image is not None)
        split = find_split(file.stem)
        assert split is not None
        found[file.folder].setdefault(split, IdList(file.path, known, listed.count(None)))
    return max((splits for _, splits in sorted(found.items())), key=_fitness, default={})


def _fitness(lists: Mapping[Split, IdList]) -> tuple[bool, float, int]:
    """Sort key: lists with a validation set, and those of which most images have masks."""
    num_known = sum(len(entry.images) for entry in lists.values())
    num_unknown = sum(entry.num_unknown for entry in lists.values())
    return "val" in lists, num_known / max(1, num_known + num_unknown), num_known


def _find_lists(files: Iterable[File]) -> list[File]:
    """Return the text files that are named like a split and are few in their directory."""
    folders: dict[str, list[File]] = defaultdict(list)
    for file in files:
        if file.suffix in _SUFFIXES and find_split(file.stem) and "trainval" not in file.stem:
            folders[file.folder].append(file)
    few = [members for members in folders.values() if len(members) <= _MAX_PER_FOLDER]
    return [file for members in few[:_MAX_FOLDERS] for file in members]


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


def _read_list(data: bytes, index: Mapping[str, File | None]) -> list[File | None]:
    """Return the image of each line; None for a line that names none."""
    lines = data.decode("utf-8-sig", "replace").splitlines()
    return [_find_image(line.strip(), index) for line in lines if line.strip()]


def _find_image(line: str, index: Mapping[str, File | None]) -> File | None:
    """Find the image that a line names first, by id, file name or the end of its path."""
    for text in (line, *re.split(r"[\s,;]+", line)[:1]):
        path = unicodedata.normalize("NFC", text).replace("\\", "/")
        for base in (path, *(file.base for file in parse_names([path]))):
            for end in _path_ends(base):
                if (image := index.get(end)) is not None:
                    return image
    return None
