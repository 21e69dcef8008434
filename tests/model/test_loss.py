import math

import numpy as np
import torch

from src.labels import IGNORE_INDEX
from src.model.loss import cross_entropy_sum, square_root_weights


def test_two_pixels_by_hand():
    logits = torch.tensor([[[[0.0, math.log(3)]], [[0.0, 0.0]]]])  # (1, 2, 1, 2)
    class_ids = torch.tensor([[[0, 1]]])  # softmax there: 1/2 and 1/4
    total, count = cross_entropy_sum(logits, class_ids)
    torch.testing.assert_close(total.item(), math.log(2) + math.log(4))
    assert count == 2
    weighted, weight = cross_entropy_sum(logits, class_ids, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(weighted.item(), math.log(2) + 3 * math.log(4))
    assert weight == 4


def random_batch(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    n, k, h, w = shape
    class_ids = torch.randint(0, k, (n, h, w))
    class_ids[0, :2] = IGNORE_INDEX
    return torch.randn(shape) * 3, class_ids


def test_agrees_with_a_plain_float64_loop():
    logits, class_ids = random_batch(2, 4, 5, 6)
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


def test_batches_add_up():
    logits, class_ids = random_batch(4, 3, 6, 6)
    whole, pixels = cross_entropy_sum(logits, class_ids)
    parts = [cross_entropy_sum(logits[i : i + 1], class_ids[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(sum(total for total, _ in parts), whole)
    assert sum(count for _, count in parts) == pixels


def test_an_ignored_pixel_has_zero_gradient_and_the_others_not():
    logits, class_ids = random_batch(1, 3, 4, 5)
    logits.requires_grad_()
    cross_entropy_sum(logits, class_ids, torch.tensor([1.0, 2.0, 3.0]))[0].backward()
    changed = logits.grad.abs().sum(1) > 0
    assert torch.equal(changed, class_ids != IGNORE_INDEX)


def test_bf16_logits_are_summed_in_float32():
    logits, class_ids = random_batch(1, 3, 64, 64)
    half = logits.bfloat16()
    total, _ = cross_entropy_sum(half, class_ids)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, cross_entropy_sum(half.float(), class_ids)[0])


def test_square_root_weights_by_hand():
    weights = square_root_weights(np.array([900, 100, 0]))
    # 1/sqrt(.9) and 1/sqrt(.1), over their mean over the pixels, sqrt(.9) + sqrt(.1)
    mean = math.sqrt(0.9) + math.sqrt(0.1)
    expected = [1 / math.sqrt(0.9) / mean, 1 / math.sqrt(0.1) / mean, 0.0]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(weights @ torch.tensor([0.9, 0.1, 0.0]), 1.0, rtol=1e-6)
