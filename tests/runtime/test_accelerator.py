import pytest
import torch

from roadseg.runtime.accelerator import Accelerator, select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.errors import InputError


def test_auto_selects_an_available_device_and_precision():
    accelerator = select_accelerator("auto", "auto")
    assert accelerator.precision in ("fp32", "bf16")
    assert torch.zeros(1, device=accelerator.device).item() == 0
    assert select_accelerator("cpu", "fp32") == Accelerator(torch.device("cpu"), "fp32")


def test_unavailable_device_or_precision_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"train.device: cuda:1: this computer has 1 CUDA"):
        select_accelerator("cuda:1", "auto")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(InputError, match=r"train.precision: cpu has no native bf16"):
        select_accelerator("cpu", "bf16")
    assert select_accelerator("cpu", "auto").precision == "fp32"


def test_precision_is_the_dtype_of_the_convolutions():
    network, images = torch.nn.Conv2d(3, 2, 1), torch.rand(1, 3, 4, 4)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        accelerator = Accelerator(torch.device("cpu"), precision)
        assert accelerator.logits(network, images).dtype == dtype


@pytest.mark.parametrize(
    ("precision", "memory_format"),
    [("fp32", torch.contiguous_format), ("bf16", torch.channels_last)],
)
def test_images_are_scaled_to_0_1_in_the_memory_format_of_the_precision(precision, memory_format):
    pixels = torch.arange(48, dtype=torch.uint8).reshape(1, 4, 4, 3).permute(0, 3, 1, 2)
    accelerator = Accelerator(torch.device("cpu"), precision)
    images = accelerator.images(pixels)
    assert torch.equal(images, pixels.float() / 255)
    assert images.is_contiguous(memory_format=memory_format)
    weight = accelerator.to_device(torch.nn.Conv2d(3, 2, 3)).weight
    assert weight.is_contiguous(memory_format=memory_format)
    assert accelerator.class_ids(torch.tensor([[[255]]], dtype=torch.uint8)).dtype == torch.int64


def test_operation_without_deterministic_kernel_is_an_error():
    make_deterministic()
    assert torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="deterministic"):
        torch.nn.functional.max_unpool2d(
            torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.int64), 2
        )
