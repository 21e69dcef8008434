"""Boundary and calibration metrics, accumulated in one evaluation of a data set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.evaluate import evaluate
from tests.factories import CPU, RED_PAIRS, THREE_CLASSES, RedChannelNetwork, make_red_dataset

# Two images of one size, so that they fit in one batch; class 0 (rest) is void.
SAME_SIZE = [
    ([[1, 1, 2, 2, 0, 0]], [[1, 1, 2, 2, 0, IGNORE_INDEX]]),
    ([[1, 2, 2, 2, 2, 2]], [[1, 1, 1, 2, 2, 0]]),
]


def evaluate_pairs(folder: Path, pairs, batch_size: int = 1):
    prepared = make_red_dataset(folder, pairs)
    accumulators = Accumulators(THREE_CLASSES, torch.device("cpu"))
    ids = [str(i) for i in range(len(pairs))]
    options = {"ignored": None, "after_batch": accumulators.add}
    evaluation = evaluate(RedChannelNetwork(), prepared, ids, batch_size, CPU, **options)
    return evaluation, accumulators


def test_metrics_by_hand(tmp_path: Path):
    evaluation, accumulators = evaluate_pairs(tmp_path, SAME_SIZE)
    metrics = accumulators.metrics()
    # 9 pixels count; 7 of them are correct, and the confidence of each is 3/5
    assert metrics["ece"] == pytest.approx(7 / 9 - 3 / 5, rel=1e-6)
    # the boundary matches in the first image, and is two pixels off in the second one
    assert np.array_equal(accumulators.boundary_f, [np.nan, 0.5, 0.5], equal_nan=True)
    assert metrics["boundary_f"] == 0.5
    # one matrix per image; rows are the true classes rest, road and sky
    assert evaluation.confusions.tolist() == [
        [[1, 0, 0], [0, 2, 0], [0, 0, 2]],
        [[0, 0, 1], [0, 1, 2], [0, 0, 2]],
    ]


def test_results_do_not_depend_on_the_batch_size(tmp_path: Path):
    results = []
    for batch_size in (1, 2):
        folder = tmp_path / str(batch_size)
        folder.mkdir()
        results.append(evaluate_pairs(folder, SAME_SIZE, batch_size))
    (evaluation, single), (batched_evaluation, batched) = results
    assert json.dumps(single.metrics()) == json.dumps(batched.metrics())
    assert np.array_equal(single.calibration, batched.calibration)
    assert np.array_equal(evaluation.confusions, batched_evaluation.confusions)


def test_boundary_f_is_0_for_a_class_with_a_boundary_in_truth_or_prediction_only(tmp_path: Path):
    _, accumulators = evaluate_pairs(tmp_path, RED_PAIRS)
    assert np.array_equal(accumulators.boundary_f, [np.nan, 0, 0], equal_nan=True)
    assert accumulators.metrics()["boundary_f"] == 0


def test_boundary_f_is_omitted_without_any_boundary(tmp_path: Path):
    _, accumulators = evaluate_pairs(tmp_path, [([[1, 1]], [[1, 1]])])
    assert list(accumulators.metrics()) == ["ece"]
