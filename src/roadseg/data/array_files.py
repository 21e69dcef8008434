"""Prepared arrays as .npy files, whose bytes are a function of their content, and their index.

The index (index.jsonl) has one line of JSON for each array, so that a long index is written and
read line by line: its name, the SHA-256 of its file, and for masks the pixels of each class:
{"name": "masks/000000_10", "sha256": "..", "pixels": {"0": 12, "7": 3}}
"""

import hashlib
import io
import json
import math
import os
import re
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

from roadseg.system.errors import InputError
from roadseg.system.files import attach_path

_HEADER = re.compile(
    rb"\x93NUMPY\x01\0v\0{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \(([1-9]\d{0,8}), ([1-9]\d{0,8})(?:, (3))?\), } *\n"
)
"""Of what `save_array` writes, as numpy does; numpy's own reader evaluates what stands there."""
_HEADER_BYTES = 128


def save_array(path: Path, array: np.ndarray) -> str:
    """Write `array`; the bytes depend on nothing but its shape, dtype and values.

    Returns:
        SHA-256 of the file.
    """
    array = np.ascontiguousarray(array)
    # as np.save does, which takes no notice where the disk is full at the end of a file
    with attach_path(path), path.open("wb") as file:
        file.write(_header(array))
        file.write(array.data)
    return array_sha256(array)


def array_sha256(array: np.ndarray) -> str:
    """SHA-256 of the file that `save_array` makes of the contiguous `array`."""
    digest = hashlib.sha256(_header(array))
    digest.update(array.data)
    return digest.hexdigest()


def _header(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    write_array_header_1_0(file, header_data_from_array_1_0(array))
    return file.getvalue()


def read_shape(file: IO[bytes]) -> tuple[int, ...] | None:
    """(H, W) or (H, W, 3) of an array of uint8; None for anything else, and where it is cut."""
    header = _HEADER.fullmatch(file.read(_HEADER_BYTES))
    shape = tuple(int(side) for side in header.groups() if side) if header else ()
    whole = shape and os.fstat(file.fileno()).st_size == _HEADER_BYTES + math.prod(shape)
    return shape if whole else None


def memory_map(file: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    """The array of `read_shape` this file, read only; only used pages load."""
    return np.memmap(file, np.uint8, "r", _HEADER_BYTES, shape)


_MOST_PIXELS = 2**62


class ArrayEntry(NamedTuple):
    """Of one array."""

    sha256: str
    pixels: dict[int, int]
    """By class id, where there are any; of a picture, none."""


def format_entry(name: str, entry: ArrayEntry) -> str:
    """One line, its end included."""
    pixels = {str(class_id): entry.pixels[class_id] for class_id in sorted(entry.pixels)}
    return json.dumps({"name": name, "sha256": entry.sha256, "pixels": pixels}) + "\n"


def parse_entry(line: str) -> tuple[str, ArrayEntry]:
    """The name and the entry in `line`. Raises ValueError where it is not as written."""
    try:
        found = json.loads(line)
    except RecursionError:
        raise ValueError(line[:80]) from None
    if not isinstance(found, dict) or found.keys() != {"name", "sha256", "pixels"}:
        raise ValueError(line[:80])
    name, sha256, pixels = found["name"], found["sha256"], found["pixels"]
    if not isinstance(name, str) or not _is_digest(sha256) or not isinstance(pixels, dict):
        raise ValueError(line[:80])
    for class_id, count in pixels.items():
        is_count = type(count) is int and 0 < count < _MOST_PIXELS
        if not is_count or not re.fullmatch(r"0|[1-9]\d{0,2}", class_id) or int(class_id) > 255:
            raise ValueError(line[:80])
    return name, ArrayEntry(sha256, {int(class_id): count for class_id, count in pixels.items()})


def read_index(path: Path, mend: str) -> dict[str, ArrayEntry]:
    """The entries of all arrays, by name.

    Args:
        mend: what an error ends with.

    Raises:
        InputError: no such file, or not as remap wrote it.
    """
    entries: dict[str, ArrayEntry] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                name, entry = parse_entry(line)
                if name in entries:
                    raise ValueError(name)
                entries[name] = entry
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; dvc repro makes it") from None
    except ValueError:
        raise InputError(f"{path}: {mend}") from None
    return entries


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
