"""Read a text file of image ids, one per line."""

import unicodedata
from collections.abc import Collection
from pathlib import Path

from roadseg.config.tracked_files import find_tracked_file
from roadseg.system.errors import InputError

_KEY = "split.val_ids"
_MAX_BYTES = 64 << 20
"""Limit on the size of a file; a million ids need a third of it."""


def find_id_list(name: str, folder: Path) -> Path:
    """Find the file `name` in `folder`, or at its path; see `find_tracked_file`.

    Raises:
        InputError: there is no such file, or DVC did not copy it because Git does not track it.
    """
    path = find_tracked_file(_KEY, (folder / name, Path(name)), folder)
    if path is None:
        known = ", ".join(sorted(path.name for path in folder.glob("*.txt")))
        raise InputError(f"{_KEY}: no file {name!r}; use {known}, or the path of a text file")
    return path


def read_ids(path: Path, known: Collection[str]) -> list[str]:
    """Read the ids in the UTF-8 file `path`; lines that are empty or begin with # are skipped.

    Args:
        known: ids of the data set.

    Raises:
        InputError: an id is unknown or repeated, or the file is not text; names file and line.
    """
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise InputError(f"{_KEY}: {path}: {size:,} bytes; the limit is {_MAX_BYTES:,}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{_KEY}: {path}: not a UTF-8 text file: {error}") from None
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        image_id = unicodedata.normalize("NFC", line.strip())
        if not image_id or image_id.startswith("#"):
            continue
        place = f"{_KEY}: {path}, line {number}"
        if image_id not in known:
            raise InputError(f"{place}: no image {image_id!r} with a mask; an id is {min(known)!r}")
        if first := numbers.get(image_id):
            raise InputError(f"{place}: {image_id!r} is also in line {first}; remove one of them")
        numbers[image_id] = number
    if not numbers:
        raise InputError(f"{_KEY}: {path}: lists no id")
    return list(numbers)
