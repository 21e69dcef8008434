import math

import pytest
import torch
from torch import nn

from roadseg.inference import tiling
from roadseg.inference.tiling import Tiles, fit_tiles, make_tiles, tiled_logits
from roadseg.inference.tta import View, mean_logits
from roadseg.models.network import Network, Window
from roadseg.models.unet import RECEPTIVE_RADIUS, UNet
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
    network, found = make_network(), []
    for free in (1 << 40, 1 << 30, 1 << 28, 1):
        monkeypatch.setattr(tiling, "available_bytes", lambda free=free: free)
        found.append(fit_tiles(network, CPU, (1, 3, 2500, 4000)))
    assert found[0] is None
    assert {(tiles.overlap, tiles.exact) for tiles in found[1:]} == {(144, True)}
    sides = [tiles.side for tiles in found[1:]]
    assert sides[0] > sides[1] > sides[2] == tiling.SMALLEST_TILE
    assert all(side % 16 == 0 for side in sides)
    monkeypatch.setattr(tiling, "available_bytes", lambda: 1 << 30)
    assert fit_tiles(network, CPU, (4, 3, 2500, 4000)).side < sides[0]  # 4 images
    estimate = (sides[0] + 2 * 144) ** 2 * tiling.bytes_per_pixel(network, CPU)
    assert estimate <= (1 << 30) // 2


def test_blended_tiles_fit_in_memory_with_their_overlap(monkeypatch):
    network = make_network(norm="group")
    monkeypatch.setattr(tiling, "available_bytes", lambda: 1 << 28)
    tiles = fit_tiles(network, CPU, (1, 3, 2500, 4000))
    assert not tiles.exact
    assert tiles.side > tiling.SMALLEST_BLENDED_TILE
    computed = (tiles.side + 2 * tiles.overlap) ** 2
    estimate = computed * tiling.bytes_per_pixel(network, CPU)
    # the overlap is rounded to the stride
    assert 0.9 < estimate / (1 << 27) < 1.05


def test_exact_tiles_that_would_be_mostly_overlap_are_blended(monkeypatch):
    network = make_network()
    monkeypatch.setattr(network, "receptive_radius", 500)
    assert make_tiles(network, 208) == Tiles(208, 512, 16, exact=True)
    assert make_tiles(network, 192) == Tiles(192, 32, 16, exact=False)
    monkeypatch.setattr(tiling, "available_bytes", lambda: 1 << 20)  # not enough for 208 + 2 * 512
    assert fit_tiles(network, CPU, (1, 3, 2500, 4000)) == Tiles(256, 32, 16, exact=False)


class ColumnNetwork(Network):
    """Logits: the horizontal position of each pixel in its crop, and zero."""

    stride, min_side, receptive_radius = 16, 1, None

    def forward(self, images: torch.Tensor, window: Window | None = None) -> torch.Tensor:
        columns = torch.arange(images.shape[3]).expand(len(images), 1, *images.shape[2:]) / 100
        return torch.cat([columns, 0 * columns], dim=1)


def test_blended_tiles_are_the_mean_of_probabilities_with_gaussian_weights():
    images = torch.rand(1, 3, 20, 160)
    tiles = make_tiles(ColumnNetwork(), 64)
    assert tiles == Tiles(64, 16, 16, exact=False)  # two tiles of 96 pixels, from 0 and 64
    probabilities = tiled_logits(ColumnNetwork(), images, CPU, tiles).exp()

    def weight(column: int) -> float:
        return math.exp(-((((column + 0.5) / 96 - 0.5) * 8) ** 2) / 2)

    def probability(column: int) -> float:
        return 1 / (1 + math.exp(-column / 100))

    left, right = weight(70), weight(70 - 64)
    mean = (left * probability(70) + right * probability(6)) / (left + right)
    assert probabilities[0, 0, :, 70].tolist() == pytest.approx([mean] * 20, abs=1e-6)
    for column, place in ((10, 10), (63, 63), (96, 32), (159, 95)):  # in one tile only
        assert probabilities[0, 0, 5, column].item() == pytest.approx(probability(place), abs=1e-6)
    assert probabilities.sum(1) == pytest.approx(torch.ones(1, 20, 160), abs=1e-6)


def test_blended_tiles_with_group_norm_resemble_the_whole_image():
    network, images = make_network(norm="group"), torch.rand(1, 3, 300, 310)
    with torch.inference_mode():
        whole = network(images)
        one = tiled_logits(network, images, CPU, make_tiles(network, 256))  # of 256 + 2 * 32
        tiles = tiled_logits(network, images, CPU, make_tiles(network, 128))
    assert torch.equal(one, whole)
    # the statistics of a tile are not those of the image; unrelated logits differ by 0.16
    difference = (tiles.softmax(1) - whole.softmax(1)).abs().mean()
    assert 0 < difference < 0.05
    assert (tiles.argmax(1) == whole.argmax(1)).float().mean() > 0.85
