"""Unpacking a data set's zip: only what belongs to the data set, only to where it belongs."""

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

_DAMAGE = (
    # what zipfile and the decompressors raise on damaged archives
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
    *(struct.error, ValueError, OverflowError, RuntimeError, IndexError),
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of the others, zipfile unpacks a piece to any size at once."""
_RATIO_MATTERS = 64 << 20  # bytes; below, any ratio is harmless


class DamagedArchiveError(InputError):
    """What has come is not what was sent; it is of no use, and may come whole the next time."""


def unpack(archive: Path, root: Path, naming: FilePatterns, limits: Limits) -> dict[str, str]:
    """Unpack the pictures and masks of the zip `archive` into `root`; other members stay out.

    Returns:
        member's name -> its place below `root`, in KITTI's layout.

    Raises:
        InputError: beyond `limits`, or a member that is encrypted, a
            link, stands twice, or would climb out; names the archive and the member.
        DamagedError: not a zip, overlapping members, or damaged (each one's CRC is checked).
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _require_harmless([member.filename for member in members], limits)
            places = naming.places(member.filename for member in members)
            wanted = [member for member in members if member.filename in places]
            _require_plain(wanted)
            _require_within_limits(wanted, archive, limits)
            for folder in FOLDERS:
                (root / folder).mkdir(parents=True, exist_ok=True)
            for member in tqdm(wanted, "unpack", unit="file", disable=None):
                _write_member(opened, member, root / places[member.filename])
    except InputError as error:
        raise type(error)(f"{archive}: {error}") from None
    except _DAMAGE as error:
        raise DamagedArchiveError(f"{archive}: not a whole zip archive: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # else: a place before the file's begin is looked for
            raise
        raise DamagedArchiveError(f"{archive}: not a whole zip archive: {error.strerror}") from None
    return places


def _require_harmless(names: Sequence[str], limits: Limits) -> None:
    if len(names) > limits.files:
        raise InputError(f"holds {len(names):,} files; data.max_files allows {limits.files:,}")
    for name in names:
        if ".." in re.split(r"[/\\]", name) or re.match(r"[/\\]|[A-Za-z]:", name):
            raise InputError(f"{name[:200]!r} would lie outside the folder; do not trust it")


def _require_plain(members: Sequence[zipfile.ZipInfo]) -> None:
    for member in members:
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InputError(f"{member.filename} is a link or a device, not a picture")
        if member.flag_bits & 1:
            raise InputError(f"{member.filename} is encrypted; unpack the archive yourself")
        if member.compress_type not in _METHODS:
            method = zipfile.compressor_names.get(member.compress_type, member.compress_type)
            raise InputError(
                f"{member.filename} is packed by {method}; pack the archive by deflate, as usual"
            )


def _require_within_limits(
    members: Sequence[zipfile.ZipInfo], archive: Path, limits: Limits
) -> None:
    """`members` state their sizes; more than that is never written of one."""
    total, packed = sum(member.file_size for member in members), archive.stat().st_size
    if sum(member.compress_size for member in members) > packed:
        raise DamagedArchiveError("its members overlap, or it is damaged")
    if total > limits.bytes:
        raise InputError(f"unpacks to {total:,} bytes; data.max_gigabytes allows {limits.bytes:,}")
    if total > _RATIO_MATTERS and total > limits.ratio * packed:
        raise InputError(
            f"unpacks to {total:,} bytes, {total / packed:.0f} times its own; data.max_ratio "
            f"allows {limits.ratio:g}"
        )


def _write_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    try:
        with attach_path(path), opened.open(member) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            if target.tell() != member.file_size:
                raise EOFError(f"{target.tell()} of {member.file_size} bytes came")
    except _DAMAGE as error:
        raise DamagedArchiveError(f"{member.filename} is damaged: {error}") from None
