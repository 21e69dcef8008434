"""How much a data set may hold, so that a hostile one fills neither disk nor memory."""

from dataclasses import dataclass


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
