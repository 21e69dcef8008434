"""Unpacking a data set's zip: only what belongs to the layout, only to where it belongs."""

import re
import shutil
import stat
import zipfile
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from src.data.layout import FOLDERS
from src.files import InputError

# A member must be exactly FOLDER/NAME.png: a path that climbs out or is absolute never matches.
_WANTED = re.compile(rf"(?:{'|'.join(FOLDERS)})/[^/\\:\x00-\x1f]+\.png")


def unpack(archive: Path, root: Path) -> None:
    """Unpack the pictures and masks of the zip `archive` into `root`; other members stay out.

    Raises:
        InputError: not a zip, damaged (each member's CRC is checked), encrypted, or a member that
            stands twice or is a link; names the archive and the member.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _wanted_members(opened, archive)
            for folder in FOLDERS:
                (root / folder).mkdir(parents=True, exist_ok=True)
            for member in tqdm(members, desc="unpack", unit="file", disable=None):
                _write_member(opened, member, root, archive)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{archive}: not a whole zip archive: {error}") from None


def _wanted_members(opened: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    members = [info for info in opened.infolist() if _WANTED.fullmatch(info.filename)]
    if not members:
        folders = ", ".join(FOLDERS)
        raise InputError(f"{archive}: no .png below {folders}; expected KITTI's layout")
    counts = Counter(info.filename for info in members)
    for info in members:
        if counts[info.filename] > 1:
            raise InputError(f"{archive}: {info.filename} stands in the archive twice")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{archive}: {info.filename} is a link, not a picture")
    return sorted(members, key=lambda info: info.filename)


def _write_member(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, root: Path, archive: Path
) -> None:
    try:
        with opened.open(member) as source, (root / member.filename).open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except RuntimeError:  # zipfile's way to say: encrypted
        raise InputError(f"{archive}: {member.filename} is encrypted") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise InputError(f"{archive}: {member.filename} is damaged: {error}") from None
    except Exception as error:
        if type(error).__module__ == "zlib":  # zlib.error is no subclass of anything above
            raise InputError(f"{archive}: {member.filename} is damaged: {error}") from None
        raise
