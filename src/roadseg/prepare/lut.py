"""A 256-entry lookup table for masks, as a numba kernel.

numba is slow to import, so import this module late. The kernel is compiled on its first call.
"""

import contextlib

import numpy as np
from numba import njit


@njit(nogil=True)
def _look_up_in_place(values: np.ndarray, table: np.ndarray) -> None:
    for i in range(values.size):
        values[i] = table[values[i]]


with contextlib.suppress(RuntimeError):  # no writable directory; each process compiles
    _look_up_in_place.enable_caching()


def look_up(mask: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return table[mask] as a new, C-contiguous array.

    It is faster than numpy's indexing, which first converts the mask to 64-bit indices.

    Args:
        mask: (H, W) uint8, of any memory layout.
        table: (256,) uint8.
    """
    if mask.dtype != np.uint8 or table.dtype != np.uint8 or table.shape != (256,):
        raise TypeError(f"expected uint8, got {mask.dtype} mask, {table.dtype} {table.shape} table")
    result = np.array(mask, order="C")
    _look_up_in_place(result.reshape(-1), table)
    return result
