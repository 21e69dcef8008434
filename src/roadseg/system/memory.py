"""Available memory, out-of-memory errors, and settings of the allocator."""

import contextlib
import ctypes
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from roadseg.system.errors import InputError

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt(3)."""

_OUT_OF_MEMORY = re.compile(
    r"(can't|cannot) allocate memory|out of memory|bad_alloc|can't start new thread|"
    r"could not (create|execute) a primitive|failed to map segment|_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
"""Messages of errors without a class of their own: from torch, oneDNN, cuBLAS and cuDNN, loader
processes, and late imports."""


def is_out_of_memory(error: BaseException) -> bool:
    """True if `error` (of Python, numpy, torch or the system) means that memory ran out."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    may_be = isinstance(error, RuntimeError | OSError | ImportError)
    return may_be and bool(_OUT_OF_MEMORY.search(str(error)))


@contextlib.contextmanager
def out_of_memory_as(message: str) -> Iterator[None]:
    """Turn out-of-memory errors raised in the block into an InputError.

    Args:
        message: the whole error message; it should name the option to lower.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(message) from None


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next allocation; other C libraries are not changed.

    By default glibc returns large blocks to the system, which clears their pages again at the next
    allocation: a third of the time of a training step at KITTI's image size.
    """
    if os.name == "nt":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)  # never allocate a block with mmap
        mallopt(_TRIM_THRESHOLD, -1)  # never shrink the heap
        mallopt(_TOP_PAD, 64 << 20)  # grow the heap in steps of this many bytes


def resident_bytes() -> int:
    """Memory of this process; bytes."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def peak_bytes() -> int:
    """Largest memory that this process has had; bytes."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return int(psutil.Process().memory_info()._asdict()["peak_wset"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resource_limit(name: str) -> int | None:
    """Soft limit of this process, such as RLIMIT_NOFILE; None if there is none, as on Windows."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    limit, _ = resource.getrlimit(getattr(resource, name))
    return None if limit == resource.RLIM_INFINITY else limit


def available_bytes() -> int:
    """Memory that can be allocated without swapping, on this computer or in this container; bytes.

    `ulimit -v` counts too, because torch's convolutions may crash when it stops an allocation.
    """
    available = psutil.virtual_memory().available
    address_space = resource_limit("RLIMIT_AS")
    if address_space is not None:
        available = min(available, max(0, address_space - psutil.Process().memory_info().vms))
    group = Path("/sys/fs/cgroup")  # version 2; a container sees its own group here
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return available
    if limit == "max":
        return available
    page_cache = int(statistics["active_file"]) + int(statistics["inactive_file"])
    return max(0, min(available, int(limit) - (used - page_cache)))
