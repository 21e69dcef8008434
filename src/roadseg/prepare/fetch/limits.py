"""Limits on the size of a dataset, so that a hostile one fills neither disk nor memory."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A source above any of these limits is refused before it is unpacked."""

    files: int
    """Members of an archive, or files of a directory."""
    bytes: int
    """Size of a download, of all unpacked files, or of the images of a directory."""
    ratio: float
    """Ratio of unpacked to packed bytes of an archive."""
    pixels: int
    """Pixels of one image or mask."""
