"""One interface to the files of a dataset: a folder, a zip or a tar archive."""

import contextlib
import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from roadseg.prepare.fetch.limits import Limits
from roadseg.system.errors import InputError

MAX_FILE_BYTES = 1 << 30
"""Bytes that are read of one file."""


class DatasetFiles(Protocol):
    """The files of a folder or archive; nothing is unpacked to the disk."""

    names: list[str]
    """Sorted relative paths with slashes, NFC; hidden files and __MACOSX are left out."""

    def size(self, name: str) -> int:
        """Return the size of the file in bytes."""

    def read_each(
        self, names: Iterable[str], limit: int = MAX_FILE_BYTES
    ) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) in the order in which the files are stored.

        Args:
            names: some of `names`.
            limit: bytes that are read of a file; the rest is left out.
        """

    def read(self, name: str) -> bytes:
        """Read a file. Use `read_each` for many: a compressed tar is read from its start."""
