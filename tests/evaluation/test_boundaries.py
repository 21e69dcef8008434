"""Boundary F-score: values computed by hand, invariants, and loops over boundary pixels."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from roadseg.evaluation.boundaries import boundary_counts, boundary_f, tolerance

NAN = math.nan


def make_row(*class_ids: int) -> Tensor:
    """One image with one row, (1, 1, W)."""
    return torch.tensor([[class_ids]])


def count_all(class_ids: Tensor) -> Tensor:
    return torch.ones_like(class_ids, dtype=torch.bool)


def make_patches(rng: np.random.Generator, num_classes: int, height: int, width: int) -> np.ndarray:
    """(2, H, W) int64 class ids in patches of 3 x 5 pixels."""
    small = rng.integers(0, num_classes, (2, height // 3 + 1, width // 5 + 1))
    return small.repeat(3, 1).repeat(5, 2)[:, :height, :width]


def make_case(num_classes: int, height: int, width: int) -> list[Tensor]:
    """Truth, a shifted prediction with 2 % wrong pixels, and counted pixels, (2, H, W) each."""
    rng = np.random.default_rng([num_classes, height, width])
    truth = make_patches(rng, num_classes, height, width)
    shifted = np.roll(truth, (1, 2), (1, 2))
    wrong = rng.random(truth.shape) < 0.02
    predicted = np.where(wrong, make_patches(rng, num_classes, height, width), shifted)
    counted = make_patches(rng, 8, height, width) > 0
    return [torch.from_numpy(array) for array in (truth, predicted, counted)]


def test_boundary_counts_by_hand():
    truth, predicted = make_row(0, 0, 0, 1, 1, 1, 2, 2), make_row(0, 1, 1, 1, 1, 1, 1, 2)
    # boundaries: truth 0 at 2, 1 at 3 and 5, 2 at 6; prediction 0 at 0, 1 at 1 and 6, 2 at 7;
    # only 1 at 5 and 6 and 2 at 6 and 7 are within one pixel of each other
    counts = boundary_counts(truth, predicted, count_all(truth), 4)
    assert counts.dtype == torch.int64
    assert counts.tolist() == [[1, 2, 1, 0], [0, 1, 1, 0], [1, 2, 1, 0], [0, 1, 1, 0]]
    np.testing.assert_allclose(boundary_f(counts.numpy(), None), [0, 1 / 2, 1, NAN])


def test_boundary_f_by_hand():
    # predicted, matched, true, matched; the last class has a boundary in the prediction only
    counts = np.array([[4, 5, 0, 2], [3, 0, 0, 0], [2, 5, 0, 0], [1, 0, 0, 0]])
    # first class: precision 3/4, recall 1/2
    np.testing.assert_allclose(boundary_f(counts, None), [2 * 3 / 8 / (5 / 4), 0, NAN, 0])
    np.testing.assert_allclose(boundary_f(counts, 0), [NAN, 0, NAN, 0])


def test_pixels_that_are_not_counted_have_no_boundary():
    truth = make_row(1, 1, 0, 0, 2, 2)  # 0 is void between 1 and 2
    counted = truth != 0
    for between in (0, 1, 2):
        predicted = make_row(1, 1, between, between, 2, 2)
        assert boundary_counts(truth, predicted, counted, 3).sum() == 0
    ignored = truth.where(counted, 255)
    assert boundary_counts(ignored, predicted, counted, 3).sum() == 0


def test_tolerance_is_a_fraction_of_the_diagonal_and_at_least_a_pixel():
    assert tolerance(3, 4) == 1
    assert tolerance(300, 400) == pytest.approx(3.75)


@pytest.mark.parametrize(
    ("offset", "matches"),
    [((3, 0), True), ((2, 2), True), ((3, 1), False), ((0, 4), False), ((2, 3), False)],
)
def test_pixels_match_within_a_disc(offset, matches):
    """A single pixel is predicted at `offset` (rows, columns); the tolerance is 3 pixels."""
    truth, predicted = torch.zeros(2, 1, 9, 400, dtype=torch.int64)
    assert 3 <= tolerance(9, 400) < math.hypot(3, 1)
    truth[0, 1, 100] = 1
    predicted[0, 1 + offset[0], 100 + offset[1]] = 1
    assert boundary_counts(truth, predicted, count_all(truth), 2)[1, 1] == matches


def count_by_loops(truth, predicted, counted, num_classes):
    """Boundary counts pixel by pixel, with distances in float64."""
    counts = np.zeros((4, num_classes), dtype=int)
    for t, p, c in zip(truth.numpy(), predicted.numpy(), counted.numpy(), strict=True):
        height, width = t.shape
        boundaries = []
        for ids in (p, t):
            edges = [[] for _ in range(num_classes)]
            for y in range(height):
                for x in range(width):
                    near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                    near = [(v, u) for v, u in near if 0 <= v < height and 0 <= u < width]
                    if c[y, x] and any(c[v, u] and ids[v, u] != ids[y, x] for v, u in near):
                        edges[ids[y, x]].append((y, x))
            boundaries.append([np.array(e, dtype=np.float64).reshape(-1, 2) for e in edges])
        for class_id in range(num_classes):
            mine, theirs = boundaries[0][class_id], boundaries[1][class_id]
            distances = np.hypot(*(mine[:, None] - theirs[None]).transpose(2, 0, 1))
            match = distances <= max(1, 0.0075 * math.hypot(height, width))
            counts[:, class_id] += (len(mine), match.any(1).sum(), len(theirs), match.any(0).sum())
    return counts


@pytest.mark.parametrize("num_classes", [1, 3, 70])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (12, 1), (8, 11), (5, 700), (60, 80)])
def test_boundary_counts_agree_with_loops(num_classes, size):
    case = make_case(num_classes, *size)
    counts = boundary_counts(*case, num_classes)
    assert np.array_equal(counts.numpy(), count_by_loops(*case, num_classes))


def test_boundary_counts_agree_with_loops_for_a_large_tolerance():
    case = [tensor[:1] for tensor in make_case(5, 14, 1250)]
    assert tolerance(14, 1250) > 9
    assert np.array_equal(boundary_counts(*case, 5).numpy(), count_by_loops(*case, 5))


def test_boundary_counts_agree_with_loops_if_the_tolerance_exceeds_the_height():
    truth, predicted, counted = make_case(3, 5, 1300)
    counts = boundary_counts(truth, predicted, counted, 3)
    assert np.array_equal(counts.numpy(), count_by_loops(truth, predicted, counted, 3))


def test_boundary_f_is_1_if_all_counted_pixels_are_correct():
    truth, other, counted = make_case(4, 60, 80)
    counts = boundary_counts(truth, truth.where(counted, other), counted, 4).numpy()
    assert np.array_equal(boundary_f(counts, None), np.ones(4))


def test_batches_add_up():
    case = make_case(6, 40, 330)
    parts = [boundary_counts(*(tensor[i : i + 1] for tensor in case), 6) for i in range(2)]
    assert torch.equal(sum(parts), boundary_counts(*case, 6))


def test_boundary_counts_have_the_symmetries_of_the_definition():
    truth, predicted, counted = make_case(6, 40, 330)
    whole = boundary_counts(truth, predicted, counted, 6)
    assert torch.equal(boundary_counts(predicted, truth, counted, 6), whole[[2, 3, 0, 1]])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    renamed = boundary_counts(order[truth], order[predicted], counted, 6)
    assert torch.equal(renamed[:, order], whole)
    for dims in ((1,), (2,), (1, 2)):
        flipped = (tensor.flip(dims) for tensor in (truth, predicted, counted))
        assert torch.equal(boundary_counts(*flipped, 6), whole)
