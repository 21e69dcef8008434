"""Templates of the paths of images and masks: literal texts and numbered fields."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

from roadseg.prepare.discovery.layouts.words import split_words

LOCAL_FIELD = 1000
"""Fields from this number on are in the paths of only images or only masks."""
Parts = tuple[str | int, ...]
"""A path, or a part of one, without suffix: literal texts, and the numbers of fields."""


class File(NamedTuple):
    """The name of a file in parts."""

    base: str
    """Path without suffix and without the directory around the whole dataset."""
    ending: str
    """Suffix with the dot."""
    name: str
    """Name in `DatasetFiles`."""

    @property
    def suffix(self) -> str:
        """Suffix in lower case, with the dot."""
        return self.ending.lower()

    @property
    def path(self) -> str:
        """Path that patterns are compared with."""
        return self.base + self.ending

    @property
    def folder(self) -> str:
        """The directory of the file, empty at the top."""
        return self.base.rpartition("/")[0]

    @property
    def folders(self) -> tuple[str, ...]:
        """The directories above the file."""
        return tuple(self.base.split("/")[:-1])

    @property
    def stem(self) -> str:
        """The name without directories and suffix."""
        return self.base.rpartition("/")[2]


def parse_names(names: Sequence[str], top: str = "") -> list[File]:
    """Split names, from whose beginning `top` is removed, in parts."""
    paths = [name.removeprefix(top) for name in names]
    bases = [
        path.rpartition(".")[0] if "." in path.rpartition("/")[2][1:] else path for path in paths
    ]
    return [
        File(base, path[len(base) :], name)
        for base, path, name in zip(bases, paths, names, strict=True)
    ]


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

    def match(self, files: Iterable[File]) -> "Matches":
        """Find the files of both templates; a file that fits both belongs to the longer one."""
        shared = {part for part in self.mask if isinstance(part, int)} & {*self.image}
        groups = [f"f{field}" for field in sorted(shared)]
        images: dict[tuple[str, ...], File] = {}
        masks: dict[tuple[str, ...], File] = {}
        sides = [
            (num_literal(self.mask), _compile(self.mask), self.mask_suffixes, masks),
            (num_literal(self.image), _compile(self.image), self.image_suffixes, images),
        ]
        sides.sort(key=lambda side: -side[0])
        for file in files:
            for _, expression, suffixes, found in sides:
                if file.suffix in suffixes and (match := expression.fullmatch(file.base)):
                    found.setdefault(tuple(match[group] for group in groups), file)
                    break
        return Matches(
            [(file, masks[key]) for key, file in images.items() if key in masks],
            [file for key, file in images.items() if key not in masks],
            [file for key, file in masks.items() if key not in images],
        )


class Matches(NamedTuple):
    """The files of a PairTemplate."""

    pairs: list[tuple[File, File]]
    """Images with their masks."""
    unmasked: list[File]
    """Images without a mask."""
    unused: list[File]
    """Masks without an image."""


NO_MATCHES = Matches([], [], [])


def join_parts(names: Sequence[Parts]) -> Parts:
    """Join the parts of names with slashes, and adjacent texts with each other."""
    joined: list[str | int] = []
    for place, name in enumerate(names):
        for part in (*(("/",) if place else ()), *name):
            if joined and isinstance(joined[-1], str) and isinstance(part, str):
                joined[-1] += part
            else:
                joined.append(part)
    return tuple(joined)


def common_start(names: Iterable[Sequence[str]]) -> list[str]:
    """Return the words with which all names begin."""
    columns = zip(*names, strict=False)
    return [column[0] for column in takewhile(lambda column: len({*column}) == 1, columns)]


def split_off_common(names: Sequence[str]) -> tuple[str, list[str], str]:
    """Return the words with which all `names` begin, what is between, and the end."""
    words = [split_words(name) for name in names]
    head = common_start(words)
    rests = [entry[len(head) :] for entry in words]
    tail = common_start([entry[::-1] for entry in rests])[::-1]
    middles = ["".join(entry[: len(entry) - len(tail)]) for entry in rests]
    return "".join(head), middles, "".join(tail)


def make_field(field: int, texts: Sequence[str]) -> tuple[Parts, list[str]]:
    """Return the parts of names that differ in one field, and the text of the field in each."""
    head, middles, tail = split_off_common(texts)
    return tuple(part for part in (head, field, tail) if part != ""), middles


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


def num_literal(parts: Parts) -> int:
    """Number of literal characters."""
    return sum(len(part) for part in parts if isinstance(part, str))


def read_fields(parts: Parts, file: File) -> dict[int, str]:
    """Return the values of the fields in the name of a file; empty if it does not match."""
    found = _compile(parts).fullmatch(file.base)
    return {int(group[1:]): text for group, text in found.groupdict().items()} if found else {}


@lru_cache
def _compile(parts: Parts) -> re.Pattern[str]:
    texts = (re.escape(p) if isinstance(p, str) else f"(?P<f{p}>[^/]+)" for p in parts)
    return re.compile("".join(texts))
