"""Calibration error: values computed by hand, invariants, and a loop in float64."""

import math

import numpy as np
import pytest
import torch

from roadseg.evaluation.calibration import (
    NUM_BINS,
    calibration_counts,
    calibration_error,
    calibration_table,
)
from roadseg.evaluation.metrics import confusion_matrix, pixel_accuracy


def count(logits, class_ids, counted=None):
    counted = torch.ones_like(class_ids, dtype=torch.bool) if counted is None else counted
    return calibration_counts(logits, class_ids, logits.argmax(1), counted)


def make_case(seed, shape=(2, 5, 6, 50)):
    """Logits (N, K, H, W) of a calibrated network, class ids and counted pixels (N, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=generator)
    noise = torch.rand(shape, generator=generator).log().neg().log().neg()  # Gumbel
    counted = torch.rand(logits[:, 0].shape, generator=generator) < 0.8
    return logits, (logits + noise).argmax(1), counted


def test_calibration_error_by_hand():
    """Four pixels with confidence 3/4, three of them correct; four with 9/10, two correct."""
    logit = torch.tensor([math.log(3)] * 4 + [math.log(9)] * 4)
    logits = torch.stack([logit, torch.zeros(8)])[None, :, None]  # (1, 2, 1, 8)
    class_ids = torch.tensor([[[0, 0, 0, 1, 0, 0, 1, 1]]])
    counts = count(logits, class_ids).numpy()
    table = calibration_table(counts)
    assert table["bin"].tolist() == [12, 14]  # 15 * 3/4 = 11.25, 15 * 9/10 = 13.5
    np.testing.assert_allclose(table["confidence"], [3 / 4, 9 / 10], rtol=1e-6)
    assert table["accuracy"].tolist() == [3 / 4, 2 / 4]
    assert table["share"].tolist() == [1 / 2, 1 / 2]
    assert calibration_error(counts) == pytest.approx((0 + 4 / 10) / 2, rel=1e-6)


def test_bins_include_their_upper_edge():
    logits = torch.tensor([[0.0, 200.0]]).reshape(1, 2, 1, 1)
    assert count(logits, torch.ones(1, 1, 1)).tolist()[0] == [0] * 14 + [1]  # exactly 1
    three_fifteenths = torch.zeros(1, 5, 1, 1)  # float32 0.2 > 3/15: bin 4
    assert count(three_fifteenths, torch.zeros(1, 1, 1)).tolist()[0][3] == 1
    half = torch.zeros(1, 2, 1, 1)
    assert count(half, torch.zeros(1, 1, 1)).tolist()[0][7] == 1


def test_pixels_with_nan_logits_are_excluded():
    """Their bin would be any integer; torch.bincount once allocated 16 GB for it."""
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, :, 0, 0] = torch.nan
    assert count(logits, torch.zeros(1, 1, 3)).tolist()[0] == [0] * 7 + [2] + [0] * 7


def test_agrees_with_a_plain_loop():
    logits, class_ids, counted = make_case(0)
    counts = count(logits, class_ids, counted)
    shares = logits.softmax(1)
    expected = [[0, 0, 0.0] for _ in range(NUM_BINS)]
    for n, y, x in counted.nonzero().tolist():
        share, class_id = shares[n, :, y, x].max(0)
        chosen = expected[math.ceil(share.item() * NUM_BINS) - 1]
        chosen[0] += 1
        chosen[1] += int(class_id == class_ids[n, y, x])
        chosen[2] += share.item()
    pixels, right, units = counts.tolist()
    assert [list(pair) for pair in zip(pixels, right, strict=True)] == [e[:2] for e in expected]
    assert [unit / 2**32 for unit in units] == [e[2] for e in expected]  # no rounding anywhere
    gaps = [abs(e[1] - e[2]) for e in expected]
    assert calibration_error(counts.numpy()) == pytest.approx(sum(gaps) / counted.sum().item())


def test_batches_add_up_exactly_in_any_order_of_images():
    logits, class_ids, counted = make_case(1)
    whole = count(logits, class_ids, counted)
    parts = [count(*(t[i : i + 1] for t in (logits, class_ids, counted))) for i in range(2)]
    assert torch.equal(sum(parts), whole)
    # images, not pixels: the softmax may round the last pixels of a row differently
    reversed_images = [tensor.flip(0) for tensor in (logits, class_ids, counted)]
    assert torch.equal(count(*reversed_images), whole)


def test_mean_accuracy_of_the_bins_is_pixel_accuracy():
    logits, class_ids, _ = make_case(2)
    table = calibration_table(count(logits, class_ids).numpy())
    confusion = confusion_matrix(class_ids, logits.argmax(1), 5).numpy()
    assert (table["accuracy"] * table["share"]).sum() == pytest.approx(pixel_accuracy(confusion))
    assert table["share"].sum() == pytest.approx(1)


def test_error_is_near_0_for_calibrated_and_large_for_overconfident_logits():
    logits, class_ids, _ = make_case(3, (1, 5, 200, 200))
    calibrated = calibration_error(count(logits, class_ids).numpy())
    # standard error of a bin with about 2,700 pixels: sqrt(p (1 - p) / 2700), at most 0.01
    assert calibrated < 0.01
    assert calibration_error(count(3 * logits, class_ids).numpy()) > 0.1


def test_bfloat16_logits_are_computed_in_float32():
    logits, class_ids, counted = make_case(4)
    half = logits.bfloat16()
    assert torch.equal(count(half, class_ids, counted), count(half.float(), class_ids, counted))


def test_error_is_nan_if_no_pixel_counts():
    logits, class_ids, counted = make_case(5)
    counts = count(logits, class_ids, torch.zeros_like(counted)).numpy()
    assert counts.sum() == 0
    assert math.isnan(calibration_error(counts))
    assert [len(column) for column in calibration_table(counts).values()] == [0] * 4
