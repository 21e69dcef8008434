"""Unpack an untrusted archive: only files of the dataset, and only into its directory."""

import contextlib
import errno
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from roadseg.prepare.downloads.file_kind import START_BYTES, FileKind
from roadseg.prepare.fetch.file_patterns import FilePatterns, MatchedFiles
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.fetch.members import Archive, DamagedArchiveError, Member
from roadseg.prepare.fetch.tar_archive import TarArchive, is_tar
from roadseg.prepare.fetch.zip_archive import ZipArchive
from roadseg.system.errors import InputError
from roadseg.system.files import attach_path

_UNPACKING_ERRORS = (
    # raised by the libraries on damaged archives
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, gzip.BadGzipFile),
    *(struct.error, ValueError, OverflowError, RuntimeError, IndexError, tarfile.TarError),
)
_FOREIGN_FORMATS = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""First bytes of archives that are not read."""
_ZIP_START, _GZIP_START = b"PK", b"\x1f\x8b"
_SUFFIXES = _ZIP, _TAR, _TAR_GZ = ".zip", ".tar", ".tar.gz"


@contextlib.contextmanager
def open_archive(path: Path, limits: Limits) -> Iterator[Archive]:
    """Open a zip, tar or tar.gz archive; the format is recognized by content, not by name.

    Raises:
        InputError: another format, too many files or bytes, or a name that leads out of the
            archive; the message begins with `path`. Errors within the block get it, too.
        DamagedArchiveError: truncated or damaged.
    """
    kind, packed = _suffix(path), path.stat().st_size
    complete = f"not a complete {kind[1:]} archive"
    try:
        with contextlib.ExitStack() as stack:
            if kind == _ZIP:
                opened = stack.enter_context(zipfile.ZipFile(path))
                yield ZipArchive(opened, packed, limits)
            else:
                file: io.BufferedIOBase
                file = gzip.GzipFile(path) if kind == _TAR_GZ else path.open("rb")
                yield TarArchive(stack.enter_context(file), packed, limits)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
    except _UNPACKING_ERRORS as error:
        raise DamagedArchiveError(f"{path}: {complete}: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a negative offset in the zip's directory
            raise
        raise DamagedArchiveError(f"{path}: {complete}: {error.strerror}") from None


def _suffix(path: Path) -> str:
    """Return .zip, .tar or .tar.gz by the content of a file; .zip if it is none of them.

    Raises:
        InputError: it is an archive of another format.
    """
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    for magic, name in _FOREIGN_FORMATS.items():
        if start.startswith(magic):
            raise InputError(
                f"{path}: {name} is not supported; unpack it and set data.source to the directory, "
                "or pack it as zip, tar or tar.gz"
            )
    if start.startswith(_GZIP_START):
        return _TAR_GZ
    return _TAR if is_tar(start) else _ZIP  # a zip may have anything before it


def _may_start(start: bytes) -> bool:
    """True if a file with these first START_BYTES may be a zip, tar or tar.gz archive."""
    return start.startswith((_ZIP_START, _GZIP_START)) or is_tar(start)


ARCHIVE = FileKind(
    stage="fetch",
    description="a zip or tar archive",
    source_key="data.source",
    sha256_key="data.sha256",
    suffixes=_SUFFIXES,
    suffix=_suffix,
    may_start=_may_start,
)


def unpack(path: Path, root: Path, patterns: FilePatterns, limits: Limits) -> MatchedFiles:
    """Unpack the images and masks of an archive into `root`; skip other members.

    Raises:
        InputError: above `limits`, or a member is encrypted, a link, stored twice, or outside the
            archive's directory; names the archive and the member.
        DamagedArchiveError: overlapping members, or damaged (CRCs are checked).
    """
    with open_archive(path, limits) as archive:
        matched = _match(archive, patterns)
        wanted = [member for member in archive.members if member.name in matched.places]
        archive.require_readable(wanted)
        for folder in matched.folders:
            (root / folder).mkdir(parents=True)
        for member in tqdm(wanted, "unpack", unit="file", disable=None):
            _write_member(archive, member, root / matched.places[member.name])
    return matched


def _match(archive: Archive, patterns: FilePatterns) -> MatchedFiles:
    try:
        matched = patterns.match(member.name for member in archive.members)
    except InputError:
        archive.names.require_utf8()  # the more likely reason
        raise
    archive.names.require_utf8(matched.places)
    return matched


def _write_member(archive: Archive, member: Member, path: Path) -> None:
    try:
        with attach_path(path), path.open("wb") as target:
            for chunk in archive.read_chunks(member):
                target.write(chunk)
            if target.tell() != member.size:
                raise EOFError(f"{target.tell()} of {member.size} bytes were unpacked")
    except _UNPACKING_ERRORS as error:
        raise DamagedArchiveError(f"{member.name} is damaged: {error}") from None
