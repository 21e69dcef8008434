"""Files that are whole or absent, and the one error that a user sees as a single line."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from roadseg.system.errors import InputError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAME_BYTES = 200
"""Of a name in a temporary one; file systems allow 255 of all."""


def repository_path(path: str) -> Path:
    """`path` counted from the repository's root.

    DVC sets DVC_ROOT to the main repository also where an experiment runs in a copy of it
    (`dvc exp run --temp`, `--queue`); started by hand, the root is the working directory.
    """
    try:
        return Path(os.environ.get("DVC_ROOT", ".")) / Path(path).expanduser()
    except RuntimeError as error:  # ~nobody
        raise InputError(f"{path}: {error}") from None


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which replaces `path` if the block succeeds.

    The bytes are on disk before the name changes, so `path` is the old file or the new one,
    never a part of either. Where the name depends on the content, write to a path of your own and
    call `replace_file`.
    """
    temporary = _temporary(path)
    try:
        with _hide_temporary_name(path, temporary), attach_path(path):
            yield temporary
            replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`, replacing it, once the bytes of `temporary` are on disk."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


@contextlib.contextmanager
def attach_path(path: Path) -> Iterator[None]:
    """Let an error of writing within name `path`: a full disk names no file, or the one read."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the system's: a coder's, such as Pillow's
            raise InputError(f"{path}: cannot be written: {error}") from None
        if error.filename is None or error.errno in _NO_ROOM:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def _hide_temporary_name(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors within the block name `path` instead of the `temporary` path it is written to."""
    try:
        yield
    except InputError as error:
        error.args = (str(error).replace(str(temporary), str(path)),)
        raise
    except OSError as error:
        error.filename = str(error.filename or path).replace(str(temporary), str(path))
        raise


def copy_file(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`; it is the old file or the whole new one."""
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` when the block succeeds.

    When the block fails, `path` stays as it was and the new folder is removed.
    """
    staging = _temporary(path)
    fresh, old = staging / "new", staging / "old"
    try:
        with _hide_temporary_name(path, staging), _hide_temporary_name(path, fresh):
            fresh.mkdir(parents=True)
            yield fresh
            if os.path.lexists(path):
                os.replace(path, old)
            os.replace(fresh, path)
    finally:
        if os.path.lexists(old) and not os.path.lexists(path):  # interrupted between the two
            os.replace(old, path)
        shutil.rmtree(staging, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A name beside `path` for this process; what killed ones left under theirs is removed.

    A folder that one of them was just about to replace comes back to its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = os.fsencode(path.name)
    long = len(encoded) > _NAME_BYTES
    name = hashlib.sha256(encoded).hexdigest() if long else path.name
    for left in _left_over(path.parent).pop(name, []):
        if os.path.lexists(left / "old") and not os.path.lexists(path):
            os.replace(left / "old", path)
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    return path.with_name(f".{name}.{os.getpid()}.tmp")


@functools.cache
def _left_over(folder: Path) -> dict[str, list[Path]]:
    """What dead processes left under temporary names in `folder`, by the name that they stand for.

    Listed once a process: a folder of many files is not listed for each of them, and what has this
    process's number is none of its own yet.
    """
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        name = re.fullmatch(r"\.(.+)\.(\d+)\.tmp", path.name)
        if name and (int(name[2]) == os.getpid() or not psutil.pid_exists(int(name[2]))):
            found.setdefault(name[1], []).append(path)
    return found


def list_names(folder: Path) -> Iterator[str]:
    """Names of what lies in `folder`, in no order; none where it is no folder.

    One after the other: `Path.glob` has them all at a time.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def file_sha256(path: Path) -> str:
    """SHA-256 of the file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` with sorted keys; NaN and infinity are refused (they are not JSON)."""
    with atomic_file(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value in `path`. Raises InputError when it is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; dvc repro makes it") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); dvc repro makes it again") from None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
