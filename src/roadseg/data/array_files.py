"""Prepared arrays as .npy files with reproducible bytes, and their index.

The index (index.jsonl) has one line of JSON for each array, so that a long index is written and
read line by line: name, SHA-256 of the file, and for a mask the number of pixels by class id:
{"name": "masks/000000_10", "sha256": "..", "pixels": {"0": 12, "7": 3}}
"""

import json
import math
import os
import re
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0
from pydantic import BaseModel, ConfigDict, Field

from roadseg.system.errors import InputError
from roadseg.system.files import attach_path, file_sha256

_HEADER = re.compile(
    rb"\x93NUMPY\x01\0v\0{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \(([1-9]\d{0,8}), ([1-9]\d{0,8})(?:, (3))?\), } *\n"
)
"""The only header that `save_array` writes; numpy's own reader would evaluate it as Python."""
_HEADER_BYTES = 128


def save_array(path: Path, array: np.ndarray) -> str:
    """Write `array`; the bytes depend only on its shape, dtype and values.

    Returns:
        SHA-256 of the file.
    """
    array = np.ascontiguousarray(array)
    # as np.save writes it, except that np.save can miss a disk that is full at the end of a file
    with attach_path(path), path.open("wb") as file:
        write_array_header_1_0(file, header_data_from_array_1_0(array))
        file.write(array.data)
    return file_sha256(path)


def open_array(path: Path) -> np.ndarray | None:
    """Memory-map a uint8 array, (H, W) or (H, W, 3), read-only: only accessed pages are loaded.

    Returns None if the file is truncated or was not written by `save_array`.
    """
    with path.open("rb") as file:
        header = _HEADER.fullmatch(file.read(_HEADER_BYTES))
        shape = tuple(int(side) for side in header.groups() if side) if header else ()
        size = os.fstat(file.fileno()).st_size
        if not shape or size != _HEADER_BYTES + math.prod(shape):
            return None
        return np.memmap(file, np.uint8, "r", _HEADER_BYTES, shape)


class ArrayEntry(BaseModel):
    """A line of the index."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    """FOLDER/ID."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    pixels: dict[Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(gt=0, lt=2**62)]]
    """Number of pixels by class id; empty for an image."""

    def to_line(self) -> str:
        """Format the entry as one line of JSON with a trailing newline."""
        return json.dumps({**self.model_dump(), "pixels": dict(sorted(self.pixels.items()))}) + "\n"


def read_index(path: Path, fix: str) -> dict[str, ArrayEntry]:
    """Read the entries of all arrays, by name.

    Args:
        fix: what is wrong and how to fix it; ends the error message for a modified file.

    Raises:
        InputError: the file is missing, or was modified after remap wrote it.
    """
    entries: dict[str, ArrayEntry] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                entry = ArrayEntry.model_validate_json(line)
                if entry.name in entries:
                    raise ValueError(entry.name)
                entries[entry.name] = entry
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run dvc repro to create it") from None
    except ValueError:
        raise InputError(f"{path}: {fix}") from None
    return entries
