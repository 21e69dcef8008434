"""SyncBatchNorm on several ranks equals nn.BatchNorm2d on the images of all ranks."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from roadseg.models.layers.norm import SyncBatchNorm
from roadseg.runtime.distributed import ProcessGroup


@dataclass(frozen=True)
class TwoEqualRanks(ProcessGroup):
    """Two ranks with the same images, so that a sum over ranks is twice that of one rank."""

    size: int = 2

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor.mul_(2)


def compute_both(
    dtype: torch.dtype, offset: float, device: str = "cpu"
) -> list[tuple[Tensor, Tensor]]:
    """Outputs, gradients and statistics of SyncBatchNorm, and of nn.BatchNorm2d on x twice."""
    torch.manual_seed(0)
    ours, theirs = SyncBatchNorm(5).to(device), nn.BatchNorm2d(5).to(device)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)
        ours.bias.normal_()
    theirs.load_state_dict(ours.state_dict())
    ours.process_group = TwoEqualRanks()
    x = (torch.randn(3, 5, 8, 9) + offset).to(device, dtype, memory_format=torch.channels_last)
    slopes = torch.randn(3, 5, 8, 9).to(device, dtype)
    single, double = x.clone().requires_grad_(), torch.cat([x, x]).requires_grad_()
    one, two = ours(single), theirs(double)
    one.backward(slopes)
    two.backward(torch.cat([slopes, slopes]))
    return [
        (one, two[:3]),
        (single.grad, double.grad[:3]),
        (2 * ours.weight.grad, theirs.weight.grad),
        (2 * ours.bias.grad, theirs.bias.grad),
        (ours.running_mean, theirs.running_mean),
        (ours.running_var, theirs.running_var),
        (ours.num_batches_tracked, theirs.num_batches_tracked),
    ]


@pytest.mark.parametrize("offset", [0, 3, -20])
def test_equals_batch_norm_over_the_images_of_all_ranks(offset: float):
    for ours, theirs in compute_both(torch.float32, offset):
        torch.testing.assert_close(ours, theirs, rtol=5e-5, atol=1e-5)  # sums that cancel


def test_bfloat16_agrees_up_to_its_rounding():
    for ours, theirs in compute_both(torch.bfloat16, 1):
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.02, atol=0.02)


def test_a_rank_without_images_takes_part():
    norm = SyncBatchNorm(5)
    norm.process_group = TwoEqualRanks(rank=1)
    x = torch.zeros(0, 5, 8, 9, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad.shape == x.shape
    assert not norm.weight.grad.any()
    assert not norm.bias.grad.any()
