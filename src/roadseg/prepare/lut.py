"""Lookup tables for the pixels of masks, as numba kernels.

numba is slow to import, so import this module late. A kernel is compiled on its first call.
"""

import contextlib

import numpy as np
from numba import njit


@njit(nogil=True)
def _look_up(values: np.ndarray, table: np.ndarray, result: np.ndarray) -> None:
    for i in range(values.size):
        result[i] = table[values[i]]


@njit(nogil=True)
def _count(values: np.ndarray, counts: np.ndarray) -> None:
    for i in range(values.size):
        counts[values[i]] += 1


IS_SET, IS_APPROXIMATE, IS_UNKNOWN = 1 << 8, 1 << 9, 1 << 10
"""Flags of an entry of a color table, whose lower 8 bits are a class id."""


@njit(nogil=True)
def _color_entry(
    color: np.ndarray, colors: np.ndarray, class_ids: np.ndarray, tolerance: int, unknown: int
) -> int:
    """Return the entry of one color: of the first of the nearest colors within the tolerance."""
    nearest, entry = tolerance + 1, unknown
    for i in range(len(colors)):
        distance = 0
        for channel in range(3):
            difference = np.int64(color[channel]) - np.int64(colors[i, channel])
            distance = max(distance, abs(int(difference)))
        if distance < nearest:
            nearest = distance
            entry = class_ids[i] | IS_SET | (IS_APPROXIMATE if distance else 0)
    return entry


@njit(nogil=True)
def _look_up_colors(
    pixels: np.ndarray,
    table: np.ndarray,
    colors: np.ndarray,
    class_ids: np.ndarray,
    tolerance: int,
    unknown: int,
    result: np.ndarray,
) -> tuple[int, int]:
    num_approximate, first_unknown = 0, -1
    for i in range(len(pixels)):
        red, green, blue = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        code = np.int64(red) << 16 | np.int64(green) << 8 | np.int64(blue)
        entry = int(np.int64(table[code]))
        if entry == 0:  # not set; several threads may set it to the same value
            entry = _color_entry(pixels[i], colors, class_ids, tolerance, unknown)
            table[code] = entry
        if entry & IS_APPROXIMATE:
            num_approximate += 1
        elif entry & IS_UNKNOWN and first_unknown < 0:
            first_unknown = i
        result[i] = entry & 255
    return num_approximate, first_unknown


for _kernel in (_look_up, _count, _color_entry, _look_up_colors):
    with contextlib.suppress(RuntimeError):  # no writable directory; each process compiles
        _kernel.enable_caching()


def look_up(mask: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return table[mask] as a new, C-contiguous array.

    It is faster than numpy's indexing, which first converts the mask to 64-bit indices.

    Args:
        mask: (H, W) uint8 or uint16, of any memory layout.
        table: (256,) or (65536,) uint8.
    """
    _require_table(mask, table, np.uint8)
    values = np.ascontiguousarray(mask)
    result = np.empty(mask.shape, dtype=np.uint8)
    _look_up(values.reshape(-1), table, result.reshape(-1))
    return result


def count_values(mask: np.ndarray) -> np.ndarray:
    """Return the number of pixels of each value, (256,) or (65536,) int64.

    Args:
        mask: (H, W) uint8 or uint16.
    """
    counts = np.zeros(1 << (8 * mask.itemsize), dtype=np.int64)
    _require_table(mask, counts, np.int64)
    _count(np.ascontiguousarray(mask).reshape(-1), counts)
    return counts


def look_up_colors(
    pixels: np.ndarray,
    table: np.ndarray,
    colors: np.ndarray,
    class_ids: np.ndarray,
    tolerance: int,
    unknown: int,
) -> tuple[np.ndarray, int, int]:
    """Map colors to class ids.

    Args:
        pixels: (H, W, 3 or more) uint8, RGB and channels that are ignored.
        table: (2**24,) uint16, zeros at first; keeps the entry of each color that has occurred.
        colors: (C, 3) uint8, the known colors.
        class_ids: (C,) uint8, class id of each known color.
        tolerance: largest difference per channel to a known color.
        unknown: entry of other colors.

    Returns:
        (H, W) uint8 class ids, the number of pixels whose color is approximate, and the index of
        the first pixel of unknown color or -1.
    """
    flat = np.ascontiguousarray(pixels).reshape(-1, pixels.shape[2])
    result = np.empty(pixels.shape[:2], dtype=np.uint8)
    counts = _look_up_colors(flat, table, colors, class_ids, tolerance, unknown, result.reshape(-1))
    return result, *counts


def _require_table(mask: np.ndarray, table: np.ndarray, dtype: type[np.generic]) -> None:
    sizes = {np.dtype(np.uint8): 1 << 8, np.dtype(np.uint16): 1 << 16}
    if table.dtype != dtype or table.shape != (sizes.get(mask.dtype),):
        raise TypeError(f"unexpected {mask.dtype} mask, {table.dtype} {table.shape} table")
