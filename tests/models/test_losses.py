import math

import numpy as np
import pytest
import torch

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.models.losses import (
    cross_entropy_sum,
    inverse_sqrt_weights,
    log_probabilities,
    lovasz_loss,
)


def test_cross_entropy_of_two_pixels_by_hand():
    logits = torch.tensor([[[[0.0, math.log(3)]], [[0.0, 0.0]]]])  # (1, 2, 1, 2)
    class_ids = torch.tensor([[[0, 1]]])  # with probabilities 1/2 and 1/4
    total, count = cross_entropy_sum(logits, class_ids)
    torch.testing.assert_close(total.item(), math.log(2) + math.log(4))
    assert count == 2
    weighted, weight = cross_entropy_sum(logits, class_ids, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(weighted.item(), math.log(2) + 3 * math.log(4))
    assert weight == 4


def make_batch(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    n, k, h, w = shape
    class_ids = torch.randint(0, k, (n, h, w))
    class_ids[0, :2] = IGNORE_INDEX
    return torch.randn(shape) * 3, class_ids


def test_cross_entropy_agrees_with_a_float64_loop():
    logits, class_ids = make_batch(2, 4, 5, 6)
    weights = torch.tensor([0.5, 1.0, 2.0, 0.0])
    expected, expected_weight, pixels = 0.0, 0.0, 0
    for n, row, column in np.ndindex(2, 5, 6):
        k = int(class_ids[n, row, column])
        if k == IGNORE_INDEX:
            continue
        z = logits[n, :, row, column].double()
        expected += float(weights[k] * (torch.logsumexp(z, 0) - z[k]))
        expected_weight += float(weights[k])
        pixels += 1
    total, weight = cross_entropy_sum(logits, class_ids, weights)
    np.testing.assert_allclose([total, weight], [expected, expected_weight], rtol=1e-6)
    assert cross_entropy_sum(logits, class_ids)[1] == pixels


def test_cross_entropy_of_batches_adds_up():
    logits, class_ids = make_batch(4, 3, 6, 6)
    whole, pixels = cross_entropy_sum(logits, class_ids)
    parts = [cross_entropy_sum(logits[i : i + 1], class_ids[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(sum(total for total, _ in parts), whole)
    assert sum(count for _, count in parts) == pixels


def test_only_ignored_pixels_have_zero_gradient():
    logits, class_ids = make_batch(1, 3, 4, 5)
    logits.requires_grad_()
    cross_entropy_sum(logits, class_ids, torch.tensor([1.0, 2.0, 3.0]))[0].backward()
    has_gradient = logits.grad.abs().sum(1) > 0
    assert torch.equal(has_gradient, class_ids != IGNORE_INDEX)


def test_cross_entropy_of_bfloat16_logits_is_summed_in_float32():
    logits, class_ids = make_batch(1, 3, 64, 64)
    half = logits.bfloat16()
    total, _ = cross_entropy_sum(half, class_ids)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, cross_entropy_sum(half.float(), class_ids)[0])


def test_inverse_sqrt_weights_by_hand():
    weights = inverse_sqrt_weights(np.array([900, 100, 0]))
    # 1/sqrt(.9) and 1/sqrt(.1), divided by their mean over the pixels, sqrt(.9) + sqrt(.1)
    mean = math.sqrt(0.9) + math.sqrt(0.1)
    expected = [1 / math.sqrt(0.9) / mean, 1 / math.sqrt(0.1) / mean, 0.0]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(weights @ torch.tensor([0.9, 0.1, 0.0]), 1.0, rtol=1e-6)


def test_lovasz_by_hand():
    """Three pixels of two classes with probabilities 0 and 1; the last prediction is wrong."""
    log_probs = torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]).clamp(min=1e-30).log()[None]
    class_ids = torch.tensor([[[0, 1, 1]]])
    # for probabilities of 0 and 1 the loss is 1 - IoU: 1/2 for each class
    assert lovasz_loss(log_probs, class_ids, None).item() == pytest.approx(1 / 2)
    assert lovasz_loss(log_probs, torch.tensor([[[0, 1, 0]]]), None).item() == pytest.approx(0)
    # class 1 is excluded; the only pixel of class 0 is correct
    assert lovasz_loss(log_probs, class_ids, 1).item() == pytest.approx(0)
    # without the wrong pixel the loss is 0
    ignored = torch.tensor([[[0, 1, IGNORE_INDEX]]])
    assert lovasz_loss(log_probs, ignored, None).item() == pytest.approx(0)
    nothing = torch.full((1, 1, 3), IGNORE_INDEX)
    assert lovasz_loss(log_probs, nothing, None).item() == 0


def lovasz_by_sorting(logits: torch.Tensor, class_ids: torch.Tensor, void_id: int | None):
    """Algorithm 1 of the paper: sorted errors, weighted by the increase of the Jaccard loss."""
    num_classes = logits.shape[1]
    probabilities = logits.softmax(1).permute(0, 2, 3, 1).reshape(-1, num_classes)
    target, losses = class_ids.reshape(-1), []
    counted = (target != IGNORE_INDEX) & (target != (-1 if void_id is None else void_id))
    for k in range(num_classes):
        truth = (target[counted] == k).double()
        if truth.sum() == 0:
            continue
        errors, order = (truth - probabilities[counted, k]).abs().sort(descending=True)
        truth = truth[order]
        left = truth.sum() - truth.cumsum(0)
        jaccard = 1 - left / (truth.sum() + (1 - truth).cumsum(0))
        losses.append(errors @ torch.diff(jaccard, prepend=torch.zeros(1).double()))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("void_id", [None, 2])
@pytest.mark.parametrize("confidence", [0.0, 4.0])
def test_lovasz_agrees_with_sorting_in_float64(void_id, confidence):
    logits, class_ids = make_batch(2, 5, 60, 80)
    class_ids[class_ids == 4] = 3  # a class that does not occur
    truth = torch.nn.functional.one_hot(class_ids.clamp(max=4), 5).permute(0, 3, 1, 2)
    logits = (logits + confidence * truth).double().requires_grad_()
    reference = lovasz_by_sorting(logits, class_ids, void_id)
    (expected,) = torch.autograd.grad(reference, logits)
    loss = lovasz_loss(log_probabilities(logits), class_ids, void_id)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(reference.item(), rel=1e-4)
    # all errors in a bin, here of up to 50 pixels, have the same weight
    assert (gradient - expected).norm() < 0.005 * expected.norm()


def test_lovasz_does_not_depend_on_the_order_of_classes_or_pixels():
    logits, class_ids = make_batch(1, 4, 8, 9)
    loss = lovasz_loss(log_probabilities(logits), class_ids, None)
    renamed = torch.tensor([2, 0, 3, 1])  # class k becomes renamed[k]
    ids = torch.where(class_ids == IGNORE_INDEX, class_ids, renamed[class_ids.clamp(max=3)])
    other = lovasz_loss(log_probabilities(logits[:, renamed.argsort()]), ids, None)
    torch.testing.assert_close(other, loss)
    flipped = lovasz_loss(log_probabilities(logits.flip(3)), class_ids.flip(2), None)
    torch.testing.assert_close(flipped, loss)
