"""Learn the template of images and masks from an example of a pair.

`images/train/a.jpg` and `labels/train/a_mask.png` give the templates `images/<0>/<1>` and
`labels/<0>/<1>_mask`: the texts that both paths share become fields, and the rest stays.
"""

from difflib import SequenceMatcher
from functools import lru_cache

from roadseg.config.file_pattern import IMAGE_SUFFIXES
from roadseg.prepare.discovery.layouts.templates import (
    File,
    PairTemplate,
    Parts,
    common_start,
    join_parts,
)
from roadseg.prepare.discovery.layouts.words import split_words

_MAX_FOLDERS = 32
"""Directories above a file; a deeper path is not aligned."""


def align(image: File, mask: File) -> PairTemplate | None:
    """Return the template of two paths, None if they have no directory or word in common."""
    folders = _align_folders(image.folders, mask.folders)
    if folders is None:
        return None
    num_folders = len({part for name in folders[0] for part in name if isinstance(part, int)})
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
    """Return the parts of each directory of two paths; equal ones are fields."""
    if max(len(image), len(mask)) > _MAX_FOLDERS:
        return None
    sides: tuple[list[Parts], list[Parts]] = ([], [])
    num_fields = 0
    for _, i, i_end, j, j_end in SequenceMatcher(None, image, mask, False).get_opcodes():
        names = image[i:i_end], mask[j:j_end]
        if len(names[0]) != len(names[1]):
            for side, unmatched in zip(sides, names, strict=True):
                side += [(name,) for name in unmatched]
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
    end = _trim(common_start(rests))[::-1]
    head, tail = "".join(start), "".join(end)
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
    fields = [text for text in (head, tail) if text]
    parts = (0 if head else "", middle, len(fields) - 1 if tail else "")
    return tuple(part for part in parts if part != "")
