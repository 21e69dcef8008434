"""One interface to the files of a dataset in a directory, a zip or a tar archive."""

import contextlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from roadseg.prepare.fetch.archive import open_archive
from roadseg.prepare.fetch.folder import is_hidden
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.members import Archive, Member
from roadseg.system.errors import InputError

MAX_BYTES = 512 << 20
"""Bytes that are read of one file; COCO's largest annotation file has 448 MB."""


class StoredFile(NamedTuple):
    """A file in a directory or archive."""

    name: str
    """Path with slashes, as it is stored."""
    size: int
    """Bytes."""
    read: Callable[[int], bytes]
    """Returns at most so many bytes from the start of the file."""


class DatasetFiles:
    """The files of a dataset; nothing is unpacked to the disk."""

    def __init__(self, stored: Iterable[StoredFile]) -> None:
        """Collect files; hidden ones and those that macOS adds to archives are left out.

        Args:
            stored: the files in the order in which they are read fastest.

        Raises:
            InputError: two files have the same name.
        """
        self._places: dict[str, int] = {}
        self._stored = [file for file in stored if not is_hidden(file.name)]
        for place, file in enumerate(self._stored):
            name = unicodedata.normalize("NFC", file.name)
            if self._places.setdefault(name, place) != place:
                raise InputError(f"{name} exists twice; remove one of the files")
        self.names = sorted(self._places)
        """Relative paths with slashes, NFC."""

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return self._stored[self._places[name]].size

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Return the content of a file, or its first `limit` bytes.

        `read_each` is faster for many files of a compressed tar.
        """
        return self._stored[self._places[name]].read(limit)

    def read_each(
        self, names: Iterable[str], limit: int = MAX_BYTES
    ) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) of files in the order in which they are stored."""
        for name in sorted(names, key=self._places.__getitem__):
            yield name, self.read(name, limit)


@contextlib.contextmanager
def open_files(path: Path, limits: Limits) -> Iterator[DatasetFiles]:
    """Open a directory or an archive, and list its files.

    Raises:
        InputError: `path` is neither, is damaged, or exceeds `limits`. The message, and that of any
            InputError in the block, begins with `path`.
    """
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: no such file or directory")
        with open_archive(path, limits) as archive:
            archive.names.require_utf8()
            yield DatasetFiles(_list_archive(archive))
        return
    try:
        yield DatasetFiles(_list_folder(path, limits))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _list_archive(archive: Archive) -> Iterator[StoredFile]:
    for member in archive.members:
        if not member.name.endswith("/"):
            yield StoredFile(member.name, member.size, partial(_read_member, archive, member))


def _read_member(archive: Archive, member: Member, limit: int) -> bytes:
    archive.require_readable([member])
    data = bytearray()
    for chunk in archive.read_chunks(member):
        data += chunk[: limit - len(data)]
        if len(data) >= limit:
            break
    return bytes(data)


def _list_folder(root: Path, limits: Limits) -> Iterator[StoredFile]:
    for count, path in enumerate(_walk(root, ()), 1):
        if count > limits.files:
            raise InputError(f"has over {limits.files:,} files; raise data.max_files")
        name = path.relative_to(root).as_posix()
        yield StoredFile(name, path.stat().st_size, partial(_read_file, path))


def _read_file(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit)


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files below a directory, sorted; links are followed, but not in circles."""
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir() and not is_hidden(entry.name):
            yield from _walk(Path(entry.path), (*above, real))
        elif entry.is_file():
            yield Path(entry.path)
