import pytest
import torch
from torch import nn

from roadseg.models.layers.pooling import AdaptiveAvgPool


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("sides", [(2, 2), (1, 5), (7, 13), (12, 6)])
def test_pooling_and_its_gradient_are_those_of_torch(size: int, sides: tuple[int, int]):
    torch.manual_seed(0)
    x = torch.rand(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    ours, theirs = AdaptiveAvgPool(size)(x), nn.AdaptiveAvgPool2d(size)(x)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_one_pixel_of_each_interval_that_overlaps_counts_twice():
    """Three pixels in two intervals: (1 + 2) / 2 and (2 + 6) / 2."""
    pooled = AdaptiveAvgPool(2)(torch.tensor([[[[1.0, 2.0, 6.0]]]]))
    assert pooled.tolist() == [[[[1.5, 4.0], [1.5, 4.0]]]]


def test_pooling_of_no_images_has_no_values():
    assert AdaptiveAvgPool(3)(torch.rand(0, 4, 5, 5)).shape == (0, 4, 3, 3)
