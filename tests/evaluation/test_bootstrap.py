import numpy as np
import pytest

from roadseg.evaluation.bootstrap import RESAMPLES, miou_draws, miou_interval, win_probability
from roadseg.evaluation.metrics import segmentation_metrics


def made_confusions(count: int, seed: int = 0) -> np.ndarray:
    """(P, 4, 4) int64 of pictures that differ in how much of each class they get right."""
    rng = np.random.default_rng(seed)
    confusions = rng.integers(0, 20, (count, 4, 4))
    confusions[:, range(4), range(4)] += rng.integers(0, 200, (count, 4))
    return confusions


def test_pictures_that_are_all_alike_leave_nothing_to_chance():
    one = made_confusions(1)
    miou = segmentation_metrics(one[0], 0)["miou"]
    for confusions in (one, one.repeat(5, 0)):
        # a sum of equal matrices has the same ratios, up to the division's rounding
        assert miou_interval(confusions, 0, 0) == pytest.approx((miou, miou), rel=1e-12)


def test_two_pictures_by_hand():
    """One all right, one all wrong: a quarter of the draws has only the first, another none."""
    confusions = np.array([[[4, 0], [0, 4]], [[0, 4], [4, 0]]])
    assert miou_interval(confusions, None, 0) == (0, 1)


def test_agrees_with_drawing_pictures_one_by_one():
    confusions = made_confusions(7)
    rng = np.random.default_rng(3)
    mious = []
    for _ in range(RESAMPLES):
        total = np.zeros((4, 4), dtype=int)
        for picture in rng.integers(7, size=7):
            total += confusions[picture]
        mious.append(segmentation_metrics(total, 0)["miou"])
    assert miou_interval(confusions, 0, 3) == tuple(np.percentile(mious, [2.5, 97.5]))


def test_a_function_of_matrices_and_seed_round_the_figure():
    confusions = made_confusions(30)
    low, high = miou_interval(confusions, 0, 0)
    assert (low, high) == miou_interval(confusions.copy(), 0, 0)
    assert (low, high) != miou_interval(confusions, 0, 1)
    assert low < segmentation_metrics(confusions.sum(0), 0)["miou"] < high


def test_four_times_as_many_pictures_halve_the_interval():
    few, many = (miou_interval(made_confusions(n, seed=n), 0, 0) for n in (100, 400))
    # a percentile of 1,000 draws is off by some 5 %, and other pictures vary otherwise
    assert (many[1] - many[0]) / (few[1] - few[0]) == pytest.approx(1 / 2, rel=0.25)


def test_a_draw_in_which_nothing_counts_is_left_out():
    confusions = np.zeros((2, 3, 3), dtype=int)
    confusions[0] = np.diag([5, 5, 5])
    confusions[1, 0, 0] = 9  # only void
    assert miou_interval(confusions, 0, 0) == (1, 1)
    assert np.isnan(miou_interval(confusions[1:], 0, 0)).all()


def test_how_sure_a_choice_is():
    nan = float("nan")
    draws = np.array([[0.2, 0.5, 0.3, nan], [0.4, 0.5, 0.1, 0.2], [0.1, 0.6, nan, nan]])
    assert [win_probability(draws, winner) for winner in range(3)] == [0.25, 0.5, 0.25]
    assert win_probability(draws[:1], 0) == 1
    # the first of equals, as best_epoch chooses
    assert win_probability(np.array([[0.5], [0.5]]), 0) == 1


def test_models_judged_on_the_same_pictures_meet_the_same_draws():
    confusions = made_confusions(5)
    better = confusions + 50 * np.eye(4, dtype=int)
    draws = np.stack([miou_draws(c, None, 0) for c in (confusions, better)])
    assert win_probability(draws, 1) == 1
