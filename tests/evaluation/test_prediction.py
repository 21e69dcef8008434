"""One pass over a data set, by hand: a network whose logits are given."""

import math
from pathlib import Path

import numpy as np
import pytest

from src.evaluation.prediction import evaluated, predicted_mask
from src.files import InputError
from src.labels import IGNORE_INDEX
from tests.evaluation.small import CPU, PAIRS, RedIsTheClass, made_cache


@pytest.mark.parametrize("batch_size", [1, 8])
def test_cross_entropy_and_confusion_by_hand(tmp_path: Path, batch_size: int):
    cache = made_cache(tmp_path, PAIRS)
    evaluation = evaluated(RedIsTheClass(), cache, ["0", "1"], batch_size, CPU)
    # rows are the truth: rest, road, sky
    assert evaluation.confusion.tolist() == [[1, 0, 1], [0, 1, 1], [0, 1, 1]]
    hits, misses = -math.log(3 / 5), -math.log(1 / 5)
    assert evaluation.cross_entropy == pytest.approx((3 * hits + 3 * misses) / 6, rel=1e-6)
    figures = evaluation.figures()
    assert figures["cross_entropy"] == evaluation.cross_entropy
    assert figures["miou"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert figures["pixel_accuracy"] == pytest.approx(2 / 4)


def test_each_batch_is_shown_after_it(tmp_path: Path):
    cache = made_cache(tmp_path, PAIRS)
    seen = []
    evaluated(
        RedIsTheClass(), cache, ["0", "1"], 8, CPU, after_batch=lambda *batch: seen.append(batch)
    )
    assert [logits.shape for logits, _, _ in seen] == [(1, 3, 1, 3), (1, 3, 2, 2)]
    for (red, mask), (_, class_ids, predicted) in zip(PAIRS, seen, strict=True):
        assert (class_ids[0].tolist(), predicted[0].tolist()) == (mask, red)


def test_a_mask_is_predicted_at_the_pictures_size(tmp_path: Path):
    cache = made_cache(tmp_path, PAIRS)
    predicted = predicted_mask(RedIsTheClass(), cache.image("1"), CPU)
    assert predicted.dtype == np.uint8
    assert predicted.tolist() == PAIRS[1][0]


@pytest.mark.parametrize("nothing", [IGNORE_INDEX, 0])
def test_masks_in_which_nothing_counts_are_named(tmp_path: Path, nothing: int):
    red = [[0, 0]]
    cache = made_cache(tmp_path, [(red, [[nothing, nothing]])])
    with pytest.raises(InputError, match="no pixel counts in the masks of 0"):
        evaluated(RedIsTheClass(), cache, ["0"], 1, CPU)
