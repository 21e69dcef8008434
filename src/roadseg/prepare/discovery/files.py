"""One interface to the files of a dataset: a folder, a zip or a tar archive."""

import contextlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from roadseg.prepare.fetch.limits import Limits
from roadseg.system.errors import InputError

MAX_BYTES = 1 << 30
"""Bytes that are read of one file."""


class _Entry(NamedTuple):
    """A file as it is stored."""

    place: int
    """Position in the archive."""
    size: int
    open: Callable[[], IO[bytes]]


class DatasetFiles:
    """The files of a folder or archive; nothing is unpacked to the disk."""

    def __init__(self, entries: dict[str, _Entry]) -> None:
        """Sort `entries`, by NFC name."""
        self._entries = entries
        self.names = sorted(entries)
        """Relative paths with slashes, NFC; hidden files and __MACOSX are left out."""

    def size(self, name: str) -> int:
        """Return the size of the file in bytes."""
        return self._entries[name].size

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Read a file, or its first `limit` bytes.

        Use `read_each` for many: a compressed tar is read from its start each time.
        """
        with self._entries[name].open() as file:
            return file.read(limit)

    def read_each(
        self, names: Iterable[str], limit: int = MAX_BYTES
    ) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents in the order in which the files are stored."""
        for name in sorted(names, key=lambda name: self._entries[name].place):
            yield name, self.read(name, limit)


@contextlib.contextmanager
def open_files(path: Path, limits: Limits) -> Iterator[DatasetFiles]:
    """Open a folder or an archive, and list its files.

    Raises:
        InputError: the file is neither, is damaged, or exceeds `limits`.
    """
    if path.is_dir():
        yield DatasetFiles(dict(_list_folder(path, limits)))
        return
    raise InputError(f"{path}: no such folder or archive")


def _list_folder(root: Path, limits: Limits) -> Iterator[tuple[str, _Entry]]:
    count = 0
    for path in _walk(root, ()):
        name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
        count += 1
        if count > limits.files:
            raise InputError(f"{root}: has over {limits.files:,} files; raise data.max_files")
        yield name, _Entry(count, path.stat().st_size, lambda path=path: path.open("rb"))  # type: ignore[misc]


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files below `folder`, sorted; symbolic links are followed, but not in circles."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), (*above, real))
        elif entry.is_file():
            yield Path(entry.path)
