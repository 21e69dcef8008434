"""The convolution by Winograd's algorithm; exact wherever bf16 holds every number on the way."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

import winograd
from roadseg.models.layers.convolution import Conv3x3
from roadseg.models.unet import UNet
from tests.factories import ROOT

needs_kernels = pytest.mark.skipif(
    not winograd.is_available(), reason="needs a CPU with AVX512-BF16"
)
# N, C, O, H, W: odd and even sides, one pixel, several blocks of tiles, unequal channels
SHAPES = [(2, 32, 64, 9, 14), (1, 64, 32, 12, 13), (3, 32, 32, 1, 1), (1, 96, 160, 5, 70)]


def layer(in_channels: int, out_channels: int) -> Conv3x3:
    torch.manual_seed(0)
    return Conv3x3(in_channels, out_channels).to(memory_format=torch.channels_last)


def results(conv: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """Output, gradient of the input, of the weight, of the bias; in float64."""
    x = x.clone().requires_grad_()
    output = conv(x)
    conv.zero_grad()
    output.backward(gradient.to(output.dtype))
    return [t.detach().double() for t in (output, x.grad, conv.weight.grad, conv.bias.grad)]


def in_float64(conv: Conv3x3, x: Tensor, gradient: Tensor) -> list[Tensor]:
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1).double()
    plain.load_state_dict(conv.state_dict())
    return results(plain, x.double(), gradient)


def random_images(n: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randn(n, channels, height, width).bfloat16().to(memory_format=torch.channels_last)


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
def test_small_whole_numbers_come_out_exactly(shape):
    n, channels, outs, height, width = shape
    conv = layer(channels, outs)
    rare = {"low": 0, "high": 20}  # few numbers other than 0, so that sums stay small
    with torch.no_grad():
        drawn = torch.randint(**rare, size=conv.weight.shape)
        conv.weight.copy_((drawn == 1).float() * 4 - (drawn == 2).float() * 4)  # G halves twice
        conv.bias.copy_(torch.randint(-3, 4, conv.bias.shape))
    x = (torch.randint(**rare, size=(n, channels, height, width)) == 1).bfloat16()
    gradient = (torch.randint(**rare, size=(n, outs, height, width)) == 1).bfloat16()
    found, expected = results(conv, x, gradient), in_float64(conv, x, gradient)
    assert all(value.abs().max() <= 256 for value in expected[:2])  # bf16 has each of these
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
def test_random_numbers_come_out_as_far_as_bf16_holds_them(shape):
    n, channels, outs, height, width = shape
    conv = layer(channels, outs)
    x, gradient = random_images(n, channels, height, width), random_images(n, outs, height, width)
    found, expected = results(conv, x, gradient), in_float64(conv, x, gradient)
    for one, other in zip(found, expected, strict=True):
        # transformed pixels, filters and the result are each rounded to 8 bits: 0.0023 each
        assert (one - other).norm() / other.norm() < 0.006


@needs_kernels
def test_more_tiles_than_are_paired_at_a_time_add_up(monkeypatch):
    conv, x, gradient = layer(32, 32), random_images(1, 32, 40, 50), random_images(1, 32, 40, 50)
    at_once = results(conv, x, gradient)
    monkeypatch.setattr("winograd.convolution._PAIRED_BYTES", 1)
    in_parts = results(conv, x, gradient)
    assert torch.equal(at_once[1], in_parts[1])
    for one, other in zip(at_once[2:], in_parts[2:], strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-4)  # another order of float32 sums


@needs_kernels
def test_threads_and_neighbours_in_a_batch_change_no_bit():
    conv, x, gradient = layer(64, 32), random_images(2, 64, 11, 18), random_images(2, 32, 11, 18)
    both = results(conv, x, gradient)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        by_three = results(conv, x, gradient)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(both[:3], by_three[:3], strict=True))
    alone = [results(conv, x[i : i + 1], gradient[i : i + 1]) for i in range(2)]
    for kind in range(2):  # output, gradient of the input
        assert torch.equal(torch.cat([result[kind] for result in alone]), both[kind])


@pytest.mark.slow
@needs_kernels
def test_fewer_threads_than_were_asked_for_do_all_of_it():
    """As where the user limits them, by OMP_THREAD_LIMIT."""
    code = (
        "import torch\n"
        "from tests.models.test_convolution import layer, random_images, results\n"
        "torch.set_num_threads(4)\n"
        "found = results(layer(32, 64), random_images(1, 32, 9, 40), random_images(1, 64, 9, 40))\n"
        "print([value.abs().sum().item() for value in found[:3]])"
    )
    said = []
    for limit in ("1", "8"):
        environment = {**os.environ, "OMP_THREAD_LIMIT": limit}
        command = [sys.executable, "-c", code]
        said.append(subprocess.check_output(command, cwd=ROOT, env=environment, text=True))
    assert said[0] == said[1]


@needs_kernels
def test_a_pixel_that_is_no_number_spoils_its_surroundings_only():
    conv, x = layer(32, 32), random_images(1, 32, 16, 16)
    x[0, 3, 5, 6] = float("nan")
    spoiled = conv(x).isnan().any(1)[0]
    assert spoiled[4:7, 5:8].all()
    assert not spoiled[:2].any()
    assert not spoiled[:, 10:].any()


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(32, torch.float32), (24, torch.bfloat16), (3, torch.float32), (32, torch.bfloat16)],
)
def test_elsewhere_it_is_torchs_convolution(channels, dtype):
    conv = layer(channels, 32).to(dtype)  # weights in bf16 are none of the kernels' either
    x = torch.randn(1, channels, 9, 10, dtype=dtype)
    assert torch.equal(conv(x), nn.functional.conv2d(x, conv.weight, conv.bias, padding=1))


@pytest.mark.parametrize(
    "abilities", [{}, {"avx512_bf16": False}, {"avx512_bf16": True, "amx_bf16": True}]
)
def test_without_the_instructions_or_with_better_ones_nothing_is_compiled(monkeypatch, abilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert not winograd.is_available.__wrapped__()


def test_kernels_torch_asks_for_no_other_kernels(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("winograd was asked")

    monkeypatch.setattr(winograd, "supports", refuse)
    options = {"num_classes": 2, "base_channels": 4, "bilinear": True, "norm": "batch"}
    network = UNet(**options, dropout=0.0, kernels="torch").eval()
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 16, 16)
    with pytest.raises(AssertionError, match="winograd was asked"):
        UNet(**options, dropout=0.0, kernels="auto").eval()(torch.zeros(1, 3, 16, 16))
