"""The search for the largest batch, with simulated memory."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from roadseg.data.prepared import PreparedDataset
from roadseg.system.errors import InputError
from roadseg.training import batch_size
from roadseg.training.batch_size import fit_batch_size
from tests.factories import make_augmentation, make_params, make_trainer

GIB = 1 << 30


def make_fake_trainer(device: str) -> SimpleNamespace:
    accelerator = SimpleNamespace(device=torch.device(device), free_bytes=lambda: 3 * GIB)
    return SimpleNamespace(
        accelerator=accelerator,
        train=SimpleNamespace(recipe="modern"),
        initial_state=lambda: None,
        batches=lambda _state: iter([None]),
    )


class Memory:
    """Memory of a process: `base`, and in a step `image` for each image; in GiB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, base: float, image: float) -> None:
        self.base, self.image, self.peak, self.shares = base, image, base, []
        monkeypatch.setattr(batch_size, "_run_step", self.run_step)
        monkeypatch.setattr(batch_size, "peak_bytes", lambda: self.peak * GIB)
        monkeypatch.setattr(batch_size, "resident_bytes", lambda: base * GIB)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 5 * GIB)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _device: self.peak * GIB)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _device: None)

    def run_step(self, _trainer: object, _state: object, share: int) -> None:
        self.shares.append(share)
        self.peak = max(self.peak, self.base + self.image * share)
        if self.peak > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("available", "base", "image", "processes", "largest", "expected"),
    [
        (8, 1, 0.5, 1, 1024, 8),  # 1 + 8 * 0.5 = 5 GiB of 0.9 * (8 + 1); 16 images would be 9
        (8, 1, 0.5, 1, 7, 4),  # not more than the number of images
        (8, 1, 0.5, 2, 1024, 8),  # 4 images in each process: 3 GiB of 0.9 * (4 + 1)
        (8, 1, 0.5, 3, 1024, 12),  # 4 images: 3 GiB of 0.9 * (8 / 3 + 1) = 3.3
        (8, 1, 1e-6, 1, 60, 32),  # hidden by other allocations
        (1, 1, 0.7, 1, 1024, 1),
    ],
)
def test_batch_on_a_cpu_is_extrapolated(
    monkeypatch: pytest.MonkeyPatch, available, base, image, processes, largest, expected: int
):
    memory = Memory(monkeypatch, base, image)
    monkeypatch.setattr(batch_size, "available_bytes", lambda: available * GIB)
    trainer = make_fake_trainer("cpu")
    assert fit_batch_size(trainer, processes, largest) == expected
    assert memory.peak <= 0.9 * (available / processes + base)  # it was never exceeded
    if image > 0.1:
        assert max(memory.shares) <= 2


def test_image_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch):
    Memory(monkeypatch, 1, 3)
    monkeypatch.setattr(batch_size, "available_bytes", lambda: GIB)
    with pytest.raises(InputError, match=r"^recipes.modern.batch_size: auto: a training step with"):
        fit_batch_size(make_fake_trainer("cpu"), 1, 1024)


@pytest.mark.parametrize(
    ("image", "largest", "expected", "shares"),
    [
        (1.0, 1024, 4, [1, 2, 4, 8]),  # 8 images run out of memory
        (0.48, 1024, 8, [1, 2, 4, 8, 16]),
        (0.94, 1024, 4, [1, 2, 4, 8]),  # 8 images leave less than a tenth
        (0.01, 6, 4, [1, 2, 4]),
    ],
)
def test_batch_on_a_gpu_is_tried(
    monkeypatch: pytest.MonkeyPatch, image: float, largest: int, expected: int, shares: list[int]
):
    memory = Memory(monkeypatch, 0.25, image)
    assert fit_batch_size(make_fake_trainer("cuda"), 1, largest) == expected
    assert sorted(set(memory.shares)) == shares


def test_other_errors_are_raised(monkeypatch: pytest.MonkeyPatch):
    Memory(monkeypatch, 1, 1)

    def fail(*_: object) -> None:
        raise RuntimeError("device-side assert triggered")

    monkeypatch.setattr(batch_size, "_run_step", fail)
    with pytest.raises(RuntimeError, match="device-side assert"):
        fit_batch_size(make_fake_trainer("cuda"), 1, 8)


@pytest.mark.parametrize(
    ("device", "processes", "message"),
    [
        ("mps", 1, "the free memory of mps is unknown; set a number"),
        ("cpu", 9, "9 processes cannot share 8 images"),
    ],
)
def test_impossible_search_is_an_error(device: str, processes: int, message: str):
    with pytest.raises(InputError, match=f"^recipes.modern.batch_size: auto: {message}$"):
        fit_batch_size(make_fake_trainer(device), processes, 8)


def test_step_has_images_of_the_largest_size_without_crops_if_an_epoch_has_none(
    prepared: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    augmentation = make_augmentation(crop=0.5, plain=0.5)
    trainer = make_trainer(prepared, make_params(tmp_path, epochs=2), augmentation=augmentation)
    state, shapes, train_step = trainer.initial_state(), [], trainer.train_step

    def record(state, batch):
        shapes.append((len(batch.images), *batch.transforms.size))
        return train_step(state, batch)

    monkeypatch.setattr(trainer, "train_step", record)
    batch_size._run_step(trainer, state, 1)  # the first image has 32x48 pixels
    batch_size._run_step(trainer, state, 3)
    assert shapes == [(1, 34, 50), (3, 34, 50)]
