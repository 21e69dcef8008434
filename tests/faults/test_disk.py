"""No room for any write in turn: one line that names the file, nothing half-written, all kept."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.limited_process import Ended, Limits, ended, one_line, staged, tree
from tests.stage_runner import WRITTEN, arguments

OLD = b"of an earlier run"
FULL = "No space left on device; make room, then run it again"
STAGES = ("check", "fetch", "remap", "split", "evaluate", "render", "card")
"""Without train, which removes its outs first, as DVC does, and writes them again."""
PAGE = 4096
UNFINISHED = ("data/.prepared.lock",)
"""Remap's lock, which stays."""


def outs(stage: str, folder: Path) -> dict[str, bytes]:
    """What `stage` has written below `folder`, by name."""
    names = WRITTEN[stage].values()
    return {n: v for n, v in tree(folder).items() if any(n.startswith(name) for name in names)}


def with_old_outs(stage: str, done: Path, target: Path) -> dict[str, bytes]:
    """Outs of an earlier run: of a folder, one file."""
    for name in WRITTEN[stage].values():
        if name == ".downloads":  # no output: it stays
            continue
        path = target / name if (done / name).is_file() else target / name / "old"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(OLD)
    return tree(target)


def require_old_or_new(left: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]):
    left = {name: left[name] for name in left if not name.startswith(UNFINISHED)}
    assert set(left) >= set(old)
    added = set(left) - set(old)
    assert added <= set(new), "no temporary file stays"
    assert not (added and any("/old" in name for name in old)), "a folder is replaced as a whole"
    for name, content in left.items():
        assert content in (old.get(name), new.get(name)), name


def without_lock(left: dict[str, bytes]) -> dict[str, bytes]:
    return {name: left[name] for name in left if name != "data/.prepared.lock"}


def sizes(stage: str, done: Path) -> list[int]:
    """Limits at which each file of another size fails in turn, all that are smaller written."""
    found = sorted({len(content) for content in outs(stage, done).values()})
    return sorted({0, *(size - 1 for size in found[:: max(1, len(found) // 2)]), found[-1] - 1})


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_that_may_not_grow(done: Path, tmp_path: Path, stage: str):
    """RLIMIT_FSIZE: EFBIG, as a quota or an old file system; also at a file's last byte."""
    new = outs(stage, done)
    old = with_old_outs(stage, done, tmp_path)
    for limit in sizes(stage, done):
        line = one_line(staged(stage, done, tmp_path, Limits(file_size=limit)))
        assert line.endswith(": File too large"), (limit, line)
        name = line.removeprefix(f"{tmp_path}/").split(":")[0]
        if name not in ("data/.raw.download/lock", "data/.prepared.lock"):
            assert name in new, (limit, line)
            assert len(new[name]) > limit
        require_old_or_new(tree(tmp_path), old, new)
    assert staged(stage, done, tmp_path).code == 0
    assert without_lock(tree(tmp_path)) == new


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of its own, which holds so many bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "test", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")

    def sized(size: int) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={max(PAGE, size)}", str(folder)], check=True)
        return folder

    try:
        yield sized
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def pages(files: dict[str, bytes]) -> int:
    """Bytes that `files` take in a tmpfs."""
    return sum(-(-len(content) // PAGE) * PAGE for content in files.values())


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk(done: Path, small_disk, stage: str):
    """ENOSPC: room for nothing, and for more and more of what is to be written."""
    disk = small_disk(1 << 26)
    new = outs(stage, done)
    if stage != "evaluate":  # its old outs would make room, one after the other
        with_old_outs(stage, done, disk)
    old = tree(disk)
    total, used = pages(new), pages(old)
    shares = (0, 0.1, 0.3, 0.5, 0.7, 0.9) if stage not in ("render", "card") else (0, 0.4, 0.8)
    rooms = sorted({int(share * total) // PAGE * PAGE for share in shares})
    for room in rooms:
        if room >= total:
            continue
        small_disk(used + room)
        line = one_line(staged(stage, done, disk))
        name = line.removeprefix(f"{disk}/").split(":")[0]
        assert line.endswith(f": {FULL}"), (room, line)
        assert name in new or name.startswith(UNFINISHED), line
        require_old_or_new(tree(disk), old, new)
    small_disk(1 << 26)
    assert staged(stage, done, disk).code == 0
    assert without_lock(tree(disk)) == new


def predicted(done: Path, out: Path, limits: Limits) -> Ended:
    options = ["--model", str(done / "models/best.safetensors"), "--device", "cpu"]
    paths = [str(done / "pictures/testing/image_2"), "--out", str(out), "--probabilities"]
    return ended("roadseg.__main__", ["predict", *paths, *options], limits)


def test_predict(done: Path, tmp_path: Path):
    assert predicted(done, tmp_path / "straight", Limits()).code == 0
    straight = tree(tmp_path / "straight")
    out = tmp_path / "out"
    for limit in sorted({0, *(len(content) - 1 for content in straight.values())}):
        shutil.rmtree(out, ignore_errors=True)
        line = one_line(predicted(done, out, Limits(file_size=limit)))
        name = line.removeprefix(f"{out}/").split(":")[0]
        assert line.endswith(": File too large"), line
        assert len(straight[name]) > limit
        for left, content in tree(out).items():
            assert content == straight[left], left
    assert predicted(done, out, Limits()).code == 0
    assert tree(out) == straight


def test_export(done: Path, small_disk):
    for room in (200_000,):
        disk = small_disk(room)
        argv = ["export", str(done / "models/best.safetensors"), "--out", str(disk / "unet.pt2")]
        assert one_line(ended("roadseg.__main__", argv)) == f"{disk}/unet.pt2: {FULL}"
        assert tree(disk) == {}


BESIDE = (".ckpt", "runs")


@pytest.fixture(scope="module")
def trained(done: Path) -> dict[str, bytes]:
    return outs_of_training(done)


def outs_of_training(folder: Path) -> dict[str, bytes]:
    found = outs("train", folder)
    found = {n: v for n, v in found.items() if n.split("/")[0] not in BESIDE}
    return {name: content for name, content in found.items() if not name.endswith(".lock")}


def require_whole(folder: Path, trained: dict[str, bytes]) -> None:
    """Every file of the outs is one of the straight training's, as it was after some epoch."""
    assert not [name for name in tree(folder) if "tmp" in name or "unfinished" in name]
    for name, content in outs_of_training(folder).items():
        if "epoch_" in name:
            assert content == trained[name], name
        if name.endswith("best.safetensors"):
            assert content in trained.values()


def test_train_on_a_full_disk(done: Path, small_disk, trained):
    """Outs, states, provenance, locks, TensorBoard: whatever finds no room first."""
    state = max(path.stat().st_size for path in done.glob(".ckpt/*/state_*"))
    epoch = len(trained["models/epochs/epoch_001.safetensors"])
    first = (state + epoch) // 2  # a state before the first step holds no averages
    rooms = (0, 2, 4, 8, first // PAGE, (first + epoch) // PAGE, (first + 2 * epoch) // PAGE + 8)
    rooms += ((first + 3 * epoch) // PAGE + 8, (first + 4 * epoch) // PAGE + 8)
    places = set()
    for room in rooms:
        disk = small_disk(room * PAGE)
        for path in disk.iterdir():
            shutil.rmtree(path)
        line = one_line(staged("train", done, disk))
        assert "No space left on device" in line
        assert line.startswith(f"{disk}/")
        places.add(line.split(":")[0].removeprefix(f"{disk}/").split("/")[0])
        require_whole(disk, trained)
    assert places == {"models", ".ckpt", "runs"}
    small_disk(1 << 26)
    assert staged("train", done, disk).code == 0
    assert outs_of_training(disk) == trained


@pytest.mark.parametrize("room", [1, 2])
def test_tensorboard_on_a_full_disk(done: Path, tmp_path: Path, small_disk, trained, room: int):
    """Its thread writes, and raises, when it likes."""
    disk = small_disk(room * PAGE)
    argv = arguments("train", done, tmp_path / "a")
    argv[argv.index("--runs") + 1] = str(disk)
    line = one_line(ended("stages.train", argv))
    assert line.startswith(f"{disk}/")
    assert line.endswith(f": {FULL}")
    require_whole(tmp_path / "a", trained)
    small_disk(1 << 26)
    assert ended("stages.train", argv).code == 0
    assert outs_of_training(tmp_path / "a") == trained


def test_train_with_files_that_may_not_grow(done: Path, tmp_path: Path, trained):
    states = [path.stat().st_size for path in done.glob(".ckpt/*/state_*")]
    epoch = len(trained["models/epochs/epoch_001.safetensors"])
    provenance = next(done.glob(".ckpt/*/provenance.json")).stat().st_size
    for limit in (0, 13, provenance - 1, provenance, epoch - 1, min(states) - 1, max(states) - 1):
        line = one_line(staged("train", done, tmp_path, Limits(file_size=limit)))
        assert "File too large" in line
        assert line.startswith(f"{tmp_path}/")
        require_whole(tmp_path, trained)
    assert staged("train", done, tmp_path).code == 0
    assert outs_of_training(tmp_path) == trained
