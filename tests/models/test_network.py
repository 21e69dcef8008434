import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from roadseg.models import network
from roadseg.models.network import Network, Window
from roadseg.models.smp import import_smp
from roadseg.system.errors import InputError


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


def test_package_that_does_not_fit_torch_is_an_error_of_one_line(tmp_path: Path, monkeypatch):
    package = tmp_path / "segmentation_models_pytorch"
    package.mkdir()
    (package / "__init__.py").write_text('raise RuntimeError("operator nms does not exist")\n')
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        InputError, match=r"torchvision does not fit .*\(operator nms does not exist"
    ):
        import_smp()
