"""Names of files and directories in parts and words, and what the words usually mean.

Words only decide where the structure and the content of a dataset leave a choice.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")
_NUM_SHOWN = 3
"""Directories that a message lists."""

_WORD = re.compile(r"\d+|[A-Z]?[^\W\d_A-Z]+|[A-Z]+|[\W_]")

Split = Literal["train", "val", "test"]
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trainval", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
_IMAGE_WORDS = frozenset(
    {*("image", "images", "img", "imgs", "jpeg", "photo", "photos", "picture", "pictures"), "raw"}
    | {*("frame", "frames", "left", "rgb", "input", "inputs", "x", "stills")}
)
_MASK_WORDS = frozenset(
    {*("mask", "masks", "label", "labels", "labeled", "labelled", "lbl", "gt", "groundtruth")}
    | {*("annotation", "annotations", "annot", "ann", "semantic", "segmentation", "seg", "segs")}
    | {*("class", "classes", "target", "targets", "truth", "l", "y", "ids", "id", "instances")}
)
_SECOND_CHOICE = frozenset(
    {*("instance", "object", "train", "panoptic", "depth", "disparity", "flow", "confidence")}
    | {*("edge", "edges", "boundary", "boundaries", "color", "colors", "colour", "rgb", "vis")}
    | {*("preview", "overlay", "viz", "instances", "captions", "keypoints", "stuff")}
)
_OTHER_SENSORS = frozenset({"depth", "disparity", "flow", "infrared", "ir", "nir", "thermal"})


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


def parse_name(name: str, top: str = "") -> File:
    """Split a name, from whose beginning `top` is removed, in parts."""
    path = name.removeprefix(top)
    has_suffix = "." in path.rpartition("/")[2][1:]
    base = path.rpartition(".")[0] if has_suffix else path
    return File(base, path[len(base) :], name)


def count_by_folder(files: Iterable[File]) -> str:
    """Return the directories with most of the files, with their numbers, for a message."""
    folders = Counter(file.folder or "the top directory" for file in files).most_common()
    shown = ", ".join(f"{folder} ({count:,})" for folder, count in folders[:_NUM_SHOWN])
    more = len(folders) - _NUM_SHOWN
    return f"{shown} and {more:,} more directories" if more > 0 else shown


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items, evenly spaced, with the first and the last one."""
    if len(items) <= count:
        return list(items)
    return [items[i * (len(items) - 1) // max(1, count - 1)] for i in range(count)]


def split_words(text: str) -> list[str]:
    """Split at separators, digits and capitals: `leftImg8bit_2` is left, Img, 8, bit, _, 2."""
    return _WORD.findall(text)


@lru_cache(1 << 14)
def find_split(text: str) -> Split | None:
    """Return the split that a name contains, such as val for `val2017`; None if there is none."""
    found = {_SPLITS[word] for word in map(str.lower, split_words(text)) if word in _SPLITS}
    return found.pop() if len(found) == 1 else None


def mask_score(texts: Iterable[str]) -> int:
    """Rate names: positive for those of masks, negative for those of images."""
    words = {word.lower() for text in texts for word in split_words(text)}
    return len(words & _MASK_WORDS) - len(words & _IMAGE_WORDS)


def second_choice_score(texts: Iterable[str]) -> int:
    """Count words of files that lie next to the masks, such as those of instances or colors."""
    words = {word.lower() for text in texts for word in split_words(text)}
    return len(words & _SECOND_CHOICE)


def common_start(names: Iterable[Sequence[str]]) -> list[str]:
    """Return the words with which all names begin."""
    columns = zip(*names, strict=False)
    return [column[0] for column in takewhile(lambda column: len({*column}) == 1, columns)]


def split_off_common(names: Iterable[str]) -> tuple[str, list[str], str]:
    """Return the words with which all `names` begin, what is between, and the end."""
    words = [split_words(name) for name in names]
    head = common_start(words)
    rests = [entry[len(head) :] for entry in words]
    tail = common_start([entry[::-1] for entry in rests])[::-1]
    middles = ["".join(entry[: len(entry) - len(tail)]) for entry in rests]
    return "".join(head), middles, "".join(tail)


def is_other_sensor(texts: Iterable[str]) -> bool:
    """True for names of images that are not photographs in visible light."""
    return any(word.lower() in _OTHER_SENSORS for text in texts for word in split_words(text))
