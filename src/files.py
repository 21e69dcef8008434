"""Files that are whole or absent, and the one error that a user sees as a single line."""

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LONGEST_LINE = 600
"""Characters of an error."""


class InputError(Exception):
    """Something from outside is wrong: one line with the file, the value and what would be right.

    Stages print it and exit with 1; anything else that is raised is a fault of ours.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def printable(text: str) -> str:
    """`text` for a terminal: control characters, which could hide or fake some, are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """`printable` text; of a long one the beginning and the end."""
    shown = printable(text)
    half = _LONGEST_LINE // 2
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[:half]} ... {shown[-half:]}"


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
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the place of `path` when the block succeeds.

    The bytes are on disk before the name changes, so `path` is the old file or the new one,
    never a part of either.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:  # not the system's: a coder's, such as Pillow's
            raise InputError(f"{path}: cannot be written: {error}") from None
        error.filename = error.filename or str(path)  # a full disk has no name of its own
        raise
    finally:
        temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`; it is the old file or the whole new one."""
    with replaced_file(target) as temporary:
        shutil.copyfile(source, temporary)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` when the block succeeds.

    When the block fails, `path` stays as it was and the new folder is removed.
    """
    staging = _temporary(path)
    fresh, old = staging / "new", staging / "old"
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    except OSError as error:  # the name that it is to have says more than the temporary one
        if isinstance(error.filename, str):
            error.filename = error.filename.replace(str(fresh), str(path))
        raise
    finally:
        if old.exists() and not path.exists():  # interrupted between the two
            os.replace(old, path)
        shutil.rmtree(staging, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A name beside `path` for this process; what killed ones left under theirs is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in _left_over(path.parent).pop(path.name, []):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@functools.cache
def _left_over(folder: Path) -> dict[str, list[Path]]:
    """What other processes have under temporary names in `folder`, by the name that they stand for.

    Listed once a process: a folder of many files is not listed for each of them.
    """
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        name = re.fullmatch(r"\.(.+)\.(\d+)\.tmp", path.name)
        if name and int(name[2]) != os.getpid():
            found.setdefault(name[1], []).append(path)
    return found


def file_digest(path: Path) -> str:
    """SHA-256 of the file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` with sorted keys; NaN and infinity are refused (they are not JSON)."""
    with replaced_file(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value in `path`. Raises InputError when it is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage that writes it") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); run the stage that writes it") from None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
