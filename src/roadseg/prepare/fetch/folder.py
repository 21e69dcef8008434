"""List the files of a dataset in a directory, without searching unrelated subdirectories."""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from roadseg.system.errors import InputError

_ANY_FOLDER = re.compile(".*", re.DOTALL)
_CLASS_TABLE = "classes.txt"
"""Table of class names next to the annotation files of YOLO."""

_Levels = Sequence[re.Pattern[str]]
"""Expressions for the NFC names of directories and, last, of a file."""


def find_files(root: Path, patterns: Sequence[_Levels]) -> list[str]:
    """List the files below `root` that match one of the patterns, relative to `root`; sorted.

    If there are none, the patterns may begin one directory further down.

    Raises:
        InputError: a symbolic link that matches is broken.
    """
    below = [[_ANY_FOLDER, *levels] for levels in patterns]
    return sorted(_walk(root, "", patterns)) or sorted(_walk(root, "", below))


def _walk(root: Path, folder: str, patterns: Sequence[_Levels]) -> Iterator[str]:
    """Yield the files whose directories and name match the levels of one of the patterns."""
    with os.scandir(root / folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path, plain = f"{folder}{name}", unicodedata.normalize("NFC", name)
        matched = [levels[1:] for levels in patterns if levels[0].fullmatch(plain)]
        if is_ignored(name) or not matched:
            continue
        if not (root / path).exists() and patterns[0][0] is not _ANY_FOLDER:
            raise InputError(f"{root / path}: broken symbolic link; copy what it refers to")
        if not all(matched) and (root / path).is_file():
            yield path
        if (below := [levels for levels in matched if levels]) and (root / path).is_dir():
            yield from _walk(root, f"{path}/", below)


def is_ignored(name: str) -> bool:
    """True for hidden files, those that macOS adds, and tables of class names."""
    return is_hidden(name) or name.rpartition("/")[2] == _CLASS_TABLE


def is_hidden(name: str) -> bool:
    """True for hidden files and those that macOS adds to archives."""
    parts = name.split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return hidden or parts[0] == "__MACOSX"
