"""What remap has recorded of each array: the SHA-256 of its file and the pixels of each class.

A line of JSON for each, so that a long index is written and read piece by piece:
{"name": "masks/000000_10", "sha256": "..", "pixels": {"0": 12, "7": 3}}
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

from roadseg.system.errors import InputError

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
