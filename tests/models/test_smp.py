"""Networks of segmentation_models_pytorch; one file, because importing it takes seconds."""

import pytest
import torch
from torch import nn

pytest.importorskip("segmentation_models_pytorch")

from roadseg.inference.tiling import make_tiles, tiled_logits
from roadseg.models.network import Network
from roadseg.models.network_facts import describe
from roadseg.models.registry import build_network
from tests.factories import CPU


def make_network(decoder: str, encoder: str) -> Network:
    torch.manual_seed(0)
    options = {"num_classes": 3, "encoder": encoder, "kernels": "torch"}
    return build_network(f"smp/{decoder}", options).eval()


def make_positive(network: nn.Module) -> None:
    """Let every pixel that the network sees change the logits: nothing cancels or is blocked."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU | nn.ReLU6 | nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                sizes = child.kernel_size, child.stride, child.padding
                setattr(module, name, nn.AvgPool2d(*sizes))
    for parameter in network.parameters():
        parameter.data.fill_(3 / max(1, parameter[0].numel()) if parameter.dim() > 1 else 0)


@pytest.mark.parametrize(
    ("decoder", "encoder", "radius"),
    [("Unet", "resnet18", 311), ("Linknet", "mobilenet_v2", 307)],
)
def test_gradients_reach_exactly_the_receptive_radius(decoder: str, encoder: str, radius: int):
    network = make_network(decoder, encoder)
    make_positive(network)
    images = torch.ones(1, 3, 64, 672, requires_grad=True)
    column = 10 * 32 + 30  # from here, all strides round to the left
    network(images)[0, :, 16, column].sum().backward()
    columns = images.grad.sum((0, 1, 2)).nonzero().flatten()
    assert column - columns.min() == radius == network.receptive_radius
    assert columns.max() - column <= radius


def test_exact_tiles_equal_the_whole_image():
    network, images = make_network("Linknet", "resnet18"), torch.rand(1, 3, 75, 700)
    tiles = make_tiles(network, 240)  # not a multiple of the stride
    assert tiles.exact
    with torch.inference_mode():
        whole = network(images)
        found = tiled_logits(network, images, CPU, tiles)
    assert (found - whole).abs().max() < 1e-5 * whole.abs().max()
    assert whole.std() > 0.01


def test_blended_tiles_resemble_the_whole_image():
    network, images = make_network("FPN", "mobilenet_v2"), torch.rand(1, 3, 70, 600)
    tiles = make_tiles(network, 128)
    assert not tiles.exact
    with torch.inference_mode():
        whole = network(images)
        found = tiled_logits(network, images, CPU, tiles)
    agreement = (found.argmax(1) == whole.argmax(1)).float().mean()
    assert agreement > 0.95, agreement


def test_facts_of_a_network():
    facts = describe("smp/Unet:resnet18")
    # https://smp.readthedocs.io: the encoder has 11.2 million parameters (without the classifier)
    assert 11_176_512 < facts.parameters < 14_500_000
    assert facts.flops / 1e9 == pytest.approx(80, abs=1)
    assert (facts.stride, facts.receptive_field) == (32, 623)
    assert facts.license.startswith("BSD-3-Clause")
    assert describe("smp/FPN:mobilenet_v2").receptive_field is None
