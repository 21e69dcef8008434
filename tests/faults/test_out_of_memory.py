"""Lack of memory, open files and shared memory, and killed loader processes."""

import ctypes
import errno
import itertools
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from roadseg.data import dataset
from roadseg.models.unet import UNet
from roadseg.system.memory import is_out_of_memory
from tests.factories import write_images, write_params
from tests.faults.limited_process import Limits, Result, error_line, run_stage, tree

MIB = 1 << 20


LOWER = {
    "remap": "lower remap.scale",
    "train": "lower recipes.modern.batch_size (2) or model.unet.base_channels (4); saved",
    "evaluate": "lower evaluate.batch_size or remap.scale",
    "render": "lower render.num_pictures or remap.scale",
}


def require_out_of_memory_line(result: Result, stage: str, target: Path) -> None:
    """Require one line with advice, and no outputs."""
    line = error_line(result)
    assert "out of memory; " in line
    assert LOWER[stage] in line
    left = tree(target)
    outs = [name for name in left if name.split("/")[0] not in (".ckpt", "runs")]
    assert all(name.endswith(".lock") for name in outs), outs
    assert not [name for name in left if "tmp" in name or "unfinished" in name]


@pytest.mark.parametrize("room", [4, 16])
def test_lack_of_address_space_in_remap_is_one_line_with_advice(tmp_path: Path, room: int):
    source, target = tmp_path / "source", tmp_path / "target"
    images = write_images(tmp_path / "images", num_train=4, sizes=((360, 640), (368, 640)))
    source.mkdir()
    write_params(source / "params.yaml", data__source=str(images))
    assert run_stage("fetch", source, source).code == 0
    target.mkdir()
    result = run_stage("remap", source, target, Limits(more_memory=room * MIB))
    require_out_of_memory_line(result, "remap", target)


def refuse_memory(call: int) -> None:
    """Let forward pass number `call` fail as in torch's allocator; oneDNN may crash instead."""
    forward, calls = UNet.forward, itertools.count(1)

    def refuse(network: UNet, *args: object) -> torch.Tensor:
        if next(calls) == call:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return forward(network, *args)

    UNet.forward = refuse


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("stage", ["train", "evaluate", "render"])
def test_lack_of_memory_in_the_network_is_one_line_with_advice(
    done: Path, tmp_path: Path, stage: str, call: int
):
    result = run_stage(stage, done, tmp_path, before=partial(refuse_memory, call))
    require_out_of_memory_line(result, stage, tmp_path)


def allocate_on_a_cpu() -> None:
    torch.empty(1 << 55, dtype=torch.uint8)


def allocate_an_array() -> None:
    np.empty(1 << 55, dtype=np.uint8)


def allocate_bytes() -> None:
    bytearray(1 << 60)


@pytest.mark.parametrize("allocate", [allocate_on_a_cpu, allocate_an_array, allocate_bytes])
def test_errors_of_failed_allocations_are_recognised(allocate: Callable[[], None]):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("could not create a primitive"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError("out of memory when reading image file"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_out_of_memory_is_recognised_by_type_and_message(error: BaseException, expected: bool):
    assert is_out_of_memory(error) == expected


def copy_with_workers(done: Path, folder: Path, workers: int) -> Path:
    """Copy the finished pipeline; train there uses loader processes."""
    shutil.copytree(done, folder, ignore=shutil.ignore_patterns(".ckpt", "runs"))
    text = (folder / "params.yaml").read_text()
    assert "num_workers: 0" in text
    changed = text.replace("num_workers: 0", f"num_workers: {workers}")
    (folder / "params.yaml").write_text(changed.replace("minutes: 2", "minutes: 0"))
    return folder


def fail_in_a_loader(image: int, fail: Callable[[], None]) -> None:
    """Call `fail` when a loader process loads its image number `image`."""
    trainer, load, loaded = os.getpid(), dataset.SegmentationDataset.__getitem__, [0]

    def failing(dataset, key):
        if os.getpid() != trainer:
            loaded[0] += 1
            if loaded[0] == image:
                fail()
        return load(dataset, key)

    dataset.SegmentationDataset.__getitem__ = failing


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_memory_error() -> None:
    raise MemoryError


def raise_permission_error() -> None:
    raise PermissionError(errno.EACCES, "Permission denied", "data/prepared/images/x.npy")


@pytest.mark.parametrize(("workers", "image"), [(1, 1), (1, 6), (2, 2), (2, 5)])
def test_training_resumes_after_a_killed_loader_process(
    done: Path, tmp_path: Path, workers: int, image: int
):
    """As by the kernel; the next run ends in the bytes of an undisturbed one."""
    source = copy_with_workers(done, tmp_path / "source", workers)
    kill = partial(fail_in_a_loader, image, kill_itself)
    line = error_line(run_stage("train", source, tmp_path / "a", before=kill))
    assert line == (
        "train: a loader process was killed, probably because the computer ran out of memory; "
        f"lower train.num_workers ({workers}); saved checkpoints are kept"
    )
    assert list((tmp_path / "a/.ckpt").glob("*/state_*"))
    assert run_stage("train", source, tmp_path / "a").code == 0
    for name in ("models/epochs", "models/best.safetensors", "plots/history.csv"):
        path = tmp_path / "a" / name
        files = tree(path) if path.is_dir() else path.read_bytes()
        assert files == (tree(done / name) if path.is_dir() else (done / name).read_bytes())


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (
            raise_memory_error,
            "train: out of memory; lower recipes.modern.batch_size (2), train.num",
        ),
        (allocate_on_a_cpu, "train: out of memory; lower recipes.modern.batch_size (2), train"),
        (raise_permission_error, "data/prepared/images/x.npy: Permission denied"),
    ],
)
def test_error_in_a_loader_process_is_reported_as_usual(done, tmp_path, fail, message):
    source = copy_with_workers(done, tmp_path / "source", 2)
    fail = partial(fail_in_a_loader, 2, fail)
    assert error_line(run_stage("train", source, tmp_path / "a", before=fail)).startswith(message)


def limit_shared_memory(size: str) -> None:
    """Give this process a /dev/shm of that size."""
    libc = ctypes.CDLL(None, use_errno=True)
    namespace, private, recursive = 0x20000, 1 << 18, 1 << 14
    assert libc.unshare(namespace) == 0
    assert libc.mount(b"none", b"/", None, private | recursive, None) == 0
    assert libc.mount(b"test", b"/dev/shm", b"tmpfs", 0, f"size={size}".encode()) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize("size", ["4k", "16k", "64k", "128k"])
def test_full_shared_memory_is_reported(done: Path, tmp_path: Path, size: str):
    """Loader processes put their batches there; the parent used to wait for a lost error."""
    source = copy_with_workers(done, tmp_path / "source", 2)
    before = partial(limit_shared_memory, size)
    line = error_line(run_stage("train", source, tmp_path / "a", before=before))
    assert line.startswith("train: no room in shared memory (/dev/shm) for batches; set train.num_")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("limit", [12, 16, 24, 32, 64, 128])
def test_training_with_few_open_files_works_or_says_what_to_raise(
    done: Path, tmp_path: Path, limit: int, workers: int
):
    source = copy_with_workers(done, tmp_path / "source", workers)
    result = run_stage("train", source, tmp_path / "a", Limits(open_files=limit))
    if result.code:
        assert limit < (128 if workers else 32)
        assert "(ulimit -n)" in error_line(result)
    assert result.code == 0 or limit < 128


@pytest.mark.parametrize("limit", [16, 32, 64])
@pytest.mark.parametrize("stage", ["fetch", "remap", "split", "evaluate", "render", "card"])
def test_other_stages_need_few_open_files(done: Path, tmp_path: Path, stage: str, limit: int):
    if stage == "render":
        limit += 16  # five images and masks of the contact sheet are open at the same time
    result = run_stage(stage, done, tmp_path, Limits(open_files=limit))
    assert result.code == 0, result.err
