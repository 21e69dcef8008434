import pytest
import torch
from torch import Tensor, nn

from roadseg.models import network
from roadseg.models.network import Network, Window


class TinyNetwork(Network):
    stride, min_side = 8, 4

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, images: Tensor, window: Window | None = None) -> Tensor:
        x = self.wide(images)  # 6 values per pixel
        x = x.relu_()  # no more
        x = self.norm(x)  # 6 more, then those before are freed
        return self.out(x)  # 2 more


def test_activations_per_pixel_by_hand():
    tiny = TinyNetwork().train()
    assert tiny.values_per_pixel() / network._WORKSPACE == pytest.approx(12)
    assert tiny.training
    assert tiny.norm.num_batches_tracked == 0
    assert torch.equal(tiny.norm.running_var, torch.ones(6))
