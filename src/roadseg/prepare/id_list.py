"""Select images by id: a list, a regular expression, or a text file with one id per line."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from roadseg.config.tracked_files import find_tracked_file
from roadseg.system.errors import InputError

VAL_IDS = "split.val_ids"
_MAX_BYTES = 64 << 20
"""Limit on the size of a file; a million ids need a third of it."""


def select_ids(key: str, ids: Collection[str] | str, known: Collection[str]) -> list[str]:
    """Return the sorted ids that the parameter `key` selects.

    Args:
        ids: ids, or a regular expression that is searched for in each id.
        known: ids of the images with masks.

    Raises:
        InputError: an id is unknown or repeated, or none is selected.
    """
    if isinstance(ids, str):
        expression = unicodedata.normalize("NFC", ids)
        selected = sorted(name for name in known if re.search(expression, name))
        if not selected:
            raise InputError(f"{key}: {expression!r} matches no image id; an id is {min(known)!r}")
        return selected
    selected = [unicodedata.normalize("NFC", name) for name in ids]
    counts = Counter(selected)
    for name in selected:
        if name not in known:
            raise InputError(f"{key}: no image {name!r} with a mask")
        if counts[name] > 1:
            raise InputError(f"{key}: {name!r} is listed twice")
    return sorted(selected)


def find_id_list(name: str, folder: Path, key: str = VAL_IDS) -> Path:
    """Find the file `name` in `folder`, or at its path; see `find_tracked_file`.

    Raises:
        InputError: there is no such file, or DVC did not copy it because Git does not track it.
    """
    path = find_tracked_file(key, (folder / name, Path(name)), folder)
    if path is None:
        known = ", ".join(sorted(path.name for path in folder.glob("*.txt")))
        raise InputError(f"{key}: no file {name!r}; use {known}, or the path of a text file")
    return path


def read_ids(path: Path, known: Collection[str], key: str = VAL_IDS) -> list[str]:
    """Read the ids in the UTF-8 file `path`; lines that are empty or begin with # are skipped.

    Args:
        known: ids of the data set.
        key: the parameter that names the file, for error messages.

    Raises:
        InputError: an id is unknown or repeated, or the file is not text; names file and line.
    """
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise InputError(f"{key}: {path}: {size:,} bytes; the limit is {_MAX_BYTES:,}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{key}: {path}: not a UTF-8 text file: {error}") from None
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        image_id = unicodedata.normalize("NFC", line.strip())
        if not image_id or image_id.startswith("#"):
            continue
        place = f"{key}: {path}, line {number}"
        if image_id not in known:
            raise InputError(f"{place}: no image {image_id!r} with a mask; an id is {min(known)!r}")
        if first := numbers.get(image_id):
            raise InputError(f"{place}: {image_id!r} is also in line {first}; remove one of them")
        numbers[image_id] = number
    if not numbers:
        raise InputError(f"{key}: {path}: lists no id")
    return list(numbers)
