"""Errors of one image, by hand."""

import numpy as np
import pytest

from roadseg.evaluation import image_errors as module
from roadseg.evaluation.image_errors import image_errors

# void, road, sky, car, pole; rows are true classes
CONFUSION = np.array(
    [
        [5, 2, 0, 0, 7],  # true void does not count, not even as an invented pole
        [1, 6, 3, 4, 0],
        [0, 0, 0, 2, 0],  # sky is missed
        [0, 0, 0, 0, 0],  # car is invented
        [0, 0, 0, 0, 0],  # pole is absent
    ]
)


def test_numbers_are_those_of_the_confusion_matrix_without_true_void():
    errors = image_errors(CONFUSION, 0)
    assert errors.pixels == 16
    assert errors.ious == [None, 0.4286, 0, 0, None]
    assert errors.miou == pytest.approx(6 / 14 / 3, abs=5e-5)
    assert errors.annotated == [0, 1, 2]
    assert errors.confusions == [(1, 3, 4), (1, 2, 3), (2, 3, 2), (1, 0, 1)]
    assert errors.missed == [(2, 2)]
    assert errors.invented == [(3, 6)]


def test_void_is_an_ordinary_class_of_a_map_without_void():
    errors = image_errors(CONFUSION, None)
    assert errors.pixels == 30
    assert errors.ious[0] == round(5 / 15, 4)
    assert errors.confusions[:2] == [(0, 4, 7), (1, 3, 4)]
    assert errors.invented == [(4, 7), (3, 6)]


def test_image_without_counted_pixels_has_no_metrics_and_no_errors():
    only_void = np.diag([9, 0, 0])
    only_void[0, 1] = 3
    errors = image_errors(only_void, 0)
    assert (errors.pixels, errors.miou, errors.ious) == (0, None, [None] * 3)
    assert errors.confusions == errors.missed == errors.invented == []
    assert errors.annotated == [0]


def test_only_the_largest_confusions_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_CONFUSIONS", 2)
    assert image_errors(CONFUSION, 0).confusions == [(1, 3, 4), (1, 2, 3)]
