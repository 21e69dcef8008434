import pytest
import torch
from torch import nn

from roadseg.inference import tiling
from roadseg.inference.tiling import fit_tiles, make_tiles, tiled_logits
from roadseg.inference.tta import View, mean_logits
from roadseg.models.unet import RECEPTIVE_RADIUS, UNet, Window
from roadseg.runtime.accelerator import Accelerator

CPU = Accelerator(torch.device("cpu"), "fp32")


def make_network(bilinear: bool = True, norm: str = "batch") -> UNet:
    torch.manual_seed(0)
    network = UNet(num_classes=3, base_channels=4, bilinear=bilinear, norm=norm, dropout=0.0).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Conv2d):
            module.weight.data.mul_(6**0.5)  # He et al. 2015: deep features keep their variance
    return network


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("size", [(431, 517), (64, 700), (320, 352)])
def test_logits_of_tiles_equal_those_of_the_whole_image(bilinear: bool, size: tuple[int, int]):
    network = make_network(bilinear)
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        whole = network(images)
        tiles = tiled_logits(network, images, CPU, make_tiles(network, 64))
    assert tiles.shape == whole.shape
    # torch computes the sampling positions in float32, `_upsample_crop` in float64
    assert (tiles - whole).abs().max() < 5e-5 * whole.abs().max()
    assert whole.std() > 0.01


def test_crops_need_their_window():
    """With align_corners=True, sampling positions depend on the size of the image."""
    network = make_network()
    images = torch.rand(1, 3, 480, 480)
    with torch.inference_mode():
        whole = network(images)[:, :, 160:320, 160:320]
        part = images[:, :, : 160 + 320, 16 : 160 + 320]
        inner = (slice(None), slice(None), slice(160, 320), slice(144, 304))
        without_window = (network(part)[inner] - whole).abs().max()
        with_window = (network(part, Window(0, 16, 480, 480))[inner] - whole).abs().max()
    assert with_window < 1e-5 < 1e-3 < without_window


def test_gradients_stay_within_the_receptive_radius():
    network = make_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()  # so that no ReLU blocks a gradient
    for level in (network.down1, network.down2, network.down3, network.down4):
        level[0] = nn.AvgPool2d(2)  # all four pixels get a gradient
    distances = []
    for row in range(160, 176):
        images = torch.rand(1, 3, 336, 32, requires_grad=True)
        network(images)[0, :, row, 16].sum().backward()
        rows = images.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        distances += [row - rows.min().item(), rows.max().item() - row]
    assert RECEPTIVE_RADIUS - 24 <= max(distances) <= RECEPTIVE_RADIUS


def test_tta_of_tiles_equals_tta_of_the_whole_image():
    network, images = make_network(), torch.rand(1, 3, 200, 230)
    views = [View(scale, flip) for scale in (1.0, 1.25) for flip in (False, True)]
    with torch.inference_mode():
        whole = mean_logits(network, images, CPU, views)
        tiles = mean_logits(network, images, CPU, views, [make_tiles(network, 64)])
    torch.testing.assert_close(tiles, whole, rtol=1e-4, atol=1e-4)


def test_tiles_shrink_with_the_available_memory(monkeypatch):
    network, sides = make_network(), []
    for free in (1 << 40, 1 << 30, 1 << 28, 1):
        monkeypatch.setattr(tiling, "available_bytes", lambda free=free: free)
        sides.append(fit_tile(network, CPU, (1, 3, 2500, 4000)))
    assert sides[0] is None
    assert sides[1] > sides[2] > sides[3] == tiling.SMALLEST_TILE
    assert all(tile % 16 == 0 for tile in sides[1:])
    monkeypatch.setattr(tiling, "available_bytes", lambda: 1 << 30)
    assert fit_tile(network, CPU, (4, 3, 2500, 4000)) < sides[1]  # 4 images
    estimate = (sides[1] + 2 * OVERLAP) ** 2 * tiling.bytes_per_pixel(network, CPU)
    assert estimate <= (1 << 30) // 2


def test_tiles_with_group_norm_raise_an_error():
    network, images = make_network(norm="group"), torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        assert tiled_logits(network, images, CPU, 128).shape == (1, 3, 128, 128)
        with pytest.raises(InputError, match="128x128 pixels need tiles of 64, but a network with"):
            tiled_logits(network, images, CPU, make_tiles(network, 64))
