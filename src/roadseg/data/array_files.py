"""Arrays as .npy files, whose bytes are a function of what is in them."""

import math
import os
import re
from pathlib import Path

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

from roadseg.system.files import attach_path, file_sha256

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
        write_array_header_1_0(file, header_data_from_array_1_0(array))
        file.write(array.data)
    return file_sha256(path)


def open_array(path: Path) -> np.ndarray | None:
    """Memory-map a uint8 array, (H, W) or (H, W, 3), read only: only used pages load.

    Returns None if the file is truncated or was not written by `save_array`.
    """
    with path.open("rb") as file:
        header = _HEADER.fullmatch(file.read(_HEADER_BYTES))
        shape = tuple(int(side) for side in header.groups() if side) if header else ()
        size = os.fstat(file.fileno()).st_size
        if not shape or size != _HEADER_BYTES + math.prod(shape):
            return None
        return np.memmap(file, np.uint8, "r", _HEADER_BYTES, shape)
