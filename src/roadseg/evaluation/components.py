"""Connected components of a map of values, such as class ids.

`scipy.ndimage.label` exists; this one separates regions of different values in one pass, and needs
no further package.
"""

import numpy as np


def connected_components(values: np.ndarray, included: np.ndarray) -> np.ndarray:
    """Number the 4-connected regions of equal value, in the order of their first pixels.

    Regions are found as in parallel union-find (Shiloach and Vishkin 1982, "An O(log n) parallel
    connectivity algorithm"): each root adopts the roots of larger index next to it, paths are
    compressed, and edges within one region are dropped, until none is left.

    Args:
        values: (H, W), any integer type.
        included: (H, W) bool; other pixels belong to no region.

    Returns:
        (H, W) int64, 0, 1, ... for the regions and -1 for pixels that are not included.
    """
    left, right = _neighbors(values, included)
    root = np.arange(values.size)  # of each pixel; the smallest index in its region at the end
    while left.size:
        np.minimum.at(root, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(compressed := root[root], root):
            root = compressed
        left, right = root[left], root[right]
        separate = left != right
        left, right = left[separate], right[separate]
    flat = included.reshape(-1)
    numbers = np.full(values.size, -1)
    numbers[flat] = np.unique(root[flat], return_inverse=True)[1]
    return numbers.reshape(values.shape)


def _neighbors(values: np.ndarray, included: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat indices of both pixels of each pair of included neighbors of equal value."""
    index = np.arange(values.size).reshape(values.shape)
    pairs = []
    for first, second in (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]):
        joined = (values[first] == values[second]) & included[first] & included[second]
        pairs.append((index[first][joined], index[second][joined]))
    (left, above), (right, below) = zip(*pairs, strict=True)
    return np.concatenate([left, above]), np.concatenate([right, below])
