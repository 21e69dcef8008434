"""One interface to the files of a dataset: a folder, a zip or a tar archive."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from roadseg.prepare.fetch.limits import Limits


class DatasetFiles:
    """The files of a folder or archive; nothing is unpacked to the disk."""

    names: Sequence[str]
    """Sorted relative paths with slashes, NFC; hidden files and __MACOSX are left out."""

    def size(self, name: str) -> int:
        """Return the size of the file in bytes."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """Read a file. Use `read_each` for many: a compressed tar is read from its start."""
        raise NotImplementedError

    def read_each(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Read files one by one in the order in which they are stored, as (name, content)."""
        raise NotImplementedError


@contextlib.contextmanager
def open_files(path: Path, limits: Limits) -> Iterator[DatasetFiles]:
    """Open a folder or an archive, and list its files.

    Raises:
        InputError: the file is neither, is damaged, or exceeds `limits`.
    """
    raise NotImplementedError
