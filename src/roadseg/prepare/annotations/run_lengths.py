"""Run-length encodings: lengths of runs of pixels, alternately outside of and in a shape."""

from collections.abc import Sequence
from typing import Literal

import numpy as np


def decode_counts(text: str) -> list[int]:
    """Decode COCO's compressed run lengths (rleFrString of pycocotools' maskApi.c).

    Each character has 5 bits of a number, the lowest first, and a bit if more follow. From the
    fourth on, the numbers are differences to the run before the previous one.

    Raises:
        ValueError: not in this encoding, which pycocotools itself does not check.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("counts is not a compressed run-length encoding of COCO")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("counts is cut off")
    return counts


def check_counts(counts: Sequence[int], box: Sequence[int], height: int, width: int) -> None:
    """Check that runs fill the box of left, top, width and height. Raises ValueError."""
    left, top, box_width, box_height = box
    inside = 0 <= left <= left + box_width <= width and 0 <= top <= top + box_height <= height
    if not inside or not box_width or not box_height:
        raise ValueError(
            f"the mask of {box_height}x{box_width} pixels at row {top}, column {left} is not "
            f"within the image of {height}x{width}"
        )
    if min(counts, default=0) < 0:
        raise ValueError(f"a run of {min(counts)} pixels")
    if sum(counts) != box_height * box_width:
        raise ValueError(
            f"the runs have {sum(counts)} pixels, but {box_height}x{box_width} are "
            f"{box_height * box_width}"
        )


def to_pixels(
    counts: Sequence[int], height: int, width: int, order: Literal["C", "F"]
) -> np.ndarray:
    """Return a mask, (H, W) bool, of runs along the rows (order C) or the columns (F)."""
    is_inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(is_inside, counts).reshape(height, width, order=order)
