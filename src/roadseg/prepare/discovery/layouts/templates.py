"""Templates of the paths of images and masks, learned from an example of a pair.

`images/train/a.jpg` and `labels/train/a_mask.png` give the templates `images/<0>/<1>` and
`labels/<0>/<1>_mask`: the texts that both paths share become fields, and the rest stays.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from roadseg.config.file_pattern import IMAGE_SUFFIXES
from roadseg.prepare.discovery.layouts.names import File, common_start, find_split, split_words

LOCAL_FIELD = 1000
"""Fields from this number on are in the paths of only images or only masks."""
Parts = tuple[str | int, ...]
"""A path, or a part of one, without suffix: literal texts, and the numbers of fields."""
_MAX_FOLDERS = 32
"""Directories above a file; a deeper path is not aligned."""


class Matches(NamedTuple):
    """The images of a template."""

    pairs: list[tuple[File, File]]
    """Images with their masks."""
    unmasked: list[File]


NO_MATCHES = Matches([], [])


@dataclass(frozen=True)
class PairTemplate:
    """The paths of an image and of its mask, with the same fields."""

    image: Parts
    mask: Parts
    num_folders: int
    """Fields 0 to num_folders - 1 are names of directories or parts of them."""
    image_suffixes: frozenset[str]
    mask_suffixes: frozenset[str]
    num_differences: int
    """Names in both paths that are not wholly shared; fewer are more plausible."""

    def swap(self) -> "PairTemplate":
        """Return the template in which image and mask change places."""
        suffixes = self.mask_suffixes, self.image_suffixes
        return PairTemplate(
            self.mask, self.image, self.num_folders, *suffixes, self.num_differences
        )

    def match(self, files: Iterable[File]) -> Matches:
        """Find the files of both templates; a file that fits both belongs to the longer one."""
        shared = sorted({part for part in self.mask if isinstance(part, int)} & {*self.image})
        images: dict[tuple[str, ...], File] = {}
        masks: dict[tuple[str, ...], File] = {}
        sides = [
            (self.mask, self.mask_suffixes, masks),
            (self.image, self.image_suffixes, images),
        ]
        sides.sort(key=lambda side: -sum(map(len, literal_texts(side[0]))))
        for file in files:
            for parts, suffixes, found in sides:
                if file.suffix in suffixes and (values := read_fields(parts, file)):
                    found.setdefault(tuple(values[field] for field in shared), file)
                    break
        return Matches(
            [(file, masks[key]) for key, file in images.items() if key in masks],
            [file for key, file in images.items() if key not in masks],
        )


def literal_texts(parts: Parts) -> list[str]:
    """Return the literal texts of a template."""
    return [part for part in parts if isinstance(part, str)]


def read_fields(parts: Parts, file: File) -> dict[int, str]:
    """Return the values of the fields in the name of a file; empty if it does not match."""
    found = _compile(parts).fullmatch(file.base)
    return {int(group[1:]): text for group, text in found.groupdict().items()} if found else {}


@lru_cache
def _compile(parts: Parts) -> re.Pattern[str]:
    texts = (re.escape(p) if isinstance(p, str) else f"(?P<f{p}>[^/]+)" for p in parts)
    return re.compile("".join(texts))


def join_parts(names: Iterable[Parts]) -> Parts:
    """Join the parts of names with slashes, and adjacent texts with each other."""
    joined: list[str | int] = []
    for place, name in enumerate(names):
        for part in (*(("/",) if place else ()), *name):
            if joined and isinstance(joined[-1], str) and isinstance(part, str):
                joined[-1] += part
            else:
                joined.append(part)
    return tuple(joined)


def replace_text(path: Parts, text: str, field: int) -> Parts:
    """Replace `text` in the literal parts of a path by a field."""
    replaced: list[str | int] = []
    for part in path:
        if isinstance(part, int) or not text or text not in part:
            replaced.append(part)
        else:
            head, _, tail = part.rpartition(text)
            replaced += [entry for entry in (head, field, tail) if entry != ""]
    return tuple(replaced)


def align(image: File, mask: File) -> PairTemplate | None:
    """Return the template of two paths, None if they have no directory or word in common."""
    folders = _align_folders(image.folders, mask.folders)
    if folders is None:
        return None
    num_folders = sum(isinstance(p, int) and p < LOCAL_FIELD for name in folders[0] for p in name)
    stems = _align_names(image.stem, mask.stem)
    if stems is None and num_folders:  # a directory for each image
        stems = (image.stem,), (mask.stem,)
    if stems is None:
        return None
    sides = [
        join_parts([*names, _shift(stem, num_folders)])
        for names, stem in zip(folders, stems, strict=True)
    ]
    names = [*folders[0], *folders[1], *stems]
    num_differences = sum(any(isinstance(part, str) for part in name) for name in names)
    suffixes = frozenset({image.suffix}), frozenset({mask.suffix})
    if sides[0] != sides[1]:  # otherwise, only the suffix tells which one is the mask
        suffixes = _similar_suffixes(image.suffix), _similar_suffixes(mask.suffix)
    return PairTemplate(sides[0], sides[1], num_folders, *suffixes, num_differences)


def _similar_suffixes(suffix: str) -> frozenset[str]:
    return frozenset(IMAGE_SUFFIXES) if suffix in IMAGE_SUFFIXES else frozenset({suffix})


def _shift(parts: Parts, offset: int) -> Parts:
    return tuple(part + offset if isinstance(part, int) else part for part in parts)


@lru_cache(1 << 12)
def _align_folders(
    image: tuple[str, ...], mask: tuple[str, ...]
) -> tuple[list[Parts], list[Parts]] | None:
    """Return the parts of each directory of two paths; equal ones are fields.

    A split that is the name of a directory in only one of them is a local field.
    """
    if max(len(image), len(mask)) > _MAX_FOLDERS:
        return None
    sides: tuple[list[Parts], list[Parts]] = ([], [])
    num_fields, local_fields = 0, count(LOCAL_FIELD)
    for _, i, i_end, j, j_end in SequenceMatcher(None, image, mask, False).get_opcodes():
        names = image[i:i_end], mask[j:j_end]
        if len(names[0]) != len(names[1]):
            for side, unmatched in zip(sides, names, strict=True):
                side += [(next(local_fields) if find_split(n) else n,) for n in unmatched]
            continue
        for pair in zip(*names, strict=True):
            aligned = _align_names(*pair) or ((pair[0],), (pair[1],))
            for side, parts in zip(sides, aligned, strict=True):
                side.append(_shift(parts, num_fields))
            num_fields += sum(isinstance(part, int) for part in aligned[0])
    return sides


@lru_cache(1 << 12)
def _align_names(left: str, right: str) -> tuple[Parts, Parts] | None:
    """Return the parts of two names; the words with which both begin or end are fields.

    A name with which the other one begins is a field too, as in `trainannot`.
    """
    words = split_words(left), split_words(right)
    start = _trim(common_start(words))
    rests = [names[len(start) :][::-1] for names in words]
    head, tail = "".join(start), "".join(_trim(common_start(rests))[::-1])
    if not head and not tail:
        shorter, longer = sorted((left, right), key=len)
        head = shorter if longer.startswith(shorter) else ""
    if not head and not tail:
        return None
    return _cut(left, head, tail), _cut(right, head, tail)


def _trim(words: list[str]) -> list[str]:
    """Remove separators from the end."""
    while words and not words[-1].isalnum():
        words = words[:-1]
    return words


def _cut(name: str, head: str, tail: str) -> Parts:
    """Return the parts of a name that begins with `head` and ends with `tail`."""
    middle = name[len(head) : len(name) - len(tail)]
    parts = (0 if head else "", middle, int(bool(head)) if tail else "")
    return tuple(part for part in parts if part != "")
