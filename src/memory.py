"""How the system's allocator treats this process."""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Of glibc's mallopt(3)."""


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
