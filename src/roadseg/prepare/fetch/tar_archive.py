"""Tar archives, plain or compressed with gzip.

`tarfile.TarFile` reads extended headers of any size into memory, and takes a damaged header for the
end of the archive. Therefore only its parser of single headers is used.
"""

import tarfile
from collections.abc import Iterator
from typing import IO

from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.member_names import MemberNames
from roadseg.prepare.fetch.members import CHUNK, Archive, Member, require_few_files, require_small
from roadseg.system.errors import InputError

_MAX_HEADER = 1 << 20
"""Limit on an extended header, which has the name and the attributes of a file; bytes."""
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PAX_NAME, _PAX_SIZE, _PAX_SPARSE = b"path", b"size", b"GNU.sparse"


def is_tar(start: bytes) -> bool:
    """True if a file that starts with these bytes, at least 512, is a tar archive."""
    try:
        _parse(start[: tarfile.BLOCKSIZE])
    except tarfile.HeaderError:
        return False
    return True


class TarArchive(Archive):
    """A tar archive; it has no CRCs, but those of gzip are checked when it is opened."""

    def __init__(self, file: IO[bytes], packed: int, limits: Limits) -> None:
        """List the members of `file`, the uncompressed archive, whose file has `packed` bytes."""
        self._file, self._packed, self._limits = file, packed, limits
        entries = []
        for entry in self._read_headers():
            entries.append(entry)
            require_few_files(len(entries), limits)
        self._require_only_zeros()
        self.names = MemberNames([name for name, _ in entries])
        self.members = [
            Member(
                name,
                info.size,
                bool(info.mode & 0o111),
                None if info.isreg() else "is a link or a device, not an image",
                info.offset_data,
            )
            for name, (_, info) in zip(self.names.decoded, entries, strict=True)
            if not info.isdir()
        ]

    def read_chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the content of a member; this is fastest in the order of the archive."""
        self._file.seek(member.entry)
        remaining = member.size
        while chunk := self._file.read(min(remaining, CHUNK)):
            yield chunk
            remaining -= len(chunk)

    def _read_headers(self) -> Iterator[tuple[bytes, tarfile.TarInfo]]:
        """Yield the name and the header of each member."""
        long_name, records = b"", dict[bytes, bytes]()
        while (block := self._read_exactly(tarfile.BLOCKSIZE)).strip(b"\0"):
            info = _parse(block)
            if info.type in _EXTENDED:
                content = self._read_extended(info.size)
                if info.type == tarfile.GNUTYPE_LONGNAME:
                    long_name = content.rstrip(b"\0")
                elif info.type in _PAX:
                    records = dict(_pax_records(content))
                continue
            name = records.get(_PAX_NAME) or long_name or info.name.encode(errors="surrogateescape")
            info.size = int(records.get(_PAX_SIZE, info.size))
            info.offset_data = self._file.tell()
            if info.type == tarfile.GNUTYPE_SPARSE or any(_PAX_SPARSE in key for key in records):
                raise InputError(f"{name.decode(errors='replace')} is sparse; unpack it yourself")
            yield name, info
            if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES:
                self._skip(info.size)
            long_name, records = b"", {}

    def _read_exactly(self, count: int) -> bytes:
        require_small(self._file.tell() + count, self._packed, self._limits)
        data = self._file.read(count)
        if len(data) < count:
            raise EOFError("the end is missing")
        return data

    def _read_extended(self, count: int) -> bytes:
        if not 0 <= count <= _MAX_HEADER:
            raise ValueError(f"an extended header of {count:,} bytes")
        return self._read_exactly(_padded(count))[:count]

    def _skip(self, count: int) -> None:
        if count < 0:
            raise ValueError(f"a file of {count:,} bytes")
        end = self._file.tell() + _padded(count)
        require_small(end, self._packed, self._limits)
        self._file.seek(end)

    def _require_only_zeros(self) -> None:
        """Read to the end, where gzip compares its CRC."""
        while chunk := self._file.read(CHUNK):
            if chunk.strip(b"\0"):
                raise ValueError("there is more after its end mark")
            require_small(self._file.tell(), self._packed, self._limits)


def _parse(block: bytes) -> tarfile.TarInfo:
    return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")


def _padded(count: int) -> int:
    """Round up to whole blocks."""
    return -(-count // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the key and value of each line of a pax header; raise ValueError if it is damaged."""
    start = 0
    while start < len(content):
        space = content.index(b" ", start, start + 20)
        end = start + int(content[start:space])
        if not space < end <= len(content) or content[end - 1 : end] != b"\n":
            raise ValueError("a damaged pax header")
        key, _, value = content[space + 1 : end - 1].partition(b"=")
        yield key, value
        start = end
