"""Connected components of small grids."""

import numpy as np

from roadseg.evaluation.components import connected_components


def test_regions_of_equal_value_are_numbered_by_their_first_pixel():
    values = np.array([[1, 1, 2], [2, 1, 2]])
    everywhere = np.ones_like(values, dtype=bool)
    assert connected_components(values, everywhere).tolist() == [[0, 0, 1], [2, 0, 1]]


def test_excluded_pixels_separate_regions():
    values = np.array([[1, 1, 1], [1, 1, 1]])
    included = np.array([[True, False, True], [True, False, True]])
    assert connected_components(values, included).tolist() == [[0, -1, 1], [0, -1, 1]]
    assert connected_components(values, ~included & False).tolist() == [[-1] * 3] * 2


def test_long_spiral_is_one_region():
    spiral = np.zeros((9, 9), dtype=int)
    spiral[::2] = 1
    spiral[1::4, -1] = 1
    spiral[3::4, 0] = 1
    numbers = connected_components(spiral, spiral == 1)
    assert set(numbers[spiral == 1].tolist()) == {0}
