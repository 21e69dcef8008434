"""Which pictures train, validate and are only rendered: as split has written it."""

from collections import Counter
from pathlib import Path
from typing import Any

from roadseg.data.prepared import is_image_id
from roadseg.system.errors import InputError
from roadseg.system.files import read_json

SPLIT_NAMES = ("train", "val", "test")


def read_split(path: Path) -> dict[str, list[str]]:
    """Ids of `train`, `val` (at least one each, none of both) and `test`, each once.

    Raises:
        InputError: no such file, or another one.
    """
    found = read_json(path)
    parts = {part: found.get(part) if isinstance(found, dict) else None for part in SPLIT_NAMES}
    if not all(map(_are_ids, parts.values())) or not parts["train"] or not parts["val"]:
        raise InputError(f"{path}: not as split wrote it; dvc repro makes it again")
    for ids in (parts["train"] + parts["val"], parts["test"]):  # a test picture may have their id
        if twice := [name for name, count in Counter(ids).items() if count > 1]:
            raise InputError(
                f"{path}: {twice[0]!r} stands there twice; no picture may train and validate, or "
                "count more than once; dvc repro makes it again"
            )
    return parts


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_image_id, value))
