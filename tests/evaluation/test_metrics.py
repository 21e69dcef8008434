"""Metrics of a confusion matrix: values computed by hand, and invariants."""

import math

import numpy as np
import torch

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.evaluation.metrics import (
    class_accuracy,
    confusion_matrix,
    dice,
    exclude_true_class,
    iou,
    mean_present,
    pixel_accuracy,
    segmentation_metrics,
)

NAN = math.nan
# Three classes, and a fourth that never occurs; rows are the true classes.
HAND = np.array([[3, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


def test_confusion_matrix_by_hand():
    truth = torch.tensor([[0, 0, 1], [2, IGNORE_INDEX, 0]])
    predicted = torch.tensor([[0, 1, 1], [0, 2, 0]])
    expected = [[2, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert confusion_matrix(truth, predicted, 3).tolist() == expected


def test_metrics_by_hand():
    np.testing.assert_allclose(iou(HAND), [3 / 5, 2 / 3, 1 / 2, NAN])
    np.testing.assert_allclose(dice(HAND), [6 / 8, 4 / 5, 2 / 3, NAN])
    np.testing.assert_allclose(class_accuracy(HAND), [3 / 4, 1, 1 / 2, NAN])
    assert pixel_accuracy(HAND) == 6 / 8
    metrics = segmentation_metrics(HAND, None)
    np.testing.assert_allclose(metrics["miou"], (3 / 5 + 2 / 3 + 1 / 2) / 3)
    assert metrics["miou"] == metrics["miou_with_void"]


def test_metrics_without_void_by_hand():
    """Class 0 is void: its true pixels do not count, but predicting it elsewhere is an error."""
    metrics = segmentation_metrics(HAND, 0)
    # without row 0: class 1 has 2 correct pixels; class 2 has 1, and 1 predicted as void
    np.testing.assert_allclose(metrics["miou"], (2 / 2 + 1 / 2) / 2)
    np.testing.assert_allclose(metrics["pixel_accuracy"], 3 / 4)
    np.testing.assert_allclose(metrics["mean_class_accuracy"], (1 + 1 / 2) / 2)
    np.testing.assert_allclose(metrics["mean_dice"], (4 / 4 + 2 / 3) / 2)
    np.testing.assert_allclose(metrics["miou_with_void"], (3 / 5 + 2 / 3 + 1 / 2) / 3)


def test_excluding_void_equals_ignoring_its_pixels():
    rng = np.random.default_rng(0)
    truth, predicted = torch.from_numpy(rng.integers(0, 4, (2, 500)))
    with_void = confusion_matrix(truth, predicted, 4)
    ignored = confusion_matrix(truth.where(truth != 0, IGNORE_INDEX), predicted, 4)
    assert np.array_equal(exclude_true_class(with_void.numpy(), 0), ignored.numpy())


def test_iou_is_nan_for_an_absent_class_and_0_for_one_that_is_only_predicted():
    absent = np.array([[5, 0], [0, 0]])
    assert np.array_equal(iou(absent), [1.0, NAN], equal_nan=True)
    assert segmentation_metrics(absent, None)["miou"] == 1.0
    predicted_only = np.array([[4, 1], [0, 0]])
    assert np.array_equal(iou(predicted_only), [4 / 5, 0.0])
    assert np.array_equal(class_accuracy(predicted_only), [4 / 5, NAN], equal_nan=True)


def test_metrics_of_no_pixels_are_nan():
    assert math.isnan(mean_present(iou(np.zeros((2, 2), dtype=int))))
    assert math.isnan(pixel_accuracy(np.zeros((2, 2), dtype=int)))


def test_confusion_matrices_of_batches_add_up_to_that_of_a_loop():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 5, (2, 6, 50))
    truth[0, :7] = IGNORE_INDEX
    expected = np.zeros((5, 5), dtype=int)
    for t, p in zip(truth.reshape(-1), predicted.reshape(-1), strict=True):
        if t != IGNORE_INDEX:
            expected[t, p] += 1
    batches = [
        confusion_matrix(torch.from_numpy(t), torch.from_numpy(p), 5)
        for t, p in zip(truth, predicted, strict=True)
    ]
    assert np.array_equal(sum(batches).numpy(), expected)


def test_permuting_the_classes_permutes_their_metrics():
    rng = np.random.default_rng(2)
    confusion = rng.integers(0, 100, (6, 6))
    order = rng.permutation(6)
    permuted = confusion[np.ix_(order, order)]
    for metric in (iou, dice, class_accuracy):
        np.testing.assert_allclose(metric(permuted), metric(confusion)[order])
    # Dice D and IoU J are related by D = 2 J / (1 + J)
    np.testing.assert_allclose(dice(confusion), 2 * iou(confusion) / (1 + iou(confusion)))


def test_counts_beyond_the_precision_of_float32_are_exact():
    confusion = np.array([[2**40 + 1, 0], [1, 0]])
    assert pixel_accuracy(confusion) < 1
    assert iou(confusion)[0] == (2**40 + 1) / (2**40 + 2)
