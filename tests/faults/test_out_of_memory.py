"""Memory, open files, shared memory and loader processes that are short or lost while running."""

import ctypes
import errno
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
from roadseg.system.memory import is_out_of_memory
from tests.factories import write_images, write_params
from tests.faults.limited_process import Limits, one_line, staged, tree

MIB = 1 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything before render, of pictures that a network needs some memory for."""
    folder = tmp_path_factory.mktemp("large")
    sizes = ((360, 640), (368, 640))
    source = write_images(folder / "pictures", num_train=4, sizes=sizes)
    changes = {"data__source": str(source), "render__num_pictures": 1, "train__epochs": 1}
    one = {"render__epochs": ["last"], "model__base_channels": 4, "train__precision": "fp32"}
    write_params(folder / "params.yaml", **changes, **one)
    for stage in ("fetch", "remap", "split", "train", "evaluate"):
        said = staged(stage, folder, folder)
        assert said.code == 0, said.err
    return folder


LOWER = {
    "remap": "lower remap.scale",
    "train": "lower recipes.modern.batch_size (2) or model.base_channels (4); saved checkpoints",
    "evaluate": "lower evaluate.batch_size or remap.scale",
    "render": "lower render.num_pictures or remap.scale",
}


@pytest.mark.parametrize(
    ("stage", "room"),
    [
        *[("remap", room) for room in (4, 16)],
        *[("train", room) for room in (64, 80)],
        *[("evaluate", room) for room in (16, 40)],
        *[("render", room) for room in (16, 40)],
    ],
)
def test_address_space_that_runs_out(large: Path, tmp_path: Path, stage: str, room: int):
    """RLIMIT_AS; how far a stage comes with it depends on the libraries."""
    line = one_line(staged(stage, large, tmp_path, Limits(more_memory=room * MIB)))
    assert "out of memory; " in line
    assert LOWER[stage] in line
    left = tree(tmp_path)
    outs = [name for name in left if name.split("/")[0] not in (".ckpt", "runs")]
    assert all(name.endswith(".lock") for name in outs), outs
    assert not [name for name in left if "tmp" in name or "unfinished" in name]


def allocate_on_a_cpu() -> None:
    torch.empty(1 << 55, dtype=torch.uint8)


def allocate_an_array() -> None:
    np.empty(1 << 55, dtype=np.uint8)


def allocate_bytes() -> None:
    bytearray(1 << 60)


@pytest.mark.parametrize("allocate", [allocate_on_a_cpu, allocate_an_array, allocate_bytes])
def test_real_errors_are_recognised(allocate: Callable[[], None]):
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
def test_errors_by_what_they_say(error: BaseException, expected: bool):
    assert is_out_of_memory(error) == expected


def with_workers(done: Path, folder: Path, workers: int) -> Path:
    """The finished pipeline, its training with loader processes."""
    shutil.copytree(done, folder, ignore=shutil.ignore_patterns(".ckpt", "runs"))
    text = (folder / "params.yaml").read_text()
    assert "num_workers: 0" in text
    changed = text.replace("num_workers: 0", f"num_workers: {workers}")
    (folder / "params.yaml").write_text(changed.replace("minutes: 2", "minutes: 0"))
    return folder


def fail_in_a_loader(picture: int, fail: Callable[[], None]) -> None:
    """Call `fail` where a loader process makes its picture of that number."""
    trainer, fetched, seen = os.getpid(), dataset.SegmentationDataset.__getitem__, [0]

    def failing(dataset, key):
        if os.getpid() != trainer:
            seen[0] += 1
            if seen[0] == picture:
                fail()
        return fetched(dataset, key)

    dataset.SegmentationDataset.__getitem__ = failing


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def without_memory() -> None:
    raise MemoryError


def without_torchs_memory() -> None:
    allocate_on_a_cpu()


def without_a_file() -> None:
    raise PermissionError(errno.EACCES, "Permission denied", "data/prepared/images/x.npy")


@pytest.mark.parametrize(("workers", "picture"), [(1, 1), (1, 6), (2, 2), (2, 5)])
def test_a_loader_process_killed(done: Path, tmp_path: Path, workers: int, picture: int):
    """As the kernel does it; the next run goes on, to the bytes of an undisturbed one."""
    source = with_workers(done, tmp_path / "source", workers)
    kill = partial(fail_in_a_loader, picture, killed)
    line = one_line(staged("train", source, tmp_path / "a", before=kill))
    assert line == (
        "train: a loader process was killed, probably because the computer ran out of memory; "
        f"lower train.num_workers ({workers}); saved checkpoints are kept"
    )
    assert list((tmp_path / "a/.ckpt").glob("*/state_*"))
    assert staged("train", source, tmp_path / "a").code == 0
    for name in ("models/epochs", "models/best.safetensors", "plots/history.csv"):
        path = tmp_path / "a" / name
        files = tree(path) if path.is_dir() else path.read_bytes()
        assert files == (tree(done / name) if path.is_dir() else (done / name).read_bytes())


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (without_memory, "train: out of memory; lower recipes.modern.batch_size (2), train.num_wo"),
        (without_torchs_memory, "train: out of memory; lower recipes.modern.batch_size (2), train"),
        (without_a_file, "data/prepared/images/x.npy: Permission denied"),
    ],
)
def test_what_fails_in_a_loader_process_is_told_as_it_was(done, tmp_path, fail, said):
    source = with_workers(done, tmp_path / "source", 2)
    fail = partial(fail_in_a_loader, 2, fail)
    assert one_line(staged("train", source, tmp_path / "a", before=fail)).startswith(said)


def small_shared_memory(size: str) -> None:
    """/dev/shm of this process alone, with so much room."""
    libc = ctypes.CDLL(None, use_errno=True)
    namespace, private, recursive = 0x20000, 1 << 18, 1 << 14
    assert libc.unshare(namespace) == 0
    assert libc.mount(b"none", b"/", None, private | recursive, None) == 0
    assert libc.mount(b"test", b"/dev/shm", b"tmpfs", 0, f"size={size}".encode()) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize("size", ["4k", "16k", "64k", "128k"])
def test_no_room_in_shared_memory(done: Path, tmp_path: Path, size: str):
    """Where loader processes put their batches; its error was lost, and waited for."""
    source = with_workers(done, tmp_path / "source", 2)
    before = partial(small_shared_memory, size)
    line = one_line(staged("train", source, tmp_path / "a", before=before))
    assert line.startswith("train: no room in shared memory (/dev/shm) for batches; set train.num_")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("limit", [12, 16, 24, 32, 64, 128])
def test_few_open_files(done: Path, tmp_path: Path, limit: int, workers: int):
    """It trains, or says what to raise."""
    source = with_workers(done, tmp_path / "source", workers)
    said = staged("train", source, tmp_path / "a", Limits(open_files=limit))
    if said.code:
        assert limit < (128 if workers else 32)
        assert "(ulimit -n)" in one_line(said)
    assert said.code == 0 or limit < 128


@pytest.mark.parametrize("limit", [16, 32, 64])
@pytest.mark.parametrize("stage", ["fetch", "remap", "split", "evaluate", "render", "card"])
def test_few_open_files_in_the_other_stages(done: Path, tmp_path: Path, stage: str, limit: int):
    said = staged(stage, done, tmp_path, Limits(open_files=limit))
    assert said.code == 0, said.err
