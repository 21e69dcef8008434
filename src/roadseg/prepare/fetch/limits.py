"""How much a data set may hold, so that a hostile one fills neither disk nor memory."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from roadseg.system.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Beyond any of these a source is refused before it is unpacked."""

    files: int
    """Members of an archive, or files of a folder."""
    bytes: int
    """Of a download, of all files unpacked, and of a folder's pictures."""
    ratio: float
    """Bytes unpacked to bytes of the archive."""
    pixels: int
    """Of one picture or mask."""


def require_room(size: int, folder: Path) -> None:
    """Raise InputError where the disk of `folder` has not `size` bytes left."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(f"{folder}: takes {size:,} bytes; the disk has {free:,}; make room")
