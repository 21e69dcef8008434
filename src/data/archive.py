"""Unpacking a data set's zip: only what belongs to the data set, only to where it belongs."""

import shutil
import stat
import zipfile
from pathlib import Path

from tqdm import tqdm

from src.data.layout import FOLDERS
from src.data.naming import Naming
from src.files import InputError


def unpack(archive: Path, root: Path, naming: Naming) -> dict[str, str]:
    """Unpack the pictures and masks of the zip `archive` into `root`; other members stay out.

    Returns:
        member's name -> its place below `root`, in KITTI's layout.

    Raises:
        InputError: not a zip, damaged (each member's CRC is checked), encrypted, or a member that
            stands twice or is a link; names the archive and the member.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            places = _wanted_places(opened, archive, naming)
            for folder in FOLDERS:
                (root / folder).mkdir(parents=True, exist_ok=True)
            for name, place in tqdm(places.items(), "unpack", unit="file", disable=None):
                _write_member(opened, name, root / place, archive)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(f"{archive}: not a whole zip archive: {error}") from None
    return places


def _wanted_places(opened: zipfile.ZipFile, archive: Path, naming: Naming) -> dict[str, str]:
    try:
        places = naming.places(info.filename for info in opened.infolist())
    except InputError as error:
        raise InputError(f"{archive}: {error}") from None
    for name in places:
        if stat.S_ISLNK(opened.getinfo(name).external_attr >> 16):
            raise InputError(f"{archive}: {name} is a link, not a picture")
    return places


def _write_member(opened: zipfile.ZipFile, name: str, path: Path, archive: Path) -> None:
    try:
        with opened.open(name) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except RuntimeError:  # zipfile's way to say: encrypted
        raise InputError(f"{archive}: {name} is encrypted") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise InputError(f"{archive}: {name} is damaged: {error}") from None
    except Exception as error:
        if type(error).__module__ in ("zlib", "_lzma"):  # subclasses of nothing above
            raise InputError(f"{archive}: {name} is damaged: {error}") from None
        raise
