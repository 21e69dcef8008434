"""Limits on the size of a dataset, so that a hostile one fills neither disk nor memory."""

from dataclasses import dataclass

from roadseg.config.params import Data


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

    @classmethod
    def of(cls, data: Data) -> "Limits":
        """Return the limits in the section `data` of params.yaml."""
        return cls(
            files=data.max_files,
            bytes=round(data.max_gigabytes * 1e9),
            ratio=data.max_ratio,
            pixels=data.max_pixels,
        )
