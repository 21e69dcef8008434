"""Unpack an untrusted zip archive: only files of the dataset, and only into its directory."""

import errno
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.limits import Limits
from roadseg.prepare.layout import FOLDERS
from roadseg.system.errors import InputError
from roadseg.system.files import attach_path

_UNPACKING_ERRORS = (
    # raised by zipfile and the decompressors on damaged archives
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
    *(struct.error, ValueError, OverflowError, RuntimeError, IndexError),
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Accepted compression; with the other methods, a small chunk may unpack to any size at once."""
_METHOD_NAMES = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
_HARMLESS_SIZE = 64 << 20
"""Bytes; an archive that unpacks to less may have any compression ratio."""


class DamagedArchiveError(InputError):
    """The archive is corrupt or truncated; downloading it again may help."""


def unpack(archive: Path, root: Path, patterns: FilePatterns, limits: Limits) -> dict[str, str]:
    """Unpack the images and masks of a zip archive into `root`; skip other members.

    Returns:
        member's name -> its path below `root`, in KITTI's layout.

    Raises:
        InputError: above `limits`, or a member is encrypted, a link, stored twice, or outside the
            archive's directory; names the archive and the member.
        DamagedArchiveError: not a zip, overlapping members, or damaged (CRCs are checked).
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _require_harmless([member.filename for member in members], limits)
            places = patterns.places(member.filename for member in members)
            wanted = [member for member in members if member.filename in places]
            _require_plain(wanted)
            _require_within_limits(wanted, archive, limits)
            for folder in FOLDERS:
                (root / folder).mkdir(parents=True, exist_ok=True)
            for member in tqdm(wanted, "unpack", unit="file", disable=None):
                _write_member(opened, member, root / places[member.filename])
    except InputError as error:
        raise type(error)(f"{archive}: {error}") from None
    except _UNPACKING_ERRORS as error:
        raise DamagedArchiveError(f"{archive}: not a complete zip archive: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a negative offset in the zip's directory
            raise
        reason = f"not a complete zip archive: {error.strerror}"
        raise DamagedArchiveError(f"{archive}: {reason}") from None
    return places


def _require_harmless(names: Sequence[str], limits: Limits) -> None:
    if len(names) > limits.files:
        raise InputError(f"has {len(names):,} files; data.max_files allows {limits.files:,}")
    for name in names:
        if ".." in re.split(r"[/\\]", name) or re.match(r"[/\\]|[A-Za-z]:", name):
            raise InputError(f"{name[:200]!r} is a path outside the archive; do not trust it")


def _require_plain(members: Sequence[zipfile.ZipInfo]) -> None:
    for member in members:
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InputError(f"{member.filename} is a link or a device, not an image")
        if member.flag_bits & 1:
            raise InputError(f"{member.filename} is encrypted; unpack the archive yourself")
        if member.compress_type not in _METHODS:
            method = _METHOD_NAMES.get(member.compress_type, f"method {member.compress_type}")
            raise InputError(
                f"{member.filename} is compressed with {method}; compress the archive with deflate"
            )


def _require_within_limits(
    members: Sequence[zipfile.ZipInfo], archive: Path, limits: Limits
) -> None:
    """Check the sizes that `members` declare; unpacking stops at the declared size."""
    total, packed = sum(member.file_size for member in members), archive.stat().st_size
    if sum(member.compress_size for member in members) > packed:
        raise DamagedArchiveError("members overlap, or the directory of the archive is damaged")
    if total > limits.bytes:
        raise InputError(f"unpacks to {total:,} bytes; data.max_gigabytes allows {limits.bytes:,}")
    if total > _HARMLESS_SIZE and total > limits.ratio * packed:
        raise InputError(
            f"unpacks to {total:,} bytes, {total / packed:.0f} times its size; data.max_ratio "
            f"allows {limits.ratio:g}"
        )


def _write_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    try:
        with attach_path(path), opened.open(member) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            if target.tell() != member.file_size:
                raise EOFError(f"{target.tell()} of {member.file_size} bytes were unpacked")
    except _UNPACKING_ERRORS as error:
        raise DamagedArchiveError(f"{member.filename} is damaged: {error}") from None
