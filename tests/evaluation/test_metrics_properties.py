"""Property tests: the metrics agree with their definitions on sets of pixels.

Shapes: K classes, N pixels.
"""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.evaluation.bootstrap import miou_draws, miou_interval
from roadseg.evaluation.metrics import (
    class_accuracy,
    confusion_matrix,
    dice,
    exclude_true_class,
    iou,
    pixel_accuracy,
    segmentation_metrics,
)
from tests.hypothesis_profiles import FEW, LAW

Pixels = list[tuple[int, int]]
Case = tuple[int, Pixels]


@st.composite
def class_pairs(draw: st.DrawFn, max_size: int = 40) -> Case:
    """K, and the true class (or IGNORE_INDEX) and predicted class of each pixel."""
    count = draw(st.integers(1, 6))
    truth = st.sampled_from([*range(count), IGNORE_INDEX])
    pixels = st.lists(st.tuples(truth, st.integers(0, count - 1)), max_size=max_size)
    return count, draw(pixels)


def make_confusion(count: int, pixels: Pixels) -> np.ndarray:
    truth, predicted = torch.tensor(pixels, dtype=torch.int64).reshape(-1, 2).T
    return confusion_matrix(truth, predicted, count).numpy()


def fraction(count: int, total: int) -> float:
    return count / total if total else math.nan


def compute_by_definition(
    count: int, pixels: Pixels, void: int | None = None
) -> dict[str, list[float]]:
    """IoU, Dice and recall of each class, from sets of pixel indices."""
    counted = {i: pixel for i, pixel in enumerate(pixels) if pixel[0] not in (IGNORE_INDEX, void)}
    metrics: dict[str, list[float]] = {"iou": [], "dice": [], "recall": []}
    for class_id in range(count):
        true = {i for i, (truth, _) in counted.items() if truth == class_id}
        guessed = {i for i, (_, guess) in counted.items() if guess == class_id}
        both = len(true & guessed)
        metrics["iou"].append(fraction(both, len(true | guessed)))
        metrics["dice"].append(fraction(2 * both, len(true) + len(guessed)))
        metrics["recall"].append(fraction(both, len(true)))
    return metrics


def mean(values: list[float]) -> float:
    present = [value for value in values if not math.isnan(value)]
    return math.fsum(present) / len(present) if present else math.nan


@LAW
@given(class_pairs())
def test_confusion_matrix_counts_each_pixel_that_is_not_ignored(drawn: Case):
    count, pixels = drawn
    expected = np.zeros((count, count), dtype=int)
    for truth, guess in pixels:
        if truth != IGNORE_INDEX:
            expected[truth, guess] += 1
    assert np.array_equal(make_confusion(count, pixels), expected)


@LAW
@given(class_pairs())
def test_metrics_of_a_class_agree_with_sets_of_pixels(drawn: Case):
    count, pixels = drawn
    confusion, expected = make_confusion(count, pixels), compute_by_definition(count, pixels)
    for metric, name in ((iou, "iou"), (dice, "dice"), (class_accuracy, "recall")):
        np.testing.assert_array_equal(metric(confusion), expected[name])
    counted = [pixel for pixel in pixels if pixel[0] != IGNORE_INDEX]
    correct = sum(truth == guess for truth, guess in counted)
    np.testing.assert_array_equal(pixel_accuracy(confusion), fraction(correct, len(counted)))


@LAW
@given(class_pairs(), st.data())
def test_metrics_without_void_agree_with_the_definition(drawn: Case, data: st.DataObject):
    count, pixels = drawn
    void = data.draw(st.sampled_from([None, *range(count)]))
    found = segmentation_metrics(make_confusion(count, pixels), void)
    expected = compute_by_definition(count, pixels, void)
    kept = {
        name: [value for class_id, value in enumerate(values) if class_id != void]
        for name, values in expected.items()
    }
    counted = [pixel for pixel in pixels if pixel[0] not in (IGNORE_INDEX, void)]
    reference = {
        "pixel_accuracy": fraction(sum(t == p for t, p in counted), len(counted)),
        "mean_class_accuracy": mean(kept["recall"]),
        "mean_dice": mean(kept["dice"]),
        "miou": mean(kept["iou"]),
        "miou_with_void": mean(compute_by_definition(count, pixels)["iou"]),
    }
    assert found.keys() == reference.keys()
    for name, value in reference.items():
        # the order of summation differs
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)


@LAW
@given(class_pairs(), st.data())
def test_permuting_the_classes_permutes_their_metrics(drawn: Case, data: st.DataObject):
    count, pixels = drawn
    names = data.draw(st.permutations(range(count)))  # old class -> new class
    void = data.draw(st.sampled_from([None, *range(count)]))
    permuted = [(t if t == IGNORE_INDEX else names[t], names[p]) for t, p in pixels]
    before, after = make_confusion(count, pixels), make_confusion(count, permuted)
    for metric in (iou, dice, class_accuracy):
        np.testing.assert_array_equal(metric(after)[list(names)], metric(before))
    metrics = segmentation_metrics(before, void)
    others = segmentation_metrics(after, None if void is None else names[void])
    for name, value in metrics.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-12, err_msg=name)


@LAW
@given(class_pairs(), st.data())
def test_confusion_matrices_of_parts_add_up_in_any_order(drawn: Case, data: st.DataObject):
    count, pixels = drawn
    shuffled = data.draw(st.permutations(pixels))
    cut = data.draw(st.integers(0, len(pixels)))
    parts = make_confusion(count, shuffled[:cut]) + make_confusion(count, shuffled[cut:])
    assert np.array_equal(parts, make_confusion(count, pixels))


@LAW
@given(class_pairs(), st.data())
def test_ignored_pixels_do_not_change_the_confusion_matrix(drawn: Case, data: st.DataObject):
    count, pixels = drawn
    guesses = data.draw(st.lists(st.integers(0, count - 1)))
    more = [*pixels, *((IGNORE_INDEX, guess) for guess in guesses)]
    assert np.array_equal(make_confusion(count, more), make_confusion(count, pixels))


@LAW
@given(class_pairs(), st.data())
def test_absent_classes_do_not_change_the_metrics(drawn: Case, data: st.DataObject):
    count, pixels = drawn
    more = count + data.draw(st.integers(1, 5))
    void = data.draw(st.sampled_from([None, *range(count)]))
    metrics = segmentation_metrics(make_confusion(count, pixels), void)
    others = segmentation_metrics(make_confusion(more, pixels), void)
    for name, value in metrics.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-12, err_msg=name)
    assert np.isnan(iou(make_confusion(more, pixels))[count:]).all()


@LAW
@given(class_pairs(), st.data())
def test_metrics_are_between_0_and_1(drawn: Case, data: st.DataObject):
    count, pixels = drawn
    confusion = make_confusion(count, pixels)
    void = data.draw(st.sampled_from([None, *range(count)]))
    values = [value for value in segmentation_metrics(confusion, void).values() if value == value]
    assert all(0 <= value <= 1 for value in values)
    present = ~np.isnan(iou(confusion))
    assert (iou(confusion)[present] <= dice(confusion)[present]).all()
    perfect = make_confusion(count, [(truth, truth) for truth, _ in pixels if truth < count])
    assert set(iou(perfect)[~np.isnan(iou(perfect))]) <= {1.0}
    assert exclude_true_class(confusion, void).sum() == sum(t not in (void, 255) for t, _ in pixels)


@FEW
@given(st.lists(class_pairs(max_size=10), min_size=1, max_size=4), st.data())
def test_bootstrap_interval_is_between_0_and_1(parts: list[Case], data: st.DataObject):
    count = max(count for count, _ in parts)
    void = data.draw(st.sampled_from([None, *range(count)]))
    confusions = np.stack([make_confusion(count, pixels) for _, pixels in parts])
    low, high = miou_interval(confusions, void, seed=0)
    if not math.isnan(low):
        assert 0 <= low <= high <= 1
    # all draws of a single image are equal
    own = segmentation_metrics(confusions[0], void)["miou"]
    draws = miou_draws(confusions[:1], void, seed=0)
    np.testing.assert_allclose(draws, np.full(len(draws), own), rtol=1e-12)
