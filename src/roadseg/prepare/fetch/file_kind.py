"""Kinds of files that are downloaded: how each is recognized, and the parameters that name it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roadseg.prepare.fetch.archive import ARCHIVE_SUFFIXES, archive_suffix, starts_like_archive
from roadseg.system.errors import InputError

_SAFETENSORS, _PICKLE = WEIGHTS_SUFFIXES = ".safetensors", ".pth"


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
    """True if such a file may begin with these bytes; without, say, the HTML of a login page."""

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


def _weights_suffix(path: Path) -> str:
    with path.open("rb") as file:
        return _SAFETENSORS if _has_safetensors_header(file.read(9)) else _PICKLE


def _may_be_weights(start: bytes) -> bool:
    """True for safetensors, and for the zip and pickle files of torch.save."""
    return start.startswith((b"PK", b"\x80")) or _has_safetensors_header(start)


def _has_safetensors_header(start: bytes) -> bool:
    """True if eight bytes, the length of a JSON object, are followed by that object."""
    return start[8:9] == b"{"


ARCHIVE = FileKind(
    stage="fetch",
    description="a zip or tar archive",
    source_key="data.source",
    sha256_key="data.sha256",
    suffixes=ARCHIVE_SUFFIXES,
    suffix=archive_suffix,
    may_start=starts_like_archive,
)
WEIGHTS = FileKind(
    stage="weights",
    description="a file of weights (safetensors or torch.save)",
    source_key="model.weights",
    sha256_key="model.weights_sha256",
    suffixes=WEIGHTS_SUFFIXES,
    suffix=_weights_suffix,
    may_start=_may_be_weights,
)
