"""Words in names of files and directories, and what they usually mean.

Names only decide where the structure and the content of a dataset leave a choice.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

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


def is_other_sensor(texts: Iterable[str]) -> bool:
    """True for names of images that are not photographs in visible light."""
    return any(word.lower() in _OTHER_SENSORS for text in texts for word in split_words(text))
