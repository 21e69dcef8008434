"""The computer's memory: how much there is, and how the allocator treats this process."""

import contextlib
import ctypes
import errno
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from roadseg.system.errors import InputError

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Of glibc's mallopt(3)."""

_SHORT = re.compile(
    r"(can't|cannot) allocate memory|out of memory|bad_alloc|can't start new thread|"
    r"could not (create|execute) a primitive|failed to map segment",
    re.IGNORECASE,
)
"""In errors that have no class of their own: torch's and oneDNN's, those of a loader process,
and of a module that is loaded late."""


def is_out_of_memory(error: BaseException) -> bool:
    """True if `error` means too little memory, be it of Python, numpy, torch or the system."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    told = isinstance(error, RuntimeError | OSError | ImportError)
    return told and bool(_SHORT.search(str(error)))


@contextlib.contextmanager
def out_of_memory_as(message: str) -> Iterator[None]:
    """Turn every error in the block that `is_out_of_memory` recognises into an InputError.

    Args:
        message: the whole line; it should name what to lower.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(message) from None


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next allocation to take.

    glibc hands a large block back to the system, which clears its pages anew at the next
    allocation: a third of a training step at KITTI's size. Elsewhere this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)  # no block in a mapping of its own
        mallopt(_TRIM_THRESHOLD, -1)  # and no end of the heap given back
        mallopt(_TOP_PAD, 64 << 20)  # bytes that the heap grows by


def available_bytes() -> int:
    """Memory that may be taken without swapping, of the computer or of the container we are in.

    Nor beyond `ulimit -v`: torch's convolutions crash where that stops them.
    """
    room = psutil.virtual_memory().available
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        room = min(room, max(0, most - psutil.Process().memory_info().vms))
    group = Path("/sys/fs/cgroup")  # version 2; in a container, its own
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return room
    if limit == "max":
        return room
    used -= int(facts["active_file"]) + int(facts["inactive_file"])  # the system's copies of files
    return max(0, min(room, int(limit) - used))
