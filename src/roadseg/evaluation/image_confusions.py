"""The table of the confusion matrix of each image; this module does not import torch.

Shapes: K classes, P images.
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from roadseg.config.class_map import IGNORE_INDEX, ClassMap
from roadseg.system.errors import InputError
from roadseg.system.tables import write_table

_COLUMNS = ["image", "actual", "predicted", "pixels"]
_MOST_BYTES = 2**31
"""Largest size of the matrices in memory; COCO-Stuff's 5,000 images of 171 classes need half."""
_MOST_PIXELS = 2**31
"""Upper limit of the pixels of one image, so that the sums over all images fit into an int64."""


@dataclass(frozen=True)
class ImageConfusions:
    """The confusion matrix of each image, as `read_image_confusions` returns it."""

    class_names: list[str]
    """The K classes that occur, in the order of their first occurrence."""
    ids: list[str]
    """Names of the P images, in the order of the evaluation."""
    confusions: np.ndarray
    """(P, K, K) int64, confusion matrix of each image; rows are the true classes."""


def write_image_confusions(
    path: Path, class_map: ClassMap, ids: Sequence[str], confusions: np.ndarray
) -> None:
    """Write the confusion matrix of each image as a table of the pairs of classes that occur.

    Args:
        ids: names of the P images.
        confusions: (P, K, K) int, their confusion matrices; rows are the true classes.
    """
    names = np.array(class_map.names, dtype=object)
    images, actual, predicted = np.nonzero(confusions)  # sorted by image, then by classes
    pixels = confusions[images, actual, predicted]
    columns = (np.array(ids, dtype=object)[images], names[actual], names[predicted], pixels)
    write_table(path, dict(zip(_COLUMNS, columns, strict=True)))


def read_image_confusions(path: Path) -> ImageConfusions:
    """Read a table that `write_image_confusions` or another program wrote.

    The table does not mention classes that occur in no image, nor images whose pixels are all
    ignored. The rows may have any order.

    Raises:
        InputError: no such file, or a line that is not valid; names file and line.
    """
    ids: dict[str, int] = {}
    classes: dict[str, int] = {}
    counts: dict[tuple[int, int, int], int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, image, actual, predicted, pixels in _rows(file):
                row = classes.setdefault(actual, len(classes))
                column = classes.setdefault(predicted, len(classes))
                key = (ids.setdefault(image, len(ids)), row, column)
                if key in counts:
                    raise ValueError(f"line {line}: {image}, {actual}, {predicted} is there twice")
                counts[key] = pixels
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a table of confusion matrices per image: {error}") from None
    shape = (len(ids), len(classes), len(classes))
    if len(classes) >= IGNORE_INDEX or 8 * math.prod(shape) > _MOST_BYTES:
        raise InputError(f"{path}: {shape[0]} images of {shape[1]} classes are too many")
    confusions = np.zeros(shape, dtype=np.int64)
    confusions[tuple(zip(*counts, strict=True))] = list(counts.values())
    return ImageConfusions(list(classes), list(ids), confusions)


def _rows(file: IO[str]) -> Iterator[tuple[int, str, str, str, int]]:
    """Yield line number and fields of each row; raise ValueError or csv.Error for invalid ones."""
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    if header != _COLUMNS:
        raise ValueError(f"its columns are {header}, expected {_COLUMNS}")
    for row in reader:
        line = reader.line_num
        if len(row) != len(header):
            raise ValueError(f"line {line} has {len(row)} fields, expected {len(header)}")
        image, actual, predicted, text = row
        if not (image and actual and predicted):
            raise ValueError(f"line {line}: the name of an image or class is empty")
        if not re.fullmatch("[1-9][0-9]{0,9}", text) or int(text) >= _MOST_PIXELS:
            raise ValueError(f"line {line}: pixels {text!r} is not an integer from 1 to 2147483647")
        yield line, image, actual, predicted, int(text)
    if reader.line_num < 2:
        raise ValueError("it has no rows")
