"""Members of an archive of any format, and limits on their sizes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from roadseg.prepare.downloads.download_store import DamagedFileError
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.member_names import MemberNames
from roadseg.system.errors import InputError

CHUNK = 1 << 20
"""Bytes that `Archive.read_chunks` yields at once."""
_HARMLESS_SIZE = 64 << 20
"""Bytes; an archive that unpacks to less may have any compression ratio."""


class DamagedArchiveError(DamagedFileError):
    """The archive is corrupt or truncated; downloading it again may help."""


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    """Path with slashes."""
    size: int
    """Bytes that it unpacks to, as the archive declares."""
    is_executable: bool
    problem: str | None
    """Why it cannot be unpacked, as the end of a sentence; None if it can."""
    entry: Any
    """Its record in the archive."""


class Archive(ABC):
    """An open archive."""

    names: MemberNames
    members: list[Member]
    """In the order of the archive; names may be repeated."""

    @abstractmethod
    def read_chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the content of a member, whose size may differ from the declared one."""

    def require_readable(self, members: Sequence[Member]) -> None:
        """Raise InputError if one of `members` cannot be unpacked, or all are too large."""
        for member in members:
            if member.problem is not None:
                raise InputError(f"{member.name} {member.problem}")


def require_few_files(count: int, limits: Limits) -> None:
    """Raise InputError if an archive has more files than allowed."""
    if count > limits.files:
        raise InputError(f"has {count:,} files; data.max_files allows {limits.files:,}")


def require_small(unpacked: int, packed: int, limits: Limits) -> None:
    """Raise InputError if an archive of `packed` bytes unpacks to more bytes than allowed."""
    if unpacked > limits.bytes:
        raise InputError(
            f"unpacks to {unpacked:,} bytes; data.max_gigabytes allows {limits.bytes:,}"
        )
    if unpacked > _HARMLESS_SIZE and unpacked > limits.ratio * packed:
        raise InputError(
            f"unpacks to {unpacked:,} bytes, {unpacked / packed:.0f} times its size; "
            f"data.max_ratio allows {limits.ratio:g}"
        )
