"""Find and read image files.

Shapes: H and W pixels.
"""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np

from roadseg.inference.writers import is_result, require_own_results
from roadseg.prepare.images.decoding import (
    IMAGE_MODES,
    MAX_PIXELS,
    open_image,
    to_upright_rgb,
    verify_checksums,
)
from roadseg.system.errors import InputError

T = TypeVar("T")

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")


class Source(NamedTuple):
    """An image file, and the name of its results."""

    path: Path
    name: str
    """Path below the folder that the user named, without suffix."""


def find_images(arguments: Sequence[str], out: Path | None = None) -> list[Source]:
    """Find the images that `arguments` name: files, folders (recursively) or glob patterns.

    They are sorted within each argument. Hidden files and folders below a folder are skipped.

    Args:
        out: output folder, whose results of an earlier run are skipped.

    Raises:
        InputError: an argument without images, two images with the same output name, or a folder
            in `out` that `require_own_results` refuses.
    """
    if out is not None:
        require_own_results(out)
    sources: dict[str, Source] = {}
    for argument in arguments:
        for source in _find(argument, out):
            first = sources.setdefault(source.name, source)
            if first is not source and not first.path.samefile(source.path):
                raise InputError(
                    f"{source.path}: its results would have the same name as those of "
                    f"{first.path}; predict them in separate runs with different --out"
                )
    return list(sources.values())


def count_skipped_types(arguments: Sequence[str], out: Path | None = None) -> Counter[str]:
    """Count the files of unsupported type in the folders among `arguments`, by suffix."""
    skipped: Counter[str] = Counter()
    folders = [Path(argument) for argument in arguments if argument and Path(argument).is_dir()]
    for path in {path.absolute() for folder in folders for path in _list_files(folder, out)}:
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            skipped[suffix or "without suffix"] += 1
    return skipped


def _find(argument: str, out: Path | None) -> list[Source]:
    path = Path(argument)
    if not argument:
        sources = []
    elif path.is_dir():
        files = sorted(p for p in _list_files(path, out) if p.suffix.lower() in SUFFIXES)
        sources = [Source(p, p.relative_to(path).with_suffix("").as_posix()) for p in files]
    elif path.is_file():
        sources = [Source(path, path.stem)]
    else:
        files = [p for p in map(Path, glob.glob(argument, recursive=True)) if p.is_file()]
        files = [p for p in sorted(files) if p.suffix.lower() in SUFFIXES and not is_result(p, out)]
        sources = [Source(p, p.stem) for p in files]
    if not sources and argument and not path.exists() and not glob.has_magic(argument):
        raise InputError(f"{argument}: no such file or directory")
    if not sources:
        raise InputError(
            f"{argument!r}: no images found; expected an image file, or a folder or pattern with "
            f"files that end in {', '.join(SUFFIXES)}"
        )
    return sources


def _list_files(folder: Path, out: Path | None) -> Iterator[Path]:
    """List the files below `folder`, except hidden ones and results in `out`.

    Links to missing files are listed, so that reading them fails instead of skipping them.

    Raises:
        OSError: a folder cannot be read.
    """
    for parent, subfolders, names in os.walk(folder, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        paths = (Path(parent, name) for name in names if not name.startswith("."))
        files = (path for path in paths if path.is_file() or not path.exists())
        yield from (path for path in files if not is_result(path, out))


def _raise(error: OSError) -> None:
    raise error


def read_image(source: Path | IO[bytes], name: str | Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8, RGB, rotated by its EXIF orientation, without alpha.

    Args:
        name: name of the image in error messages.

    Raises:
        InputError: no such file, a damaged file, or another format.
    """
    verify_checksums(source, name, MAX_PIXELS)
    with open_image(source, name, MAX_PIXELS) as image:
        if image.mode not in IMAGE_MODES:
            raise InputError(
                f"{name}: mode {image.mode}; expected color or gray of 8 bits, convert it"
            )
        return np.asarray(to_upright_rgb(image, name))


def select_evenly(items: Sequence[T], count: int) -> list[T]:
    """Select `count` items, evenly spaced from first to last; all of them if there are fewer."""
    if count >= len(items):
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, count).round()]
