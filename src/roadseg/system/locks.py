"""One process at a time: a lock that the system lifts when its holder dies, however it dies.

A trainer's loader processes share it; they notice its death within five seconds.
"""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from roadseg.system.files import attach_path

_POLL_S = 0.2


@contextlib.contextmanager
def hold_lock(path: Path, work: str, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file at `path`; while another process holds it, wait and say for whom.

    Args:
        work: who waits, and what the other process does: `train: still writes models`.
        while_waiting: called again and again; may raise to give up.
    """
    told, holder, (who, what) = False, "another process", work.split(": ", 1)
    while (file := acquire_lock(path)) is None:
        if not told:
            with contextlib.suppress(FileNotFoundError):
                holder = path.read_text(encoding="utf-8").strip() or holder
            print(f"{who}: {holder} {what}; waiting for its end", file=sys.stderr, flush=True)
            told = True
        while_waiting()
        time.sleep(_POLL_S)
    with file:  # closing lifts the lock
        yield


def acquire_lock(path: Path) -> IO[str] | None:
    """The locked file, which names this process; None while another process holds or removes it."""
    with attach_path(path), contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a", encoding="utf-8"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                return None  # its folder was removed and made again meanwhile
        except FileNotFoundError:
            if path.is_symlink():  # to nothing; waiting would not help
                raise
            return None
        except BlockingIOError:
            return None
        file.truncate(0)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        stack.pop_all()
        return file
