"""Which pictures train, validate and are only rendered: as split has written it."""

from pathlib import Path
from typing import Any

from src.files import InputError, read_json

PARTS = ("train", "val", "test")


def read_parts(path: Path) -> dict[str, list[str]]:
    """Ids of `train`, `val` (at least one each) and `test`. Raises InputError for another file."""
    found = read_json(path)
    parts = {part: found.get(part) if isinstance(found, dict) else None for part in PARTS}
    if not all(map(_are_ids, parts.values())) or not parts["train"] or not parts["val"]:
        raise InputError(f"{path}: not as split wrote it; dvc repro makes it again")
    return parts


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(picture_id, str) for picture_id in value)
