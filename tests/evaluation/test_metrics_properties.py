"""Laws of the figures: they are what their definitions say of sets of pixels, slowly counted.

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
    iou,
    pixel_accuracy,
    segmentation_metrics,
    without_truth,
)
from tests.hypothesis_profiles import FEW, LAW

Pixels = list[tuple[int, int]]


@st.composite
def judged(draw: st.DrawFn, max_size: int = 40) -> tuple[int, Pixels]:
    """K, and the true and the predicted class of each pixel; the true one may be ignored."""
    count = draw(st.integers(1, 6))
    truth = st.sampled_from([*range(count), IGNORE_INDEX])
    pixels = st.lists(st.tuples(truth, st.integers(0, count - 1)), max_size=max_size)
    return count, draw(pixels)


def confusion_of(count: int, pixels: Pixels) -> np.ndarray:
    truth, predicted = torch.tensor(pixels, dtype=torch.int64).reshape(-1, 2).T
    return confusion_matrix(truth, predicted, count).numpy()


def share(hits: int, of: int) -> float:
    return hits / of if of else math.nan


def by_definition(count: int, pixels: Pixels, void: int | None = None) -> dict[str, list[float]]:
    """IoU, Dice and recall of each class, of sets of places."""
    places = {i: pixel for i, pixel in enumerate(pixels) if pixel[0] not in (IGNORE_INDEX, void)}
    found: dict[str, list[float]] = {"iou": [], "dice": [], "recall": []}
    for class_id in range(count):
        true = {i for i, (truth, _) in places.items() if truth == class_id}
        guessed = {i for i, (_, guess) in places.items() if guess == class_id}
        both = len(true & guessed)
        found["iou"].append(share(both, len(true | guessed)))
        found["dice"].append(share(2 * both, len(true) + len(guessed)))
        found["recall"].append(share(both, len(true)))
    return found


def mean(values: list[float]) -> float:
    present = [value for value in values if not math.isnan(value)]
    return math.fsum(present) / len(present) if present else math.nan


@LAW
@given(judged())
def test_the_matrix_counts_each_pixel_that_is_not_ignored_once(drawn: tuple[int, Pixels]):
    count, pixels = drawn
    expected = np.zeros((count, count), dtype=int)
    for truth, guess in pixels:
        if truth != IGNORE_INDEX:
            expected[truth, guess] += 1
    assert np.array_equal(confusion_of(count, pixels), expected)


@LAW
@given(judged())
def test_figures_of_a_class_are_those_of_sets_of_pixels(drawn: tuple[int, Pixels]):
    count, pixels = drawn
    confusion, expected = confusion_of(count, pixels), by_definition(count, pixels)
    for figure, name in ((iou, "iou"), (dice, "dice"), (class_accuracy, "recall")):
        np.testing.assert_array_equal(figure(confusion), expected[name])
    counted = [pixel for pixel in pixels if pixel[0] != IGNORE_INDEX]
    right = sum(truth == guess for truth, guess in counted)
    np.testing.assert_array_equal(pixel_accuracy(confusion), share(right, len(counted)))


@LAW
@given(judged(), st.data())
def test_figures_without_void(drawn: tuple[int, Pixels], data: st.DataObject):
    count, pixels = drawn
    void = data.draw(st.sampled_from([None, *range(count)]))
    found = segmentation_metrics(confusion_of(count, pixels), void)
    expected = by_definition(count, pixels, void)
    kept = {
        name: [value for class_id, value in enumerate(values) if class_id != void]
        for name, values in expected.items()
    }
    counted = [pixel for pixel in pixels if pixel[0] not in (IGNORE_INDEX, void)]
    slow = {
        "pixel_accuracy": share(sum(t == p for t, p in counted), len(counted)),
        "mean_class_accuracy": mean(kept["recall"]),
        "mean_dice": mean(kept["dice"]),
        "miou": mean(kept["iou"]),
        "miou_with_void": mean(by_definition(count, pixels)["iou"]),
    }
    assert found.keys() == slow.keys()
    for name, value in slow.items():
        # sums in another order: the last digits
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)


@LAW
@given(judged(), st.data())
def test_renaming_the_classes_permutes_their_figures(
    drawn: tuple[int, Pixels], data: st.DataObject
):
    count, pixels = drawn
    names = data.draw(st.permutations(range(count)))  # old class -> new class
    void = data.draw(st.sampled_from([None, *range(count)]))
    renamed = [(t if t == IGNORE_INDEX else names[t], names[p]) for t, p in pixels]
    before, after = confusion_of(count, pixels), confusion_of(count, renamed)
    for figure in (iou, dice, class_accuracy):
        np.testing.assert_array_equal(figure(after)[list(names)], figure(before))
    figures = segmentation_metrics(before, void)
    others = segmentation_metrics(after, None if void is None else names[void])
    for name, value in figures.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-12, err_msg=name)


@LAW
@given(judged(), st.data())
def test_parts_add_up_in_any_order(drawn: tuple[int, Pixels], data: st.DataObject):
    count, pixels = drawn
    shuffled = data.draw(st.permutations(pixels))
    cut = data.draw(st.integers(0, len(pixels)))
    parts = confusion_of(count, shuffled[:cut]) + confusion_of(count, shuffled[cut:])
    assert np.array_equal(parts, confusion_of(count, pixels))


@LAW
@given(judged(), st.data())
def test_ignored_pixels_change_nothing(drawn: tuple[int, Pixels], data: st.DataObject):
    count, pixels = drawn
    guesses = data.draw(st.lists(st.integers(0, count - 1)))
    more = [*pixels, *((IGNORE_INDEX, guess) for guess in guesses)]
    assert np.array_equal(confusion_of(count, more), confusion_of(count, pixels))


@LAW
@given(judged(), st.data())
def test_classes_that_are_absent_change_nothing(drawn: tuple[int, Pixels], data: st.DataObject):
    """More classes in the map, none of them in any pixel."""
    count, pixels = drawn
    more = count + data.draw(st.integers(1, 5))
    void = data.draw(st.sampled_from([None, *range(count)]))
    figures = segmentation_metrics(confusion_of(count, pixels), void)
    others = segmentation_metrics(confusion_of(more, pixels), void)
    for name, value in figures.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-12, err_msg=name)
    assert np.isnan(iou(confusion_of(more, pixels))[count:]).all()


@LAW
@given(judged(), st.data())
def test_bounds(drawn: tuple[int, Pixels], data: st.DataObject):
    count, pixels = drawn
    confusion = confusion_of(count, pixels)
    void = data.draw(st.sampled_from([None, *range(count)]))
    values = [value for value in segmentation_metrics(confusion, void).values() if value == value]
    assert all(0 <= value <= 1 for value in values)
    present = ~np.isnan(iou(confusion))
    assert (iou(confusion)[present] <= dice(confusion)[present]).all()
    perfect = confusion_of(count, [(truth, truth) for truth, _ in pixels if truth < count])
    assert set(iou(perfect)[~np.isnan(iou(perfect))]) <= {1.0}
    assert without_truth(confusion, void).sum() == sum(t not in (void, 255) for t, _ in pixels)


@FEW
@given(st.lists(judged(max_size=10), min_size=1, max_size=4), st.data())
def test_draws_of_pictures_lie_where_mious_do(parts: list[tuple[int, Pixels]], data: st.DataObject):
    count = max(count for count, _ in parts)
    void = data.draw(st.sampled_from([None, *range(count)]))
    confusions = np.stack([confusion_of(count, pixels) for _, pixels in parts])
    low, high = miou_interval(confusions, void, seed=0)
    if not math.isnan(low):
        assert 0 <= low <= high <= 1
    # of one picture each draw is that picture
    own = segmentation_metrics(confusions[0], void)["miou"]
    draws = miou_draws(confusions[:1], void, seed=0)
    np.testing.assert_allclose(draws, np.full(len(draws), own), rtol=1e-12)
