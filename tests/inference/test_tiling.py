import pytest
import torch
from torch import nn

from roadseg.inference import tiling
from roadseg.inference.tiling import OVERLAP, fit_tile, tiled_logits
from roadseg.inference.tta import View, mean_logits
from roadseg.models.unet import REACH, UNet, Window
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError

CPU = Accelerator(torch.device("cpu"), "fp32")


def network(bilinear: bool = True, norm: str = "batch") -> UNet:
    torch.manual_seed(0)
    made = UNet(num_classes=3, base_channels=4, bilinear=bilinear, norm=norm, dropout=0.0).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):  # as trained ones are
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Conv2d):
            module.weight.data.mul_(6**0.5)  # He et al. 2015: what lies deep arrives undiminished
    return made


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("size", [(431, 517), (64, 700), (320, 352)])
def test_tiles_give_what_the_whole_picture_gives(bilinear: bool, size: tuple[int, int]):
    made = network(bilinear)
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        whole = made(images)
        tiles = tiled_logits(made, images, CPU, 64)
    assert tiles.shape == whole.shape
    # torch counts the places to interpolate at in float32, tiles do in float64; the bar is 1e-3
    assert (tiles - whole).abs().max() < 5e-5 * whole.abs().max()
    assert whole.std() > 0.01


def test_a_tile_that_counts_its_places_from_its_own_corner_is_wrong():
    """Why a window is needed: aligned corners take pixels from elsewhere in a part."""
    made = network()
    images = torch.rand(1, 3, 480, 480)
    with torch.inference_mode():
        whole = made(images)[:, :, 160:320, 160:320]
        part = images[:, :, : 160 + 320, 16 : 160 + 320]
        inner = (slice(None), slice(None), slice(160, 320), slice(144, 304))
        blind = (made(part)[inner] - whole).abs().max()
        placed = (made(part, Window(0, 16, 480, 480))[inner] - whole).abs().max()
    assert placed < 1e-5 < 1e-3 < blind


def test_nothing_beyond_the_reach_decides_a_pixel():
    made = network()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.abs_()  # so that no influence is cut off by a ReLU
    for level in (made.down1, made.down2, made.down3, made.down4):
        level[0] = nn.AvgPool2d(2)  # which all four pixels influence
    ends = []
    for row in range(160, 176):
        images = torch.rand(1, 3, 336, 32, requires_grad=True)
        made(images)[0, :, row, 16].sum().backward()
        rows = images.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        ends += [row - rows.min().item(), rows.max().item() - row]
    assert REACH - 24 <= max(ends) <= REACH <= OVERLAP


def test_views_are_seen_by_tiles_too():
    made, images = network(), torch.rand(1, 3, 200, 230)
    views = [View(scale, flip) for scale in (1.0, 1.25) for flip in (False, True)]
    with torch.inference_mode():
        whole = mean_logits(made, images, CPU, views)
        tiles = mean_logits(made, images, CPU, views, 64)
    torch.testing.assert_close(tiles, whole, rtol=1e-4, atol=1e-4)


def test_the_whole_picture_where_it_fits_and_smaller_tiles_where_memory_is_shorter(monkeypatch):
    made, found = network(), []
    for room in (1 << 40, 1 << 30, 1 << 28, 1):
        monkeypatch.setattr(tiling, "available_bytes", lambda room=room: room)
        found.append(fit_tile(made, CPU, (1, 3, 2500, 4000)))
    assert found[0] is None
    assert found[1] > found[2] > found[3] == tiling.SMALLEST_TILE
    assert all(tile % 16 == 0 for tile in found[1:])
    monkeypatch.setattr(tiling, "available_bytes", lambda: 1 << 30)
    assert fit_tile(made, CPU, (4, 3, 2500, 4000)) < found[1]  # all of a batch pass together
    taken = (found[1] + 2 * OVERLAP) ** 2 * tiling.bytes_per_pixel(made, CPU)
    assert taken <= (1 << 30) // 2


def test_a_group_norm_needs_the_whole_picture():
    made, images = network(norm="group"), torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        assert tiled_logits(made, images, CPU, 128).shape == (1, 3, 128, 128)
        with pytest.raises(InputError, match=r"128x128 pixels .*norm group needs the whole"):
            tiled_logits(made, images, CPU, 64)
