"""Winograd convolution; exact if bfloat16 represents all intermediate values."""

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
# N, C, O, H, W: odd and even sides, one pixel, several blocks of tiles, different channels
SHAPES = [(2, 32, 64, 9, 14), (1, 64, 32, 12, 13), (3, 32, 32, 1, 1), (1, 96, 160, 5, 70)]


def make_layer(in_channels: int, out_channels: int) -> Conv3x3:
    torch.manual_seed(0)
    return Conv3x3(in_channels, out_channels).to(memory_format=torch.channels_last)


def compute(conv: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """Output and gradients of input, weight and bias, in float64."""
    x = x.clone().requires_grad_()
    output = conv(x)
    conv.zero_grad()
    output.backward(gradient.to(output.dtype))
    return [t.detach().double() for t in (output, x.grad, conv.weight.grad, conv.bias.grad)]


def compute_in_float64(conv: Conv3x3, x: Tensor, gradient: Tensor) -> list[Tensor]:
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1).double()
    plain.load_state_dict(conv.state_dict())
    return compute(plain, x.double(), gradient)


def make_images(n: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randn(n, channels, height, width).bfloat16().to(memory_format=torch.channels_last)


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
def test_result_is_exact_for_small_integers(shape):
    n, channels, outs, height, width = shape
    conv = make_layer(channels, outs)
    sparse = {"low": 0, "high": 20}  # mostly zeros, so that sums stay small
    with torch.no_grad():
        drawn = torch.randint(**sparse, size=conv.weight.shape)
        # the transform of the filters divides by 4
        conv.weight.copy_((drawn == 1).float() * 4 - (drawn == 2).float() * 4)
        conv.bias.copy_(torch.randint(-3, 4, conv.bias.shape))
    x = (torch.randint(**sparse, size=(n, channels, height, width)) == 1).bfloat16()
    gradient = (torch.randint(**sparse, size=(n, outs, height, width)) == 1).bfloat16()
    found, expected = compute(conv, x, gradient), compute_in_float64(conv, x, gradient)
    assert all(value.abs().max() <= 256 for value in expected[:2])  # exact in bfloat16
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
def test_error_is_that_of_rounding_to_bfloat16(shape):
    n, channels, outs, height, width = shape
    conv = make_layer(channels, outs)
    x, gradient = make_images(n, channels, height, width), make_images(n, outs, height, width)
    found, expected = compute(conv, x, gradient), compute_in_float64(conv, x, gradient)
    for one, other in zip(found, expected, strict=True):
        # transformed pixels, filters and the result are rounded to 8 bits: 0.0023 each
        assert (one - other).norm() / other.norm() < 0.006


@needs_kernels
def test_weight_gradients_of_several_blocks_of_tiles_add_up(monkeypatch):
    conv, x, gradient = make_layer(32, 32), make_images(1, 32, 40, 50), make_images(1, 32, 40, 50)
    at_once = compute(conv, x, gradient)
    monkeypatch.setattr("winograd.convolution._PAIRED_BYTES", 1)
    in_parts = compute(conv, x, gradient)
    assert torch.equal(at_once[1], in_parts[1])
    for one, other in zip(at_once[2:], in_parts[2:], strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-4)  # other order of summation


@needs_kernels
def test_threads_and_batch_size_do_not_change_the_result():
    conv, x, gradient = make_layer(64, 32), make_images(2, 64, 11, 18), make_images(2, 32, 11, 18)
    both = compute(conv, x, gradient)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        three_threads = compute(conv, x, gradient)
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(both[:3], three_threads[:3], strict=True):
        assert torch.equal(one, other)
    alone = [compute(conv, x[i : i + 1], gradient[i : i + 1]) for i in range(2)]
    for kind in range(2):  # output, gradient of the input
        assert torch.equal(torch.cat([result[kind] for result in alone]), both[kind])


@pytest.mark.slow
@needs_kernels
def test_omp_thread_limit_does_not_change_the_result():
    code = (
        "import torch\n"
        "from tests.models.test_convolution import compute, make_images, make_layer\n"
        "torch.set_num_threads(4)\n"
        "conv = make_layer(32, 64)\n"
        "values = compute(conv, make_images(1, 32, 9, 40), make_images(1, 64, 9, 40))\n"
        "print([value.abs().sum().item() for value in values[:3]])"
    )
    outputs = []
    for limit in ("1", "8"):
        environment = {**os.environ, "OMP_THREAD_LIMIT": limit}
        command = [sys.executable, "-c", code]
        outputs.append(subprocess.check_output(command, cwd=ROOT, env=environment, text=True))
    assert outputs[0] == outputs[1]


@needs_kernels
def test_a_nan_pixel_affects_only_its_surroundings():
    conv, x = make_layer(32, 32), make_images(1, 32, 16, 16)
    x[0, 3, 5, 6] = float("nan")
    affected = conv(x).isnan().any(1)[0]
    assert affected[4:7, 5:8].all()
    assert not affected[:2].any()
    assert not affected[:, 10:].any()


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(32, torch.float32), (24, torch.bfloat16), (3, torch.float32), (32, torch.bfloat16)],
)
def test_unsupported_inputs_use_the_convolution_of_torch(channels, dtype):
    conv = make_layer(channels, 32).to(dtype)  # bfloat16 weights are not supported
    x = torch.randn(1, channels, 9, 10, dtype=dtype)
    assert torch.equal(conv(x), nn.functional.conv2d(x, conv.weight, conv.bias, padding=1))


@pytest.mark.parametrize(
    "capabilities", [{}, {"avx512_bf16": False}, {"avx512_bf16": True, "amx_bf16": True}]
)
def test_unavailable_without_avx512_bf16_or_with_amx(monkeypatch, capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert not winograd.is_available.__wrapped__()


def test_kernels_torch_never_uses_winograd(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("winograd was used")

    monkeypatch.setattr(winograd, "supports", refuse)
    options = {"num_classes": 2, "base_channels": 4, "bilinear": True, "norm": "batch"}
    network = UNet(**options, dropout=0.0, kernels="torch").eval()
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 16, 16)
    with pytest.raises(AssertionError, match="winograd was used"):
        UNet(**options, dropout=0.0, kernels="auto").eval()(torch.zeros(1, 3, 16, 16))
