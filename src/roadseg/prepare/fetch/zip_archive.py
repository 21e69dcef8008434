"""Zip archives, as `zipfile` reads them."""

import stat
import zipfile
from collections.abc import Iterator, Sequence

from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.member_names import MemberNames
from roadseg.prepare.fetch.members import (
    CHUNK,
    Archive,
    DamagedArchiveError,
    Member,
    require_few_files,
    require_small,
)

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Accepted compression; with the other methods, a small chunk may unpack to any size at once."""
_METHOD_NAMES = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
_ENCRYPTED, _UTF8 = 1, 0x800  # flags of a member


class ZipArchive(Archive):
    """A zip archive; each member has a CRC."""

    def __init__(self, opened: zipfile.ZipFile, packed: int, limits: Limits) -> None:
        """List the members of `opened`, whose file has `packed` bytes."""
        self._zip, self._packed, self._limits = opened, packed, limits
        entries = opened.infolist()
        require_few_files(len(entries), limits)
        self.names = MemberNames([_encoded_name(entry) for entry in entries])
        names = (name.replace("\\", "/") for name in self.names.decoded)  # of some Windows tools
        self.members = [
            Member(name, entry.file_size, _has_mode(entry, 0o111), _problem(entry), entry)
            for name, entry in zip(names, entries, strict=True)
        ]

    def require_readable(self, members: Sequence[Member]) -> None:
        """Check the sizes that `members` declare, too; unpacking stops at the declared size."""
        super().require_readable(members)
        if sum(member.entry.compress_size for member in members) > self._packed:
            raise DamagedArchiveError("members overlap, or the directory of the archive is damaged")
        require_small(sum(member.size for member in members), self._packed, self._limits)

    def read_chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the content of a member, and check its CRC."""
        with self._zip.open(member.entry) as source:
            while chunk := source.read(CHUNK):
                yield chunk


def _encoded_name(entry: zipfile.ZipInfo) -> bytes | str:
    """Return the bytes of a name that zipfile has decoded as cp437, for want of the UTF-8 flag."""
    if entry.flag_bits & _UTF8:
        return entry.filename
    try:
        return entry.filename.encode("cp437")
    except UnicodeEncodeError:  # from the Unicode field of the entry
        return entry.filename


def _has_mode(entry: zipfile.ZipInfo, bits: int) -> bool:
    return bool(entry.external_attr >> 16 & bits)


def _problem(entry: zipfile.ZipInfo) -> str | None:
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device, not an image"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack the archive yourself"
    if entry.compress_type not in _METHODS:
        method = _METHOD_NAMES.get(entry.compress_type, f"method {entry.compress_type}")
        return f"is compressed with {method}; compress the archive with deflate"
    return None
