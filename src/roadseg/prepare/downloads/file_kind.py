"""A kind of file to download: how it is recognized, and the parameters that name it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roadseg.system.errors import InputError

START_BYTES = 512
"""Number of bytes by which a kind is recognized; those of the header of a tar archive."""


@dataclass(frozen=True)
class FileKind:
    """A kind of file for `DownloadStore`."""

    stage: str
    """Name of the stage, the prefix of messages."""
    description: str
    """With an article, such as "a zip or tar archive"."""
    source_key: str
    """Parameter that has the URL or path."""
    sha256_key: str
    """Parameter that has the expected SHA-256."""
    suffixes: tuple[str, ...]
    """All values of `suffix`."""
    suffix: Callable[[Path], str]
    """The suffix of a file by its content."""
    may_start: Callable[[bytes], bool]
    """True if such a file may begin with these up to START_BYTES; an HTML page may not."""

    @property
    def by_hand(self) -> str:
        """Advice for when a download fails."""
        return f"download the file in a browser and set {self.source_key} to its path"

    def require_sha256(self, shown: str, found: str, expected: str | None) -> None:
        """Raise InputError if the SHA-256 `found` of the source `shown` is not `expected`."""
        if expected is not None and found != expected:
            raise InputError(
                f"{self.sha256_key}: {shown} has the SHA-256 {found}, expected {expected}; it is "
                "damaged or another version"
            )
