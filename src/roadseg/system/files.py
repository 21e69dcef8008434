"""Atomic writes of files and directories, JSON files, hashes and paths."""

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
"""Longest original name kept in a temporary file name, bytes (the limit is 255 overall)."""


def repository_path(path: str) -> Path:
    """Resolve `path` relative to the root of the main repository.

    DVC sets DVC_ROOT to the main repository even if it runs the experiment in a copy of it
    (`dvc exp run --temp`, `--queue`). Without DVC, the root is the working directory.
    """
    try:
        return Path(os.environ.get("DVC_ROOT", ".")) / Path(path).expanduser()
    except RuntimeError as error:  # ~nobody
        raise InputError(f"{path}: {error}") from None


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which replaces `path` if the block succeeds.

    The content is flushed to disk before the rename, so `path` is always the complete old or the
    complete new file. If the name depends on the content, write a temporary file of your own and
    call `replace_file`.
    """
    temporary = _temporary_path(path)
    try:
        with _hide_temporary_name(path, temporary), attach_path(path):
            yield temporary
            replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(temporary: Path, path: Path) -> None:
    """Flush the content of `temporary` to disk, then rename it to `path`."""
    with temporary.open("r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())
    os.replace(temporary, path)


@contextlib.contextmanager
def attach_path(path: Path) -> Iterator[None]:
    """Attach `path` to OSErrors raised while writing (ENOSPC names no file, or the one read)."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by a library such as Pillow, not by the system
            raise InputError(f"{path}: cannot be written: {error}") from None
        if error.filename is None or error.errno in _NO_ROOM:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def _hide_temporary_name(path: Path, temporary: Path) -> Iterator[None]:
    """Replace the `temporary` path by `path` in error messages."""
    try:
        yield
    except InputError as error:
        error.args = (str(error).replace(str(temporary), str(path)),)
        raise
    except OSError as error:
        error.filename = str(error.filename or path).replace(str(temporary), str(path))
        raise


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of `source` to `target` atomically."""
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty directory next to `path`, which replaces `path` if the block succeeds.

    If the block fails, `path` is unchanged and the new directory is removed.
    """
    staging = _temporary_path(path)
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


def _temporary_path(path: Path) -> Path:
    """Return a path next to `path` for this process; remove the leftovers of killed processes.

    If a killed process had moved the old directory away, it is moved back to `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = os.fsencode(path.name)
    is_long = len(encoded) > _NAME_BYTES
    name = hashlib.sha256(encoded).hexdigest() if is_long else path.name
    for leftover in _find_leftovers(path.parent).pop(name, []):
        if os.path.lexists(leftover / "old") and not os.path.lexists(path):
            os.replace(leftover / "old", path)
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    return path.with_name(f".{name}.{os.getpid()}.tmp")


@functools.cache
def _find_leftovers(folder: Path) -> dict[str, list[Path]]:
    """Map original names to the temporary files of dead processes in `folder`.

    Cached, so that a directory is listed once and not for each file written to it. At that time
    this process has written nothing, so a file with its id is from an earlier process.
    """
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        name = re.fullmatch(r"\.(.+)\.(\d+)\.tmp", path.name)
        if name and (int(name[2]) == os.getpid() or not psutil.pid_exists(int(name[2]))):
            found.setdefault(name[1], []).append(path)
    return found


def list_names(folder: Path) -> Iterator[str]:
    """Yield the names in the directory `folder`, unsorted; nothing if it is not a directory.

    Unlike `Path.glob`, this does not hold all names in memory.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of the file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON with sorted keys. Raises ValueError for NaN and infinity."""
    with atomic_file(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read the JSON file `path`. Raises InputError if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run dvc repro to create it") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); run dvc repro to rebuild it") from None


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
