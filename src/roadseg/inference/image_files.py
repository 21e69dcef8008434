"""A user's pictures: found by name, read as they are to be looked at.

Shapes: H, W pixels.
"""

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np

from roadseg.prepare.decoding import (
    IMAGE_MODES,
    MAX_PIXELS,
    open_image,
    to_upright_rgb,
    verify_checksums,
)
from roadseg.system.errors import InputError

T = TypeVar("T")

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")  # the only ones that are read, whatever a file is called


class Source(NamedTuple):
    path: Path
    name: str
    """Of what is made from it: the path below the folder that was asked for, without ending."""


def find_images(arguments: Sequence[str], out: Path | None = None) -> list[Source]:
    """The pictures that `arguments` name: files, folders with all below them, or patterns.

    Sorted within each argument, each file once; hidden files only where they are named.

    Args:
        out: a folder whose pictures are not meant, since they are what was made of others.

    Raises:
        InputError: an argument that names no picture, or two pictures of one name.
    """
    sources: dict[str, Source] = {}
    for argument in arguments:
        for source in _found(argument, out):
            known = sources.setdefault(source.name, source)
            if not known.path.samefile(source.path):
                raise InputError(
                    f"{source.path}: {known.path} has the same name; predict one after the other, "
                    "with another --out"
                )
    return list(sources.values())


def count_skipped_types(arguments: Sequence[str], out: Path | None = None) -> Counter[str]:
    """Count the files of unsupported type in the folders among `arguments`, by suffix."""
    skipped: Counter[str] = Counter()
    for folder in {Path(argument) for argument in arguments if argument}:
        for path in folder.rglob("*") if folder.is_dir() else []:
            suffix = path.suffix.lower()
            hidden = path.name.startswith(".") or is_inside(path, out)
            if suffix not in ENDINGS and path.is_file() and not hidden:
                skipped[suffix or "without suffix"] += 1
    return skipped


def _found(argument: str, out: Path | None) -> list[Source]:
    path = Path(argument)
    if not argument:
        found = []
    elif path.is_dir():
        inside = [p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file()]
        inside = [p for p in inside if not (p.name.startswith(".") or is_inside(p, out))]
        found = [Source(p, p.relative_to(path).with_suffix("").as_posix()) for p in sorted(inside)]
    elif path.is_file():
        found = [Source(path, path.stem)]
    else:
        files = [p for p in map(Path, glob.glob(argument, recursive=True)) if p.is_file()]
        files = [p for p in sorted(files) if p.suffix.lower() in ENDINGS and not is_inside(p, out)]
        found = [Source(p, p.stem) for p in files]
    if not found:
        expected = f"expected a picture, or some that end in {', '.join(ENDINGS)}"
        raise InputError(f"{argument!r}: no pictures; {expected}")
    return found


def is_inside(path: Path, folder: Path | None) -> bool:
    """Whether `path`, where links lead, is below `folder`."""
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def read_image(source: Path | IO[bytes], name: str | Path) -> np.ndarray:
    """(H, W, 3) uint8, RGB, turned the way that its EXIF data say; transparency is left out.

    Args:
        name: what an error calls it.

    Raises:
        InputError: no such file, broken, or of another kind than FORMATS.
    """
    verify_checksums(source, name, MAX_PIXELS, FORMATS)
    with open_image(source, name, MAX_PIXELS, FORMATS) as picture:
        if picture.mode not in IMAGE_MODES:
            raise InputError(f"{name}: mode {picture.mode}; expected colours or grey of 8 bits")
        return np.asarray(to_upright_rgb(picture, name))


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """`count` of `items`, evenly spaced from first to last; all of them if they are fewer."""
    if count >= len(items):
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, count).round()]
