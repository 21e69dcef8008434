"""The figures beyond the confusion matrix, through one pass over a data set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.evaluate import evaluate
from tests.factories import CPU, RED_PAIRS, THREE_CLASSES, RedChannelNetwork, make_red_dataset

# Two pictures of one size, so that they can pass together; rest (0) is void.
ALIKE = [
    ([[1, 1, 2, 2, 0, 0]], [[1, 1, 2, 2, 0, IGNORE_INDEX]]),
    ([[1, 2, 2, 2, 2, 2]], [[1, 1, 1, 2, 2, 0]]),
]


def detailed(folder: Path, pairs, batch_size: int = 1):
    prepared, details = (
        make_red_dataset(folder, pairs),
        Accumulators(THREE_CLASSES, torch.device("cpu")),
    )
    ids = [str(i) for i in range(len(pairs))]
    found = evaluate(
        RedChannelNetwork(), prepared, ids, batch_size, CPU, ignored=None, after_batch=details.add
    )
    return found, details


def test_figures_by_hand(tmp_path: Path):
    found, details = detailed(tmp_path, ALIKE)
    figures = details.metrics()
    # 9 pixels count, 7 of them right, each said to be right with 3/5
    assert figures["ece"] == pytest.approx(7 / 9 - 3 / 5, rel=1e-6)
    # boundaries: in the first picture as they are; in the second one pixel of each class, two off
    assert np.array_equal(details.boundary_f, [np.nan, 0.5, 0.5], equal_nan=True)
    assert figures["boundary_f"] == 0.5
    # rows are the truth: rest, road, sky; of each picture
    assert found.confusions.tolist() == [
        [[1, 0, 0], [0, 2, 0], [0, 0, 2]],
        [[0, 0, 1], [0, 1, 2], [0, 0, 2]],
    ]


def test_batches_change_no_bit(tmp_path: Path):
    folders = [tmp_path / name for name in ("apart", "together")]
    for folder in folders:
        folder.mkdir()
    (one, apart), (two, together) = (
        detailed(folder, ALIKE, size) for folder, size in zip(folders, (1, 2), strict=True)
    )
    assert json.dumps(apart.metrics()) == json.dumps(together.metrics())
    assert np.array_equal(apart.calibration, together.calibration)
    assert np.array_equal(one.confusions, two.confusions)


def test_a_class_with_a_boundary_on_one_side_only_has_none_right(tmp_path: Path):
    _, details = detailed(tmp_path, RED_PAIRS)
    assert np.array_equal(details.boundary_f, [np.nan, 0, 0], equal_nan=True)
    assert details.metrics()["boundary_f"] == 0


def test_without_any_boundary_the_figure_is_not_there(tmp_path: Path):
    _, details = detailed(tmp_path, [([[1, 1]], [[1, 1]])])
    assert list(details.metrics()) == ["ece"]
