"""Arrays as .npy files, whose bytes are a function of what is in them."""

import hashlib
import io
import math
import os
import re
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

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
