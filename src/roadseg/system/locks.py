"""A lock file for one process at a time, which the system releases when the holder dies.

Loader processes share the lock of their trainer; they notice its death within five seconds.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from roadseg.system.files import attach_path

_POLL_S = 0.2
_LOCKED_BYTE = 1 << 30
"""Offset, beyond the end of the file: on Windows, nobody else can read a byte that is locked."""


@contextlib.contextmanager
def hold_lock(path: Path, work: str, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; wait, with a message, while another process holds it.

    Args:
        work: who waits, and what the other process does: `train: still writes models`.
        while_waiting: called five times per second while waiting; may raise to give up.
    """
    reported, holder, (who, what) = False, "another process", work.split(": ", 1)
    while (file := acquire_lock(path)) is None:
        if not reported:
            with contextlib.suppress(FileNotFoundError):
                holder = path.read_text(encoding="utf-8").strip() or holder
            print(f"{who}: {holder} {what}; waiting until it ends", file=sys.stderr, flush=True)
            reported = True
        while_waiting()
        time.sleep(_POLL_S)
    with file:  # closing releases the lock
        yield


def acquire_lock(path: Path) -> IO[str] | None:
    """Lock `path` until the returned file is closed; None if another process holds the lock."""
    with attach_path(path), contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a", encoding="utf-8"))
            _lock(file)
            if os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                return None  # its directory was removed and created again meanwhile
        except FileNotFoundError:
            if path.is_symlink():  # a dangling link; waiting would not help
                raise
            return None
        except BlockingIOError:
            return None
        file.truncate(0)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        stack.pop_all()
        return file


def _lock(file: IO[str]) -> None:
    """Lock `file` until it is closed; raise BlockingIOError if another process holds the lock."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file.fileno(), _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
