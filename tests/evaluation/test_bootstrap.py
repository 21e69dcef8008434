import numpy as np
import pytest

from roadseg.evaluation.bootstrap import RESAMPLES, miou_draws, miou_interval, win_probability
from roadseg.evaluation.metrics import segmentation_metrics


def make_confusions(count: int, seed: int = 0) -> np.ndarray:
    """Confusion matrices (P, 4, 4) of images whose accuracy differs by class."""
    rng = np.random.default_rng(seed)
    confusions = rng.integers(0, 20, (count, 4, 4))
    confusions[:, range(4), range(4)] += rng.integers(0, 200, (count, 4))
    return confusions


def test_interval_of_equal_images_is_a_point():
    one = make_confusions(1)
    miou = segmentation_metrics(one[0], 0)["miou"]
    for confusions in (one, one.repeat(5, 0)):
        # ratios of a sum of equal matrices are equal up to rounding
        assert miou_interval(confusions, 0, 0) == pytest.approx((miou, miou), rel=1e-12)


def test_interval_of_a_correct_and_a_wrong_image_is_0_to_1():
    """A quarter of the draws contains only the correct image, another quarter only the wrong."""
    confusions = np.array([[[4, 0], [0, 4]], [[0, 4], [4, 0]]])
    assert miou_interval(confusions, None, 0) == (0, 1)


def test_interval_agrees_with_a_loop_over_images():
    confusions = make_confusions(7)
    rng = np.random.default_rng(3)
    mious = []
    for _ in range(RESAMPLES):
        total = np.zeros((4, 4), dtype=int)
        for index in rng.integers(7, size=7):
            total += confusions[index]
        mious.append(segmentation_metrics(total, 0)["miou"])
    assert miou_interval(confusions, 0, 3) == tuple(np.percentile(mious, [2.5, 97.5]))


def test_interval_is_a_function_of_matrices_and_seed_and_contains_miou():
    confusions = make_confusions(30)
    low, high = miou_interval(confusions, 0, 0)
    assert (low, high) == miou_interval(confusions.copy(), 0, 0)
    assert (low, high) != miou_interval(confusions, 0, 1)
    assert low < segmentation_metrics(confusions.sum(0), 0)["miou"] < high


def test_interval_is_half_as_wide_for_four_times_as_many_images():
    few, many = (miou_interval(make_confusions(n, seed=n), 0, 0) for n in (100, 400))
    # percentiles of 1,000 draws have an error of about 5 %, and the images differ
    assert (many[1] - many[0]) / (few[1] - few[0]) == pytest.approx(1 / 2, rel=0.25)


def test_draws_without_counted_pixels_are_excluded():
    confusions = np.zeros((2, 3, 3), dtype=int)
    confusions[0] = np.diag([5, 5, 5])
    confusions[1, 0, 0] = 9  # void only
    assert miou_interval(confusions, 0, 0) == (1, 1)
    assert np.isnan(miou_interval(confusions[1:], 0, 0)).all()


def test_win_probability_by_hand():
    nan = float("nan")
    draws = np.array([[0.2, 0.5, 0.3, nan], [0.4, 0.5, 0.1, 0.2], [0.1, 0.6, nan, nan]])
    assert [win_probability(draws, winner) for winner in range(3)] == [0.25, 0.5, 0.25]
    assert win_probability(draws[:1], 0) == 1
    # the first candidate wins a tie, as in best_epoch
    assert win_probability(np.array([[0.5], [0.5]]), 0) == 1


def test_models_evaluated_on_the_same_images_get_the_same_draws():
    confusions = make_confusions(5)
    better = confusions + 50 * np.eye(4, dtype=int)
    draws = np.stack([miou_draws(c, None, 0) for c in (confusions, better)])
    assert win_probability(draws, 1) == 1
